"""The few things plain ASGI needs: bodies with a limit, whole answers, and knowing when the caller has gone."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from time import perf_counter_ns
from typing import Any, Final

from polyforge.kernel.errors import Cancelled, Invalid, TooLarge
from polyforge.telemetry.hops import Hops
from polyforge.wiring.http_connection import CONNECTION, HttpConnection

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]
HeaderMap = Mapping[bytes, bytes]

_LONGEST_TOKEN: Final = 2_048


def first_values(headers: RawHeaders) -> HeaderMap:
    """The headers by name, the first value where one comes twice; for whoever asks for more than one."""
    return dict(reversed(headers))


def bearer_token(headers: HeaderMap) -> bytes | None:
    """The API key of a request, from `Authorization: Bearer`, `x-api-key` or `api-key`."""
    authorization = headers.get(b"authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() == b"bearer" and 0 < len(token) <= _LONGEST_TOKEN:
            return token.strip()
    for name in (b"x-api-key", b"api-key"):
        if 0 < len(value := headers.get(name, b"")) <= _LONGEST_TOKEN:
            return value.strip()
    return None


def header(headers: RawHeaders, wanted: bytes) -> bytes | None:
    """The first value of a header, which is named in lower case."""
    for name, value in headers:
        if name == wanted:
            return value
    return None


def declared_length(headers: HeaderMap, limit: int) -> int | None:
    """What `Content-Length` says; TooLarge when that is over the limit."""
    text = headers.get(b"content-length")
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


def overhead_header(hops: Hops) -> tuple[bytes, bytes]:
    """Milliseconds that were ours so far, on every answer of an inference path."""
    spent = perf_counter_ns() - hops.marks[0] - hops.waited
    return b"x-polyforge-overhead-ms", b"%.3f" % (spent / 1_000_000)


async def send_whole(send: Send, status: int, headers: RawHeaders, body: Any) -> None:
    """One answer, its length declared."""
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Presence:
    """Cancels the current task when the caller hangs up, in whatever it is waiting for.

    The connection tells, through `gone`: a task that waits for `http.disconnect` would cost more than the admission.
    """

    __slots__ = ("_connection", "_task", "left")

    def __init__(self, scope: Scope) -> None:
        self.left = False
        """Whether the caller hung up before the answer was complete."""
        # Calls that came over another protocol are cancelled by whoever listens for that one.
        self._connection: HttpConnection | None = scope["state"].get(CONNECTION)
        if self._connection is None:
            return
        self._task = self._connection.task
        self._connection.presence = self
        if self._connection.lost:
            self.gone()

    def gone(self) -> None:
        """The caller has hung up."""
        if not self.left:
            self.left = True
            self._task.cancel()

    def end(self) -> None:
        """The answer is complete: from now on the caller may go."""
        if self._connection is not None and self._connection.presence is self:
            self._connection.presence = None
