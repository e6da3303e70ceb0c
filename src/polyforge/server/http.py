"""The few things plain ASGI needs: bodies with a limit, whole answers, and knowing when the caller has gone."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from polyforge.kernel.errors import Cancelled, Invalid, TooLarge

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]

_LONGEST_TOKEN: Final = 512


def bearer_token(headers: RawHeaders) -> bytes | None:
    """The API key of a request, from `Authorization: Bearer`, `x-api-key` or `api-key`."""
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.partition(b" ")
            if scheme.lower() == b"bearer" and 0 < len(token) <= _LONGEST_TOKEN:
                return token.strip()
        elif name in (b"x-api-key", b"api-key") and 0 < len(value) <= _LONGEST_TOKEN:
            return value.strip()
    return None


def header(headers: RawHeaders, wanted: bytes) -> bytes | None:
    """The first value of a header, which is named in lower case."""
    for name, value in headers:
        if name == wanted:
            return value
    return None


def declared_length(headers: RawHeaders, limit: int) -> int | None:
    """What `Content-Length` says; TooLarge when that is over the limit."""
    text = header(headers, b"content-length")
    if text is None:
        return None
    if not text.isdigit():
        raise Invalid("the Content-Length header is not a number")
    length = int(text)
    if length > limit:
        raise TooLarge(f"the body has {length} bytes; at most {limit} are taken")
    return length


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body; TooLarge past the limit, Cancelled when the caller hangs up first."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise TooLarge(f"at most {limit} bytes are taken")
        return body
    parts = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise Cancelled("the connection was closed before the body was complete")
        parts += message.get("body", b"")
        if len(parts) > limit:
            raise TooLarge(f"at most {limit} bytes are taken")
        if not message.get("more_body"):
            return bytes(parts)
        message = await receive()


async def send_whole(send: Send, status: int, headers: RawHeaders, body: Any) -> None:
    """One answer, its length declared."""
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Presence:
    """Cancels the current task when the caller hangs up, in whatever it is waiting for."""

    __slots__ = ("_task", "_watcher", "gone", "over")

    def __init__(self, receive: Receive) -> None:
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task(loop)
        self.gone = False
        self.over = False
        self._watcher = loop.create_task(self._watch(receive))

    def end(self) -> None:
        """The answer is complete: from now on the caller may go."""
        self.over = True

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            continue
        if not self.over and self._task is not None:
            self.gone = True
            self._task.cancel()
