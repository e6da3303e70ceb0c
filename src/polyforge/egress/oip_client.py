"""A client of the Open Inference Protocol, for our own model host on a Unix socket and for servers of others."""

import asyncio
from collections.abc import Mapping
from typing import Final

import msgspec

from polyforge.dialects import oip
from polyforge.egress.http import ConnectionBroken, HttpClient
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
_BASE_URL = "http://models"
_NO_HEADERS: Final[Mapping[str, str]] = {}


class OipAnswer(msgspec.Struct, gc=False):
    """A whole answer, with the headers that mean something here."""

    status: int
    body: bytes
    header_length: str | None
    param: str | None
    retry_after: str | None


class OipClient:
    """Calls one model server, on a Unix socket or at `base_url`. Every failure is a `PolyforgeError`.

    Unavailable when nobody listens, the connection breaks or the server says so; TimedOut; Invalid and ModelNotFound as
    the server says; UpstreamFailed for anything else. A call on a kept connection that turns out to be closed is sent
    once more on a fresh one, which inference allows because it changes nothing.
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
        self._http = HttpClient(base_url, {}, None, max_connections, unix_socket=socket_path)

    async def close(self) -> None:
        """Hang up on kept connections; calls on their way finish."""
        await self._http.close()

    async def infer(
        self, model: str, message: oip.Message, *, seconds: float, headers: Mapping[str, str] = _NO_HEADERS
    ) -> oip.InferResponse:
        """The model's answer to an encoded request, within so many seconds, waiting for a connection included."""
        answer = await self._call(oip.model_path(model, "infer"), message, seconds, headers)
        try:
            length = oip.header_length_of(answer.header_length, len(answer.body))
            return oip.decode_response(answer.body, length)
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

    async def _call(
        self, path: str, message: oip.Message, seconds: float, headers: Mapping[str, str] = _NO_HEADERS
    ) -> OipAnswer:
        try:
            async with asyncio.timeout(seconds):
                answer = await self._exchange(path, message, headers)
        except TimeoutError as error:
            raise TimedOut(f"the model server did not answer within {seconds:g} seconds") from error
        except ConnectionBroken as error:
            raise Unavailable(f"the model server went away: {error.message}", retry_after=RETRY_SECONDS) from error
        except Unavailable as error:
            raise Unavailable("the model server is not running", retry_after=RETRY_SECONDS) from error
        if answer.status == OK:
            return answer
        raise _error_of(answer)

    async def _exchange(self, path: str, message: oip.Message, more: Mapping[str, str]) -> OipAnswer:
        headers = {**more, "content-type": message.content_type}
        if message.header_length is not None:
            headers[oip.HEADER_LENGTH] = str(message.header_length)
        answer = self._http.post(path, b"".join(message.parts), headers)
        try:
            await answer.open()
            return OipAnswer(
                answer.status,
                await answer.body(self._max_response_bytes),
                answer.header(oip.HEADER_LENGTH.lower()),
                answer.header(PARAM_HEADER),
                answer.header("retry-after"),
            )
        finally:
            await answer.close()


def _error_of(answer: OipAnswer) -> PolyforgeError:
    message = oip.decode_error(answer.body)
    match answer.status:
        case 404:
            return ModelNotFound(message, param="model")
        case 400:
            return Invalid(message, param=answer.param)
        case 503:
            return Unavailable(message, retry_after=_seconds(answer.retry_after))
        case 504:
            return TimedOut(message)
        case status:
            return UpstreamFailed(f"the model server answered {status}: {message}")


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after is not None and retry_after.isdecimal() else None


def _not_oip(error: Invalid) -> UpstreamFailed:
    return UpstreamFailed(f"the model server's answer is not Open Inference Protocol: {error.message}")
