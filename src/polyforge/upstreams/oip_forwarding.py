"""Requests of the Open Inference Protocol passed on to our own model host as the bytes that they came in."""

import asyncio
from typing import Final

from typing_extensions import AsyncGenerator

from polyforge.dialects import oip
from polyforge.dialects.oip_naming import hosted_as, renamed_answer
from polyforge.dialects.oip_paths import hosted_path
from polyforge.egress.oip_client import OK, OipAnswer, OipClient, model_error
from polyforge.kernel.errors import UpstreamFailed
from polyforge.kernel.tasks import TensorRequest
from polyforge.kernel.usage import Usage
from polyforge.ports.provider import Call, Reply, StreamEvent

_HEADER_LENGTH: Final = oip.HEADER_LENGTH.encode()
_END_OF_EVENT: Final = b"\n\n"


class Forwarding:
    """Has the host answer; its answers and errors tell of the model by the name that the caller used."""

    def __init__(self, client: OipClient, seconds: float) -> None:
        self._client = client
        self._seconds = seconds

    async def send(self, call: Call, request: TensorRequest) -> Reply:
        """The whole answer, and as usage the tokens that the model read, where it says so."""
        path, headers = _addressed(call, request)
        answer = await self._client.ask(path, request.body, headers, seconds=self._left(call))
        hosted = hosted_as(call.model)
        if answer.status != OK:
            raise model_error(answer, hosted, request.model)
        body = renamed_answer(answer.body, hosted, request.model)
        told = _told(answer, len(body) - len(answer.body))
        return Reply(_usage(answer), body, headers=told, media_type=answer.content_type.encode())

    async def stream(self, call: Call, request: TensorRequest) -> AsyncGenerator[list[StreamEvent]]:
        """The events of a streamed answer, as they come."""
        path, headers = _addressed(call, request)
        hosted = hosted_as(call.model)
        usage: Usage | None = None
        rest = b""
        pieces = self._client.stream(path, request.body, headers, seconds=self._left(call))
        try:
            async for piece in pieces:
                if isinstance(piece, OipAnswer):
                    if piece.status != OK:
                        raise model_error(piece, hosted, request.model)
                    usage = _usage(piece)
                    continue
                *events, rest = (rest + piece).split(_END_OF_EVENT)
                if events:
                    yield [_event(event, hosted, request.model) for event in events]
        finally:
            await pieces.aclose()
        if rest:
            raise UpstreamFailed("the model host's answer broke off in the middle of an event")
        yield [StreamEvent(b"", usage=usage, end=True, media_type=b"text/event-stream; charset=utf-8")]

    def _left(self, call: Call) -> float:
        return min(self._seconds, call.deadline - asyncio.get_running_loop().time())


def _addressed(call: Call, request: TensorRequest) -> tuple[str, dict[str, str]]:
    headers = dict(call.headers)
    headers["content-type"] = oip.JSON_TYPE if request.header_length is None else oip.BINARY_TYPE
    if request.header_length is not None:
        headers[oip.HEADER_LENGTH] = str(request.header_length)
    return hosted_path(call.model, request.operation, request.version), headers


def _told(answer: OipAnswer, longer: int) -> list[tuple[bytes, bytes]]:
    if answer.header_length is None:
        return []
    return [(_HEADER_LENGTH, b"%d" % (int(answer.header_length) + longer))]


def _usage(answer: OipAnswer) -> Usage | None:
    tokens = answer.tokens
    return Usage(input=int(tokens)) if tokens is not None and tokens.isdecimal() else None


def _event(event: bytes, hosted: str, name: str) -> StreamEvent:
    return StreamEvent(renamed_answer(event, hosted, name) + _END_OF_EVENT, content=True)
