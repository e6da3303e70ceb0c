"""Calls in OpenAI's dialect, for OpenAI itself and everybody who copied its API.

Bodies in that dialect pass through, and only what they used is read of the answers; chats of other dialects are written
and read.
"""

from typing import Final, Literal

import msgspec
from typing_extensions import AsyncGenerator

from polyforge.dialects import openai_audio, openai_embeddings, openai_images, openai_moderations
from polyforge.dialects.multipart import is_form, read_form
from polyforge.dialects.openai_chat import facts, replies, requests
from polyforge.dialects.openai_chat.streams import ChunkReader
from polyforge.dialects.openai_errors import decode_error
from polyforge.dialects.openai_models import decode_model_names
from polyforge.dialects.rewriting import with_fields
from polyforge.egress.http import Answer
from polyforge.kernel.errors import Unsupported, UpstreamFailed
from polyforge.kernel.sse import DONE, data_of, event_of
from polyforge.kernel.tasks import InferenceRequest, Task
from polyforge.kernel.usage import Usage
from polyforge.ports.provider import Call, Reply, StreamEvent
from polyforge.upstreams.calls import ReadError, StreamReader, read_stream, read_typed, read_whole
from polyforge.upstreams.openai_media import MediaStream
from polyforge.upstreams.streams import CanonicalStream, PassedEvents

LimitField = Literal["max_tokens", "max_completion_tokens"]
PATHS: Final[dict[Task, str]] = {
    "chat": "/chat/completions",
    "completion": "/completions",
    "embedding": "/embeddings",
    "image_generation": "/images/generations",
    "transcription": "/audio/transcriptions",
    "speech": "/audio/speech",
    "moderation": "/moderations",
}
_VARIANTS: Final = {"edit": "/images/edits", "translation": "/audio/translations"}
_TOKENS: Final = frozenset({"chat", "completion", "embedding"})
"""Tasks whose bodies are JSON with the parameters of a model of language."""
_WANTED: Final[dict[Task, tuple[str, ...]]] = {
    "image_generation": ("event-stream", "json"),
    "transcription": ("event-stream", "json", "text/plain", "text/vtt", "subrip"),
    "speech": ("audio/", "octet-stream", "event-stream"),
}
"""Media types of answers, by task; whatever else comes is a failure."""
_NOT_ASKED: Final = "the upstream's answer is not what was asked for"
_DONE_FRAME: Final = event_of(DONE)
_encode: Final = msgspec.json.Encoder().encode


class Asked(msgspec.Struct, frozen=True, gc=False):
    """What to post: the path behind that of the API, the body, and headers beside the usual ones."""

    path: str
    body: bytes
    headers: dict[str, str]


class OpenAIWire:
    """Writes the calls to one server, and reads what it answers."""

    def __init__(
        self,
        *,
        limit_field: LimitField,
        max_response_bytes: int,
        stream_usage: bool = True,
        read_error: ReadError = decode_error,
    ) -> None:
        self._limit_field: LimitField = limit_field
        self._max_response_bytes = max_response_bytes
        self._stream_usage = stream_usage
        self._read_error = read_error

    def ask(self, call: Call) -> Asked:
        """A call as the server takes it; Unsupported for a task that the API has no path for."""
        request = call.request
        path = PATHS.get(request.task) if request.variant is None else _VARIANTS[request.variant]
        if path is None:
            raise Unsupported(f"this provider does not do {request.task}")
        headers = dict(call.headers)
        if call.chat is not None or request.task in _TOKENS:
            return Asked(path, self._body(call), headers)
        if not is_form(request.body):
            changes = {"model": msgspec.Raw(_encode(call.model))}
            return Asked(path, with_fields(request.body, changes), headers)
        form = read_form(request.body)
        headers["content-type"] = form.content_type
        return Asked(path, form.with_text("model", call.model), headers)

    async def read(self, answer: Answer, call: Call) -> Reply:
        """The whole answer, its body as the upstream wrote it where the caller speaks its dialect."""
        limit, brought = self._max_response_bytes, call.key is not None
        if call.request.task == "transcription":
            kinds = _WANTED["transcription"]
            content, kind = await read_typed(answer, self._read_error, limit, brought=brought, wanted=kinds)
            return Reply(_read_transcript(call.request, content, kind), content, media_type=kind.encode("latin-1"))
        return reply_of(call, await read_whole(answer, self._read_error, limit, brought=brought))

    def stream(self, answer: Answer, call: Call) -> AsyncGenerator[list[StreamEvent]]:
        """The events as they come; UpstreamFailed when the stream ends without its finish."""
        kinds = _WANTED.get(call.request.task)
        if kinds is not None:
            media = MediaStream(answer, call.request, self._max_response_bytes)
            return read_stream(answer, call, media, self._read_error, wanted=kinds)
        return read_stream(answer, call, reader_of(call), self._read_error)

    async def models(self, answer: Answer) -> list[str]:
        """The names in a list of models."""
        body = await read_whole(answer, self._read_error, self._max_response_bytes)
        try:
            return decode_model_names(body)
        except (ValueError, RecursionError) as error:
            raise UpstreamFailed("the upstream's list of models is none") from error

    def _body(self, call: Call) -> bytes:
        request = call.request
        if call.chat is not None:
            return requests.write_chat(
                call.chat, model=call.model, stream=request.stream, limit_field=self._limit_field
            )
        usage = request.stream and not request.wants_usage and self._stream_usage
        limit = None if call.output_limit is None else (self._limit_field, call.output_limit)
        return facts.rewrite(request.body, model=call.model, include_usage=usage, limit=limit)


def reply_of(call: Call, body: bytes) -> Reply:
    """What a whole answer in JSON says; UpstreamFailed when it is none."""
    if call.chat is None:
        return _read_reply(call.request, body)
    result = replies.read_reply(body)
    return Reply(usage=result.usage, result=result, finish=result.choices[0].finish)


def reader_of(call: Call) -> StreamReader:
    """What reads a streamed answer of text."""
    return PassingStream() if call.chat is None else CanonicalStream(ChunkReader())


def _read_reply(request: InferenceRequest, body: bytes) -> Reply:
    try:
        if request.task == "embedding":
            return Reply(usage=openai_embeddings.read_usage(body), body=body)
        if request.task == "image_generation":
            return Reply(usage=openai_images.read_reply(body), body=body)
        if request.task == "moderation":
            openai_moderations.check_reply(body)
            return Reply(usage=None, body=body)
        found = facts.read_reply(body)
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed(_NOT_ASKED) from error
    if found.error:
        raise UpstreamFailed(decode_error(body).message or "the upstream's answer holds no choices")
    return Reply(usage=found.usage, body=body, finish=found.finish)


def _read_transcript(request: InferenceRequest, body: bytes, kind: str) -> Usage:
    try:
        return openai_audio.read_transcript(body, request.units, json="json" in kind)
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed(_NOT_ASKED) from error


class PassingStream(PassedEvents):
    """Turns arriving bytes into events and knows how far the stream has come."""

    def __init__(self) -> None:
        super().__init__()
        self._finished = False
        self._envelope = 0

    def finish(self) -> list[StreamEvent]:
        """The end of a stream whose connection closed: fine after a finish, even where `[DONE]` was forgotten."""
        if not self._finished or self._splitter.rest.strip():
            raise UpstreamFailed("the upstream's stream broke off before its end")
        self.ended = True
        return [StreamEvent(_DONE_FRAME, end=True)]

    def _read(self, frame: bytes) -> StreamEvent:
        data = data_of(frame)
        if data is None:
            return StreamEvent(frame)
        if data.startswith(DONE):
            return self._end()
        try:
            found = facts.read_later_chunk(data, self._envelope) if self.has_content else facts.read_chunk(data)
        except (ValueError, RecursionError) as error:
            raise UpstreamFailed("the upstream sent a malformed chunk") from error
        if found.error is not None:
            raise UpstreamFailed(decode_error(found.error).message or "the upstream broke off with an error")
        self._finished = self._finished or found.finish is not None
        if found.content and not self.has_content:
            self.has_content = True
            self._envelope = len(data) - found.size
        return StreamEvent(
            frame, found.content, found.usage, usage_only=not found.choices, finish=found.finish, size=found.size
        )

    def _end(self) -> StreamEvent:
        if not self._finished:
            raise UpstreamFailed("the upstream ended its stream without a finish")
        self.ended = True
        return StreamEvent(_DONE_FRAME, end=True)
