"""Streams of images and audio in OpenAI's dialect: events that end without `[DONE]`, bytes of sound, or no stream."""

from typing import Final

import msgspec

from polyforge.dialects import openai_audio, openai_images
from polyforge.dialects.openai_errors import decode_error
from polyforge.dialects.openai_media_usage import WireUsage, read_usage
from polyforge.dialects.raw import ABSENT, is_given
from polyforge.egress.http import Answer
from polyforge.kernel.errors import PolyforgeError, UpstreamFailed
from polyforge.kernel.sse import DONE, EventSplitter, data_of
from polyforge.kernel.tasks import InferenceRequest
from polyforge.kernel.usage import NO_USAGE, Usage
from polyforge.ports.provider import StreamEvent

_LAST: Final = (".done", ".completed")
"""How the types of events end that complete a text, a sound or an image."""
_EVENTS: Final = b"text/event-stream; charset=utf-8"
_MALFORMED: Final = "the upstream sent a malformed event"


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    usage: WireUsage | None = None
    error: msgspec.Raw = ABSENT


_event: Final = msgspec.json.Decoder(_Event)


class MediaStream:
    """Hands on what comes as it comes: events, sound, or the whole answer of a model that does not stream.

    What it is shows in the head of the answer, which is there before the first bytes are.
    """

    def __init__(self, answer: Answer, request: InferenceRequest, limit: int) -> None:
        self._answer = answer
        self._request = request
        self._limit = limit
        self._events = _Events(request)
        self._whole = bytearray()
        self._kind: str | None = None
        self.has_content = False
        self.ended = False
        self.failure: PolyforgeError | None = None

    def feed(self, chunk: bytes) -> list[StreamEvent]:
        """What these bytes complete; UpstreamFailed for an event that is malformed or an error."""
        kind = self._kind_of_answer()
        if "event-stream" in kind:
            found = self._events.feed(chunk)
            self.has_content = self.has_content or any(event.content for event in found)
            self.ended = self._events.ended
            return found
        if self._request.task == "speech":
            return [self._sound(chunk, kind)]
        self._whole += chunk
        if len(self._whole) > self._limit:
            raise UpstreamFailed(f"the upstream's answer is larger than {self._limit} bytes")
        return []

    def finish(self) -> list[StreamEvent]:
        """The end of the answer; UpstreamFailed when it came too early."""
        kind = self._kind_of_answer()
        self.ended = True
        if "event-stream" in kind:
            return self._events.finish()
        end = StreamEvent(b"", end=True, media_type=kind.encode("latin-1"))
        if self._request.task == "speech":
            if not self.has_content:
                raise UpstreamFailed("the upstream sent no sound")
            return [end]
        self.has_content = True
        return [self._read_whole(kind), end]

    def _kind_of_answer(self) -> str:
        if self._kind is None:
            self._kind = self._answer.header("content-type") or "application/octet-stream"
        return self._kind

    def _sound(self, chunk: bytes, kind: str) -> StreamEvent:
        """A piece of sound. The first one carries what the text comes to, which is known from the start."""
        usage = None if self.has_content else _estimate(self._request)
        self.has_content = True
        return StreamEvent(chunk, content=True, usage=usage, size=1, media_type=kind.encode("latin-1"))

    def _read_whole(self, kind: str) -> StreamEvent:
        body = bytes(self._whole)
        try:
            if self._request.task == "image_generation":
                usage = openai_images.read_reply(body)
            else:
                usage = openai_audio.read_transcript(body, self._request.units, json="json" in kind)
        except (ValueError, RecursionError) as error:
            raise UpstreamFailed("the upstream's answer is not what was asked for") from error
        return StreamEvent(body, content=True, usage=usage, size=1, media_type=kind.encode("latin-1"))


class _Events:
    """Server-sent events, each with its type; complete once something in it was."""

    def __init__(self, request: InferenceRequest) -> None:
        self._request = request
        self._splitter = EventSplitter()
        self._completed = 0
        self._begun = False
        self._told: Usage | None = None
        self.ended = False

    def feed(self, chunk: bytes) -> list[StreamEvent]:
        """The events that these bytes complete."""
        try:
            frames = self._splitter.feed(chunk)
        except ValueError as error:
            raise UpstreamFailed(f"the upstream's stream is broken: {error}") from error
        events: list[StreamEvent] = []
        for frame in frames:
            events += self._read(frame)
            if self.ended:
                break
        return events

    def finish(self, frame: bytes = b"") -> list[StreamEvent]:
        """The end, said by `frame` or by the connection: fine once something was completed."""
        if not self._completed or self._splitter.rest.strip():
            raise UpstreamFailed("the upstream's stream broke off before its end")
        self.ended = True
        usage = _used(self._request, self._told, self._completed)
        return [StreamEvent(frame, usage=usage, end=True, media_type=_EVENTS)]

    def _read(self, frame: bytes) -> list[StreamEvent]:
        data = data_of(frame)
        if data is None:
            return [StreamEvent(frame)]
        if data.startswith(DONE):
            return self.finish(frame)
        try:
            found = _event.decode(data)
        except (ValueError, RecursionError) as error:
            raise UpstreamFailed(_MALFORMED) from error
        if is_given(found.error) or found.type == "error":
            raise UpstreamFailed(decode_error(data).message or "the upstream broke off with an error")
        if found.type.endswith(_LAST):
            self._completed += 1
            self._told = _sum(self._told, read_usage(found.usage))
        usage = None if self._begun else _estimate(self._request)
        self._begun = True
        return [StreamEvent(frame, content=True, usage=usage, size=1)]


def _estimate(request: InferenceRequest) -> Usage:
    """What a stream comes to that breaks off before it says it."""
    if request.task == "speech":
        return openai_audio.estimate_speech(request.units)
    if request.task == "transcription":
        return openai_audio.estimate_heard(request.units)
    return msgspec.structs.replace(request.units, exact=False)


def _used(request: InferenceRequest, told: Usage | None, completed: int) -> Usage:
    """Usage of a whole stream, with what is not counted in tokens."""
    if request.task == "image_generation":
        return msgspec.structs.replace(told or NO_USAGE, images=completed)
    if request.task == "speech" and told is not None:
        return msgspec.structs.replace(told, audio_output=told.output, characters=request.units.characters)
    return told or _estimate(request)


def _sum(one: Usage | None, other: Usage | None) -> Usage | None:
    if one is None or other is None:
        return one or other
    fields = ("input", "cache_read", "output", "audio_input", "audio_output", "image_input", "milliseconds")
    return msgspec.structs.replace(one, **{name: getattr(one, name) + getattr(other, name) for name in fields})
