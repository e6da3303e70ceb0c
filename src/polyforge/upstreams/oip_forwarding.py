"""Requests of the Open Inference Protocol passed on to our own model host as the bytes that they came in."""

import asyncio
from collections.abc import Iterator
from typing import Final

from typing_extensions import AsyncGenerator

from polyforge.dialects import oip
from polyforge.dialects.oip_frames import Frame, FrameReader
from polyforge.dialects.oip_naming import hosted_as, renamed_answer, renamed_error
from polyforge.dialects.oip_paths import hosted_path
from polyforge.egress.oip_client import OK, OipAnswer, OipClient, model_error
from polyforge.kernel.errors import ModelFailed, UpstreamFailed
from polyforge.kernel.tasks import TensorRequest
from polyforge.kernel.usage import Usage
from polyforge.ports.provider import Call, Reply, StreamEvent

_HEADER_LENGTH: Final = oip.HEADER_LENGTH.encode()
_END_OF_EVENT: Final = b"\n\n"
_ANY_TYPE: Final = b"application/octet-stream"
"""Says of the end that its dialect has nothing to write; the first event says what the answer is."""
_DATA: Final = b"data: "
_ERROR_EVENT: Final = _DATA + b'{"error":'
"""How our host begins an event that is an error; one that is an answer begins with its id or its model."""


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
        """The events, or the frames, of a streamed answer, as they come."""
        path, headers = _addressed(call, request)
        hosted = hosted_as(call.model)
        usage: Usage | None = None
        reader = _Frames() if request.operation == "infer_stream" else _Events()
        pieces = self._client.stream(path, request.body, headers, seconds=self._left(call))
        try:
            async for piece in pieces:
                if isinstance(piece, OipAnswer):
                    if piece.status != OK:
                        raise model_error(piece, hosted, request.model)
                    usage = _usage(piece)
                    continue
                for told in reader.feed(piece, hosted, request.model):
                    yield [StreamEvent(told, content=True)]
        finally:
            await pieces.aclose()
        if not reader.complete:
            raise UpstreamFailed("the model host's answer broke off")
        yield [StreamEvent(b"", usage=usage, end=True, media_type=_ANY_TYPE)]

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


class _Events:
    """Server-sent events, as `generate_stream` answers."""

    def __init__(self) -> None:
        self._rest = b""

    @property
    def complete(self) -> bool:
        """Whether nothing of an event is left over."""
        return not self._rest

    def feed(self, piece: bytes, hosted: str, name: str) -> Iterator[bytes]:
        """The events that are whole now; ModelFailed for one that is an error."""
        *events, self._rest = (self._rest + piece).split(_END_OF_EVENT)
        for event in events:
            if event.startswith(_ERROR_EVENT):
                raise _failed(event.removeprefix(_DATA), hosted, name)
            yield renamed_answer(event, hosted, name) + _END_OF_EVENT


class _Frames:
    """Frames, as `infer_stream` answers."""

    def __init__(self) -> None:
        self._reader = FrameReader()

    @property
    def complete(self) -> bool:
        """Whether nothing of a frame is left over."""
        return self._reader.complete

    def feed(self, piece: bytes, hosted: str, name: str) -> Iterator[bytes]:
        """The frames that are whole now; ModelFailed for one that is an error."""
        for frame in self._reader.feed(piece):
            if frame.kind == "error":
                raise _failed(frame.json, hosted, name)
            yield Frame(frame.kind, renamed_answer(frame.json, hosted, name), frame.raw).encode()


def _failed(body: bytes, hosted: str, name: str) -> ModelFailed:
    return ModelFailed(renamed_error(oip.decode_error(body), hosted, name), status=500)
