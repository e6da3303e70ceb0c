"""A client of the Open Inference Protocol, for our own model host on a Unix socket and for servers of others."""

import asyncio
from collections.abc import Mapping
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from typing_extensions import AsyncGenerator

from polyforge.dialects import oip
from polyforge.dialects.oip_naming import renamed_error
from polyforge.egress.http import Answer, ConnectionBroken, HttpClient
from polyforge.kernel.errors import (
    BrokenOff,
    Invalid,
    ModelFailed,
    ModelNotFound,
    NotSupported,
    PolyforgeError,
    TimedOut,
    Unavailable,
    UpstreamFailed,
)

MAX_RESPONSE_BYTES = 64 * 1024 * 1024
RETRY_SECONDS = 1.0
OK = 200
PARAM_HEADER = "x-polyforge-param"
_BASE_URL = "http://models"
_NO_HEADERS: Final[Mapping[str, str]] = {}


class OipAnswer(msgspec.Struct, gc=False):
    """A whole answer, with the headers that mean something here."""

    status: int
    body: bytes
    header_length: str | None
    param: str | None
    retry_after: str | None
    content_type: str = oip.JSON_TYPE
    tokens: str | None = None
    """How many tokens the model read, where it says so."""
    broken_off: bool = False
    """Whether what was computing it ended."""

    @property
    def retry_seconds(self) -> float | None:
        """After how long to try again."""
        return _seconds(self.retry_after)


class OipClient:
    """Calls one model server, on a Unix socket or at `base_url`. Every failure is a `PolyforgeError`.

    Unavailable when nobody listens, the connection breaks or the server says so, BrokenOff when it had read the request
    then; TimedOut; Invalid and ModelNotFound as the server says; UpstreamFailed for anything else. A call on a kept
    connection that turns out to be closed is sent once more on a fresh one, which inference allows because it changes
    nothing; but not to our own host, on a socket, if it has read the request: it may have ended of it.
    """

    def __init__(
        self,
        socket_path: str | None = None,
        *,
        base_url: str = _BASE_URL,
        max_connections: int = 64,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        self._max_response_bytes = max_response_bytes
        self._http = HttpClient(
            base_url, {}, None, max_connections, unix_socket=socket_path, resends=socket_path is None
        )

    async def close(self) -> None:
        """Hang up on kept connections; calls on their way finish."""
        await self._http.close()

    async def infer(
        self,
        model: str,
        message: oip.Message,
        *,
        seconds: float,
        headers: Mapping[str, str] = _NO_HEADERS,
        version: str | None = None,
    ) -> oip.InferResponse:
        """The model's answer to an encoded request, within so many seconds, waiting for a connection included."""
        answer = await self._call(_path(model, version, "infer"), message, seconds, headers)
        try:
            length = oip.header_length_of(answer.header_length, len(answer.body))
            return oip.decode_response(answer.body, length)
        except Invalid as error:
            raise _not_oip(error) from error

    async def metadata(
        self, model: str, *, seconds: float, headers: Mapping[str, str] = _NO_HEADERS, version: str | None = None
    ) -> oip.ModelMetadata:
        """What the model takes and gives."""
        answer = await self.ask(_path(model, version), headers=headers, seconds=seconds)
        if answer.status != OK:
            raise _error_of(answer)
        try:
            return oip.decode_metadata(answer.body)
        except Invalid as error:
            raise _not_oip(error) from error

    async def index(self, *, seconds: float) -> list[oip.IndexEntry]:
        """Every model that the server has, whatever its state."""
        answer = await self._call("/v2/repository/index", oip.Message((b"{}",)), seconds)
        try:
            return oip.decode_index(answer.body)
        except Invalid as error:
            raise _not_oip(error) from error

    async def refresh(self, *, seconds: float) -> None:
        """Have our own model host read again what it is to serve beside the declared models."""
        await self._call("/v2/repository/polyforge/refresh", oip.Message((b"{}",)), seconds)

    async def hand_over(self, secrets: bytes, *, seconds: float) -> None:
        """Give our own model host the secrets of its models."""
        await self._call("/v2/repository/polyforge/secrets", oip.Message((secrets,)), seconds)

    async def ask(
        self, path: str, body: bytes | None = None, headers: Mapping[str, str] = _NO_HEADERS, *, seconds: float
    ) -> OipAnswer:
        """What the server answers to a GET, or to a POST of `body`: its errors are answers too."""
        async with _within(seconds):
            answer = self._http.get(path, headers) if body is None else self._http.post(path, body, headers)
            return await self._whole(answer)

    async def stream(
        self, path: str, body: bytes, headers: Mapping[str, str], *, seconds: float
    ) -> AsyncGenerator[OipAnswer | bytes]:
        """The same as it comes: a good one as an OipAnswer without a body, then its pieces; else a whole OipAnswer."""
        answer = self._http.post(path, body, headers)
        try:
            async with _within(seconds):
                await answer.open()
                if answer.status != OK:
                    yield await self._read(answer)
                    return
                yield _answer(answer, b"")
                while (piece := await answer.chunk()) is not None:
                    yield piece
        finally:
            await answer.close()

    async def _call(
        self, path: str, message: oip.Message, seconds: float, headers: Mapping[str, str] = _NO_HEADERS
    ) -> OipAnswer:
        async with _within(seconds):
            answer = await self._exchange(path, message, headers)
        if answer.status == OK:
            return answer
        raise _error_of(answer)

    async def _exchange(self, path: str, message: oip.Message, more: Mapping[str, str]) -> OipAnswer:
        headers = {**more, "content-type": message.content_type}
        if message.header_length is not None:
            headers[oip.HEADER_LENGTH] = str(message.header_length)
        return await self._whole(self._http.post(path, b"".join(message.parts), headers))

    async def _whole(self, answer: Answer) -> OipAnswer:
        try:
            await answer.open()
            return await self._read(answer)
        finally:
            await answer.close()

    async def _read(self, answer: Answer) -> OipAnswer:
        return _answer(answer, await answer.body(self._max_response_bytes))


def _path(model: str, version: str | None, *rest: str) -> str:
    return oip.model_path(model, *(() if version is None else ("versions", version)), *rest)


def _answer(answer: Answer, body: bytes) -> OipAnswer:
    return OipAnswer(
        answer.status,
        body,
        answer.header(oip.HEADER_LENGTH),
        answer.header(PARAM_HEADER),
        answer.header("retry-after"),
        answer.header("content-type") or oip.JSON_TYPE,
        answer.header(oip.TOKENS_HEADER),
        answer.header(oip.BROKEN_OFF_HEADER) is not None,
    )


@asynccontextmanager
async def _within(seconds: float) -> AsyncGenerator[None]:
    """Tells what went wrong with a server that cannot be reached, or not in time."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise TimedOut(f"the model server did not answer within {seconds:g} seconds") from error
    except ConnectionBroken as error:
        away = Unavailable if error.unread else BrokenOff
        raise away(f"the model server went away: {error.message}", retry_after=RETRY_SECONDS) from error
    except Unavailable as error:
        raise Unavailable("the model server is not running", retry_after=RETRY_SECONDS) from error


def _error_of(answer: OipAnswer) -> PolyforgeError:
    message = oip.decode_error(answer.body)
    match answer.status:
        case 404:
            return ModelNotFound(message, param="model")
        case 400:
            return Invalid(message, param=answer.param)
        case 503:
            away = BrokenOff if answer.broken_off else Unavailable
            return away(message, retry_after=answer.retry_seconds)
        case 504:
            return TimedOut(message)
        case status:
            return UpstreamFailed(f"the model server answered {status}: {message}")


def model_error(answer: OipAnswer, hosted: str, name: str) -> PolyforgeError:
    """What our own model host refused, told of a model by the name that the caller knows it by."""
    message = renamed_error(oip.decode_error(answer.body), hosted, name)
    match answer.status:
        case 400 | 413:
            return Invalid(message, param=answer.param)
        case 404:
            return ModelNotFound(message, param="model")
        case 501:
            return NotSupported(message)
        case status:
            return ModelFailed(message, status=status, retry_after=answer.retry_seconds)


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after is not None and retry_after.isdecimal() else None


def _not_oip(error: Invalid) -> UpstreamFailed:
    return UpstreamFailed(f"the model server's answer is not Open Inference Protocol: {error.message}")
