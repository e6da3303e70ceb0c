"""A small HTTP/1.1 client for the Open Inference Protocol over a Unix socket, with kept connections.

For servers that the operator declared, never for addresses that come from a user. Built on httptools, because one call
to the model host costs about as much as the model: what a general client adds would double it.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import cast

import httptools
import msgspec
from typing_extensions import Buffer

from polyforge.dialects import oip
from polyforge.kernel.errors import (
    Invalid,
    ModelNotFound,
    PolyforgeError,
    TimedOut,
    Unavailable,
    UpstreamFailed,
)

MAX_RESPONSE_BYTES = 64 * 1024 * 1024
RETRY_SECONDS = 1.0
OK = 200
PARAM_HEADER = "x-polyforge-param"


class OipAnswer(msgspec.Struct, gc=False):
    """A whole HTTP response; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Lost(Exception):
    """The connection ended before the answer was whole; `began` when some of it had been read."""

    def __init__(self, began: bool) -> None:
        super().__init__("the connection was lost")
        self.began = began


class _Connection(asyncio.Protocol):
    """One connection; carries one request at a time."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._transport: asyncio.WriteTransport | None = None
        self._answer: asyncio.Future[OipAnswer] | None = None
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._began = False
        self._keeps = True

    @property
    def usable(self) -> bool:
        """Whether another request may be sent on it."""
        return self._keeps and self._transport is not None and not self._transport.is_closing()

    async def exchange(self, parts: tuple[Buffer, ...]) -> OipAnswer:
        """Send a request and read its answer; _Lost when the connection ends first. Cancelling closes it."""
        if self._transport is None or self._transport.is_closing():
            raise _Lost(began=False)
        self._begin()
        self._answer = asyncio.get_running_loop().create_future()
        try:
            self._transport.write(b"".join(parts))
            return await self._answer
        except BaseException:
            self.close()
            raise
        finally:
            self._answer = None

    def close(self) -> None:
        """Hang up at once."""
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self.close()
            return
        self._began = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(UpstreamFailed(f"the model server's answer is not HTTP: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(_Lost(self._began))

    # httptools' callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > self._max_bytes:
            self._fail(UpstreamFailed(f"the model server's answer is longer than {self._max_bytes} bytes"))
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        self._keeps = self._parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._answer.set_result(OipAnswer(self._parser.get_status_code(), self._headers, body))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


class OipClient:
    """Calls one model server. Every failure is a `PolyforgeError`.

    Unavailable when nobody listens, the connection breaks or the server says so; TimedOut; Invalid and ModelNotFound as
    the server says; UpstreamFailed for anything else. A call on a kept connection that turns out to be closed is sent
    once more on a fresh one, which inference allows because it changes nothing.
    """

    def __init__(
        self, socket_path: str, *, max_connections: int = 64, max_response_bytes: int = MAX_RESPONSE_BYTES
    ) -> None:
        self._path = socket_path
        self._free = max_connections
        self._max_response_bytes = max_response_bytes
        self._kept: list[_Connection] = []
        self._waiters: deque[asyncio.Future[None]] = deque()

    async def close(self) -> None:
        """Hang up on kept connections; calls on their way finish."""
        while self._kept:
            self._kept.pop().close()

    async def infer(self, model: str, message: oip.Message, *, seconds: float) -> oip.InferResponse:
        """The model's answer to an encoded request, within so many seconds, waiting for a connection included."""
        answer = await self._call("POST", oip.model_path(model, "infer"), message, seconds)
        try:
            length = oip.header_length_of(answer.headers.get(oip.HEADER_LENGTH), len(answer.body))
            return oip.decode_response(answer.body, length)
        except Invalid as error:
            raise _not_oip(error) from error

    async def index(self, *, seconds: float) -> list[oip.IndexEntry]:
        """Every model that the server has, whatever its state."""
        answer = await self._call("POST", "/v2/repository/index", oip.Message((b"{}",)), seconds)
        try:
            return oip.decode_index(answer.body)
        except Invalid as error:
            raise _not_oip(error) from error

    async def _call(self, method: str, path: str, message: oip.Message, seconds: float) -> OipAnswer:
        head = _head(method, path, message)
        try:
            async with asyncio.timeout(seconds):
                answer = await self._exchange((head, *message.parts))
        except TimeoutError as error:
            raise TimedOut(f"the model server did not answer within {seconds:g} seconds") from error
        if answer.status == OK:
            return answer
        raise _error_of(answer)

    async def _exchange(self, parts: tuple[Buffer, ...]) -> OipAnswer:
        await self._take_turn()
        try:
            return await self._exchange_in_turn(parts)
        finally:
            self._pass_turn()

    async def _exchange_in_turn(self, parts: tuple[Buffer, ...]) -> OipAnswer:
        kept = self._keep()
        if kept is not None:
            try:
                return await self._exchange_on(kept, parts)
            except _Lost as lost:
                if lost.began:
                    raise _broken(lost) from lost
        try:
            return await self._exchange_on(await self._connect(), parts)
        except _Lost as lost:
            raise _broken(lost) from lost

    async def _exchange_on(self, connection: _Connection, parts: tuple[Buffer, ...]) -> OipAnswer:
        answer = await connection.exchange(parts)
        if connection.usable:
            self._kept.append(connection)
        else:
            connection.close()
        return answer

    def _keep(self) -> _Connection | None:
        while self._kept:
            connection = self._kept.pop()
            if connection.usable:
                return connection
        return None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_unix_connection(lambda: _Connection(self._max_response_bytes), self._path)
        except OSError as error:
            raise Unavailable("the model server is not running", retry_after=RETRY_SECONDS) from error
        return connection

    async def _take_turn(self) -> None:
        if self._free > 0:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiters.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_turn()
            raise

    def _pass_turn(self) -> None:
        while self._waiters:
            turn = self._waiters.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


def _head(method: str, path: str, message: oip.Message) -> bytes:
    size = sum(memoryview(part).nbytes for part in message.parts)
    length = "" if message.header_length is None else f"{oip.HEADER_LENGTH}: {message.header_length}\r\n"
    return (
        f"{method} {path} HTTP/1.1\r\nhost: models\r\ncontent-type: {message.content_type}\r\n"
        f"{length}content-length: {size}\r\n\r\n"
    ).encode("ascii")


def _error_of(answer: OipAnswer) -> PolyforgeError:
    message = oip.decode_error(answer.body)
    match answer.status:
        case 404:
            return ModelNotFound(message, param="model")
        case 400:
            return Invalid(message, param=answer.headers.get(PARAM_HEADER))
        case 503:
            return Unavailable(message, retry_after=_seconds(answer.headers.get("retry-after")))
        case 504:
            return TimedOut(message)
        case status:
            return UpstreamFailed(f"the model server answered {status}: {message}")


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after is not None and retry_after.isdecimal() else None


def _broken(lost: _Lost) -> Unavailable:
    where = "in the middle of its answer" if lost.began else "before it answered"
    return Unavailable(f"the model server went away {where}", retry_after=RETRY_SECONDS)


def _not_oip(error: Invalid) -> UpstreamFailed:
    return UpstreamFailed(f"the model server's answer is not Open Inference Protocol: {error.message}")
