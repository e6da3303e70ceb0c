"""Calls an ASGI application in place, as a server does for a request that came over HTTP."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from polyforge.dialects import oip
from polyforge.kernel.errors import PolyforgeError, UpstreamFailed
from polyforge.telemetry.logs import get_logger

Message = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application."""
Headers = list[tuple[bytes, bytes]]
OK: Final = 200
MAX_WAITING: Final = 16
"""Pieces of an answer that wait for whoever reads them; the application waits beyond that."""

_log = get_logger(__name__)


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


class Stream:
    """An answer that is read while it is made. `close` it in any case: who leaves early has hung up."""

    def __init__(self, app: App, request: Request) -> None:
        self._app = app
        self._request = request
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue(MAX_WAITING)
        self._making: asyncio.Task[None] | None = None
        self._whole = False
        self.answer = Answer()
        """What has come of it; of a good one no more than its head."""

    async def open(self) -> None:
        """Begin; Refused when it is no good answer."""
        self._making = asyncio.ensure_future(self._make())
        while self.answer.status != OK and (message := await self._messages.get()) is not None:
            await self.answer.take(message)
        self.answer.raise_error()

    async def pieces(self) -> AsyncGenerator[bytes]:
        """What comes of its body; UpstreamFailed when it breaks off."""
        while (message := await self._messages.get()) is not None:
            self._whole = not message.get("more_body", False)
            if body := message.get("body", b""):
                yield bytes(body)
        if not self._whole:
            raise UpstreamFailed("the answer broke off")

    async def close(self) -> None:
        """Hang up, when it is not whole yet."""
        making, self._making = self._making, None
        if making is not None:
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)

    async def _make(self) -> None:
        try:
            await self._app(self._request.scope(), _receiving(self._request.body), self._messages.put)
        except Exception:  # noqa: BLE001  its answer had begun: what is there tells that it is not whole
            _log.exception("an answer broke off", path=self._request.path)
        await self._messages.put(None)


def _receiving(body: bytes) -> Callable[[], Awaitable[Message]]:
    told = False

    async def receive() -> Message:
        nonlocal told
        if told:
            await asyncio.Event().wait()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
