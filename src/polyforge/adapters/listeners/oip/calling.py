"""Calls an ASGI application in place, as a server does for a request that came over HTTP."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from polyforge.dialects import oip
from polyforge.kernel.errors import PolyforgeError

Message = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application."""
Headers = list[tuple[bytes, bytes]]
OK: Final = 200


class Refused(PolyforgeError):
    """The application answered with an error, and with this status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Request(msgspec.Struct, frozen=True):
    """What to call; `path` is quoted where its parts need it. `client` is the caller's address and port."""

    method: str
    path: str
    headers: Headers
    body: bytes = b""
    client: tuple[str, int] | None = None

    def scope(self) -> dict[str, Any]:
        """The same as ASGI has it."""
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "2",
            "method": self.method,
            "scheme": "http",
            "path": unquote(self.path),
            "raw_path": self.path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [*self.headers, (b"content-length", b"%d" % len(self.body))],
            "client": self.client,
            "server": None,
            "state": {},
        }


class Answer:
    """A whole answer, filled in as it comes."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self._parts: list[bytes] = []

    @property
    def body(self) -> bytes:
        """All of it."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    @property
    def json(self) -> Any:
        """What it says as JSON; nothing, where it says nothing."""
        return msgspec.json.decode(self.body) if self.body else {}

    async def take(self, message: Message) -> None:
        """One message of ASGI."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = dict(message["headers"])
        else:
            self._parts.append(bytes(message.get("body", b"")))

    def raise_error(self) -> None:
        """Refused, in the application's words, when it is no good answer."""
        if self.status != OK:
            raise Refused(oip.decode_error(self.body), self.status or 500)


async def call(app: App, request: Request, answer: Answer) -> Answer:
    """Let the application answer. Whoever cancels this is a caller that hung up."""
    await app(request.scope(), _receiving(request.body), answer.take)
    return answer


def _receiving(body: bytes) -> Callable[[], Awaitable[Message]]:
    told = False

    async def receive() -> Message:
        nonlocal told
        if told:
            await asyncio.Event().wait()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
