"""One HTTP/1.1 connection of a server, on llhttp's parser: what uvicorn's server makes for each socket it accepts.

Does what uvicorn's own protocol does at half its price per request, and holds more: the head is bounded, a caller that
sends too slowly is let go, and the application hears at once that a caller has gone (docs/decisions/0013). WebSockets
are not spoken; an upgrade is ignored, as RFC 9110 section 7.8 allows.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, Final, Protocol, cast
from urllib.parse import unquote

import httptools
from uvicorn import Config
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from polyforge.telemetry.logs import get_logger

CONNECTION: Final = "polyforge.connection"
"""Where the connection lies in the state of a scope."""

_HEAD_BYTES: Final = 64 * 1024
_BODY_BYTES: Final = 64 * 1024
"""So much of a body may wait for the application; then the connection is not read until it was taken."""
_JOIN_BYTES: Final = 64 * 1024
_DROPPED_BYTES: Final = 256 * 1024 * 1024
"""So much of a body is read after its answer; then the connection is closed."""
_SEND_SECONDS: Final = 60.0
"""Patience between two pieces of a request, and with a caller who does not read."""
_LOOK_SECONDS: Final = 15.0
_UNREAD_SECONDS: Final = 0.05
"""So long a connection is read on at the end of the server: what came before it may lie unread."""
_NEVER: Final = float("inf")
_ASGI: Final = {"version": "3.0", "spec_version": "2.3"}
_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}".encode("ascii") for status in HTTPStatus
}
_BODILESS: Final = (204, 304)
_CLOSE: Final = b"connection: close\r\n\r\n"

_Message = MutableMapping[str, Any]
_Scope = dict[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Scope, _Receive, _Send], Awaitable[None]]
_log = get_logger(__name__)


class Watcher(Protocol):
    """Who wants to know that a caller has gone."""

    def gone(self) -> None:
        """The connection is lost."""
        ...


class HttpConnection(asyncio.Protocol):
    """Reads requests, runs the application for one at a time, and writes their answers; pipelined ones wait."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        del app_state
        self.app = cast(_App, cast(Any, config).loaded_app)
        self.tasks = server_state.tasks
        self.lost = False
        """Whether nothing can be sent any more."""
        self.task: asyncio.Task[None]
        """Runs the application for the request under way."""
        self.presence: Watcher | None = None
        """Told when the caller has gone."""
        self.writable: asyncio.Future[None] | None = None
        """Set while the caller reads too slowly for what is sent."""
        self._state = server_state
        self._loop = _loop or asyncio.get_running_loop()
        self._idle_seconds = float(config.timeout_keep_alive)
        self._deadline = self._loop.time() + self._idle_seconds
        self._ending = False
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._in_head = False
        self._unparsed: int | None = None
        self._reading: _Turn | None = None
        self._running: _Turn | None = None
        self._waiting: deque[_Turn] = deque()
        self._paused = False
        self._deaf = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A caller has come."""
        self._transport = cast(asyncio.Transport, transport)
        self._state.connections.add(cast(Any, self))
        self._client = get_remote_addr(self._transport)
        self._server = get_local_addr(self._transport)
        self._scheme = "https" if is_ssl(self._transport) else "http"
        self._timer = self._loop.call_later(min(_LOOK_SECONDS, self._idle_seconds), self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller has gone; whoever is working for it is told."""
        self.lost = True
        self._timer.cancel()
        self._state.connections.discard(cast(Any, self))
        self._waiting.clear()
        self.resume_writing()
        if self._running is not None:
            self._running.wake()
        if self.presence is not None:
            self.presence.gone()

    def data_received(self, data: bytes) -> None:
        """Read what has come; what is no HTTP is refused and ends the connection."""
        if self._in_head:
            if self._head_bytes > _HEAD_BYTES:
                self._give_up(431, "The headers are too long.")
            self._head_bytes += len(data)
        while data and not self._deaf:
            data = self._parse(data) if self._unparsed is None else self._pass_by_parser(data, self._unparsed)

    def _parse(self, data: bytes) -> bytes:
        """What the parser leaves over: everything after a head that asks for an upgrade."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._parser = httptools.HttpRequestParser(self)
            return data[upgrade.args[0] :]
        except httptools.HttpParserError:
            self._give_up(400, "This is not valid HTTP.")
        return b""

    def _pass_by_parser(self, data: bytes, length: int) -> bytes:
        """The body of a request that asked for an upgrade, as Java's client does by default, and what follows it."""
        body = data[:length]
        self._unparsed = length - len(body)
        if body:
            self.on_body(body)
        if self._unparsed == 0:
            self._unparsed = None
            self.on_message_complete()
        return data[length:]

    def pause_writing(self) -> None:
        """The caller reads too slowly for what is sent."""
        if self.writable is None:
            self.writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """The caller has caught up."""
        waiter, self.writable = self.writable, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def shutdown(self) -> None:
        """End once what is under way is answered; called by uvicorn's server when it stops.

        A request that came and was not read yet is under way: callers do not ask again on a connection that was closed
        before its first answer.
        """
        self._ending = True
        last = self._waiting[-1] if self._waiting else self._running
        if last is None:
            self._loop.call_later(_UNREAD_SECONDS, self._close_unused)
        else:
            last.keep_alive = False

    # httptools' callbacks

    def on_message_begin(self) -> None:
        """A request begins."""
        self._url = b""
        self._headers = []
        self._head_bytes = 0
        self._in_head = True
        self._deadline = self._loop.time() + _SEND_SECONDS

    def on_url(self, url: bytes) -> None:
        """A piece of the request target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        if len(name) + len(value) > _HEAD_BYTES:
            raise ValueError("a header is too long")
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is there: the application may begin."""
        self._in_head = False
        version = self._parser.get_http_version()
        path, query = _split(self._url)
        scope: _Scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "server": self._server,
            "client": self._client,
            "scheme": self._scheme,
            "root_path": "",
            "headers": self._headers,
            "state": {CONNECTION: self},
            "method": self._parser.get_method().decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": path.encode("ascii"),
            "query_string": query,
        }
        if self._parser.should_upgrade():
            self._unparsed = _length(self._headers)
        keep_alive = not self._ending and version != "1.0" and self._parser.should_keep_alive()
        turn = self._reading = _Turn(self, scope, keep_alive)
        if self._running is None:
            self._run(turn)
        else:
            self._waiting.append(turn)
            self.pause_reading()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._deadline = self._loop.time() + _SEND_SECONDS
        if self._reading is not None and not self._reading.add(body):
            self._close()

    def on_message_complete(self) -> None:
        """The request is complete."""
        turn = self._reading
        if turn is None or self._unparsed is not None:
            return
        turn.end()
        if not turn.done:
            self._deadline = _NEVER
        elif turn.keep_alive:
            self._deadline = self._loop.time() + self._idle_seconds
        else:
            self._close()

    # For the turns

    async def drain(self) -> None:
        """Return once the caller has read enough of what was sent; one who does not read at all is hung up on."""
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                while self.writable is not None:
                    await asyncio.shield(self.writable)
        except TimeoutError:
            self.abort()

    def write(self, head: bytes, body: bytes) -> None:
        """Send on."""
        if not head:
            self._transport.write(body)
        elif len(body) < _JOIN_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    def pause_reading(self) -> None:
        """Read no more until `resume_reading`."""
        if not self._paused and not self.lost:
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self._paused and not self.lost:
            self._paused = False
            self._transport.resume_reading()

    def answered(self, turn: "_Turn") -> None:
        """The answer is complete. The rest of its request is read first: closing on it might take the answer along."""
        self._state.total_requests += 1
        self._running = None
        if not turn.complete:
            self.resume_reading()
        elif not turn.keep_alive:
            self._close()
        elif self._waiting:
            self._run(self._waiting.popleft())
        else:
            self.resume_reading()
            self._deadline = self._loop.time() + self._idle_seconds

    def abort(self) -> None:
        """Hang up in the middle of an answer, so that the caller sees that it is not whole."""
        self._deaf = self.lost = True
        self._transport.abort()

    # Inside

    def _run(self, turn: "_Turn") -> None:
        self._running = turn
        self.task = self._loop.create_task(turn.run())
        self.tasks.add(self.task)

    def _look(self) -> None:
        """Is it time to end? One timer that looks now and then is cheaper than one that every request moves."""
        now = self._loop.time()
        if now >= self._deadline:
            self._time_out()
            now = self._loop.time()
        self._timer = self._loop.call_at(min(now + _LOOK_SECONDS, max(self._deadline, now + 1.0)), self._look)

    def _close_unused(self) -> None:
        if self._running is None and not self.lost:
            self._close()

    def _time_out(self) -> None:
        if self.lost:
            self._transport.abort()
        elif self._in_head or (self._reading is not None and not self._reading.complete):
            self._give_up(408, "The request took too long to arrive.")
        else:
            self._close()

    def _give_up(self, status: int, reason: str) -> None:
        """Refuse what came last. Answers to earlier requests on the connection go out first."""
        partial = self._reading is not None and not self._reading.complete
        if self._running is not None and (self._running is not self._reading or not partial):
            self._deaf = True
            self.shutdown()
            return
        if self._running is None or not self._running.started:
            text = reason.encode("ascii")
            head = b"%b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n%b"
            self._transport.write(head % (_STATUS_LINES[status], len(text), _CLOSE) + text)
        self._close()

    def _close(self) -> None:
        """Hang up once everything is sent."""
        self._deaf = self.lost = True
        self._deadline = self._loop.time() + _SEND_SECONDS
        self._transport.close()


class _Turn:
    """One request and its answer, as the application sees them: `receive` and `send` are ASGI's."""

    __slots__ = (
        "_body",
        "_chunked",
        "_connection",
        "_dropped",
        "_given",
        "_head",
        "_invited",
        "_left",
        "_scope",
        "_waiter",
        "complete",
        "done",
        "keep_alive",
        "started",
    )

    def __init__(self, connection: HttpConnection, scope: _Scope, keep_alive: bool) -> None:
        self._connection = connection
        self._scope = scope
        self._body = b""
        self._given = False
        self._invited = False
        self._dropped = 0
        self._head = b""
        self._chunked = False
        self._left: int | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.keep_alive = keep_alive
        """Whether the connection goes on after the answer."""
        self.complete = False
        """Whether the request is."""
        self.started = False
        """Whether something of the answer was sent."""
        self.done = False
        """Whether all of it was."""

    async def run(self) -> None:
        """Run the application; an answer that it leaves unfinished is broken off, and visibly so."""
        connection = self._connection
        task = connection.task
        try:
            await connection.app(self._scope, self.receive, self.send)
        except Exception:  # noqa: BLE001 - a broken answer must not take the process along
            _log.exception("the application broke", path=self._scope["path"])
        finally:
            connection.tasks.discard(task)
            if not self.done and not connection.lost:
                connection.abort()

    # Called by the connection

    def add(self, piece: bytes) -> bool:
        """More of the body; False when so much came after the answer that the connection had better end."""
        if self.done:
            self._dropped += len(piece)
            return self._dropped <= _DROPPED_BYTES
        self._body = self._body + piece if self._body else piece
        if len(self._body) > _BODY_BYTES:
            self._connection.pause_reading()
        self.wake()
        return True

    def end(self) -> None:
        """That was all of it."""
        self.complete = True
        self.wake()

    def wake(self) -> None:
        """Let `receive` look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # Called by the application

    async def receive(self) -> _Message:
        """What has come of the body since the last time, or, after all of it, word that the caller has gone."""
        connection = self._connection
        if not (self.complete or self._body or self._invited):
            self._invite()
        while not connection.lost and not self.done and (self._given or not (self._body or self.complete)):
            await self._wait()
        if connection.lost or self.done:
            return {"type": "http.disconnect"}
        body, self._body = self._body, b""
        self._given = self.complete
        return {"type": "http.request", "body": body, "more_body": not self.complete}

    def _invite(self) -> None:
        """A caller that asked whether to send its body may (RFC 9110 section 10.1.1)."""
        self._invited = True
        if not self.started and any(name == b"expect" for name, _ in self._scope["headers"]):
            self._connection.write(b"", b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _wait(self) -> None:
        if not self.complete:
            self._connection.resume_reading()
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def send(self, message: _Message) -> None:
        """A part of the answer; its head goes out together with the first part of the body."""
        connection = self._connection
        if connection.writable is not None:
            await connection.drain()
        if connection.lost:
            return
        if message["type"] == "http.response.start":
            self._begin(message["status"], message["headers"])
            return
        if self.done or not (self.started or self._head):
            raise RuntimeError("a body without a head, or after the end")
        more = message.get("more_body", False)
        head, self._head = self._head, b""
        self.started = True
        connection.write(head, self._frame(message.get("body", b""), more))
        if not more:
            self._finish()

    def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        if self.started or self._head:
            raise RuntimeError("a second head")
        lines, length = [_STATUS_LINES[status]], -1
        for header in headers:
            if header[0] == b"content-length":
                length = int(header[1])
            lines.append(b": ".join(header))
        if length >= 0 or status in _BODILESS:
            self._left = None if self._scope["method"] == "HEAD" else max(0, length)
        elif self._scope["http_version"] == "1.0":
            self.keep_alive = False
        else:
            self._chunked = True
            lines.append(b"transfer-encoding: chunked")
        if not self.keep_alive:
            lines.append(b"connection: close")
        lines.append(b"\r\n")
        self._head = b"\r\n".join(lines)
        if not self._head.count(b"\n") == self._head.count(b"\r") == len(lines):
            raise RuntimeError("a header holds a line break")

    def _frame(self, body: bytes, more: bool) -> bytes:
        if self._scope["method"] == "HEAD":
            return b""
        if self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return chunk if more else chunk + b"0\r\n\r\n"
        if self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the body is not as long as its head says")
        return body

    def _finish(self) -> None:
        self.done = True
        self.wake()
        self._connection.answered(self)


def _split(target: bytes) -> tuple[str, bytes]:
    """Path and query of a request target (RFC 9112 section 3.2)."""
    if target.startswith(b"/"):
        path, _, query = target.partition(b"?")
        return path.decode("ascii"), query
    if b"://" not in target:
        return target.decode("ascii"), b""
    parts = httptools.parse_url(target)
    return (parts.path or b"/").decode("ascii"), parts.query or b""


def _length(headers: list[tuple[bytes, bytes]]) -> int:
    """How long the body is, which no parser has looked at; ValueError when that is not clear.

    Said more than once and always the same, it is one length (RFC 9110 section 8.6).
    """
    if any(name == b"transfer-encoding" for name, _ in headers):
        raise ValueError("the body has an encoding, not a length")
    said = {value for name, value in headers if name == b"content-length"}
    if not said:
        return 0
    if len(said) > 1:
        raise ValueError("the body has two lengths")
    length = next(iter(said))
    if not length.isdigit():
        raise ValueError("the length of the body is no number")
    return int(length)
