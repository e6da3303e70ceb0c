"""An answer that was given once, kept so that it can be given again: whole or as a stream, in any dialect of chats.

What came as bytes in the caller's dialect is kept as those bytes, what came in canonical form in that form. Ids and
times inside the bytes stay those of the answer that was recorded.
"""

from collections.abc import Callable, Iterable
from typing import Final, Literal

import msgspec

from polyforge.dialects.anthropic_messages import replies as anthropic_replies
from polyforge.dialects.anthropic_messages.streams import EventReader
from polyforge.dialects.openai_chat import replies as openai_replies
from polyforge.dialects.openai_chat.streams import ChunkReader
from polyforge.kernel.chat import ChatResult, Delta
from polyforge.kernel.errors import PolyforgeError
from polyforge.kernel.folding import fold, unfold
from polyforge.kernel.money import Micros
from polyforge.kernel.tasks import Dialect, EmbeddingResult, InferenceRequest, Task
from polyforge.kernel.usage import NO_USAGE, Usage
from polyforge.ports.provider import Reply, StreamEvent
from polyforge.upstreams.streams import CanonicalStream, DeltaReader, event_of_deltas

BODIES: Final[dict[Dialect, Callable[[bytes], ChatResult]]] = {
    "openai": openai_replies.read_reply,
    "anthropic": anthropic_replies.read_reply,
}
"""What reads whole answers of chats in the dialects that pass through."""
STREAMS: Final[dict[Dialect, Callable[[], DeltaReader]]] = {"openai": ChunkReader, "anthropic": EventReader}
"""What reads streamed ones."""


class Recorded(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """One answer."""

    kind: Literal["body", "frames", "chat", "vectors"]
    """What `content` is: an answer or its frames in `dialect`, a canonical chat as JSON, vectors of an embedding."""
    task: Task
    dialect: Dialect
    at: float
    """When it was given, in seconds since the epoch."""
    content: bytes
    usage: Usage | None = None
    cost: Micros = 0
    """What it cost when it was made, and what its caller was charged."""
    price: Micros = 0
    finish: str | None = None
    media_type: bytes = b""
    usage_frame: bytes = b""
    """The frame that goes before the last to callers who asked for usage."""
    last_frame: bytes = b""
    rows: int = 0
    dimensions: int = 0

    def priced(self, cost: Micros, price: Micros) -> "Recorded":
        """The same with what it cost and was charged for."""
        return msgspec.structs.replace(self, cost=cost, price=price)

    def reply(self, request: InferenceRequest) -> Reply | None:
        """The whole answer for a request; None where it cannot be had of what was recorded."""
        if self.kind == "body" and self.dialect == request.dialect:
            return Reply(self.usage, self.content, finish=self.finish, media_type=self.media_type)
        if self.kind == "vectors":
            usage = self.usage or NO_USAGE
            return Reply(usage, result=EmbeddingResult(self.content, self.rows, self.dimensions, usage))
        result = self._chat()
        return None if result is None else Reply(self.usage, result=result, finish=self.finish)

    def events(self, request: InferenceRequest) -> list[StreamEvent] | None:
        """The stream for a request; None where it cannot be had of what was recorded."""
        if self.kind == "frames" and self.dialect == request.dialect:
            return self._frames()
        result = self._chat()
        return None if result is None else [event_of_deltas(unfold(result, self.usage), end=True)]

    def _frames(self) -> list[StreamEvent]:
        content = StreamEvent(self.content, content=True, usage=self.usage, media_type=self.media_type)
        last = StreamEvent(self.last_frame, end=True, finish=self.finish, media_type=self.media_type)
        if not self.usage_frame:
            return [content, last]
        return [content, StreamEvent(self.usage_frame, usage=self.usage, usage_only=True), last]

    def _chat(self) -> ChatResult | None:
        """The canonical form, where its dialect can be read."""
        try:
            if self.kind == "chat":
                return _result.decode(self.content)
            if self.task != "chat":
                return None
            return self._read_body() if self.kind == "body" else self._read_frames()
        except (PolyforgeError, msgspec.DecodeError):
            return None

    def _read_body(self) -> ChatResult | None:
        read = BODIES.get(self.dialect)
        return None if read is None else read(self.content)

    def _read_frames(self) -> ChatResult | None:
        reader = STREAMS.get(self.dialect)
        if reader is None:
            return None
        stream = CanonicalStream(reader())
        events = stream.feed(self.content + self.usage_frame + self.last_frame)
        result = None if stream.failure is not None else fold(_deltas(events))
        if result is not None and result.usage is None:
            result.usage = self.usage
        return result


_result: Final = msgspec.json.Decoder(ChatResult)
_recorded: Final = msgspec.msgpack.Decoder(Recorded)
_encode_json: Final = msgspec.json.Encoder().encode
encode_recorded: Final = msgspec.msgpack.Encoder().encode


def decode_recorded(data: bytes) -> Recorded | None:
    """What was kept; None for what another version of Polyforge kept in another way."""
    try:
        return _recorded.decode(data)
    except msgspec.DecodeError:
        return None


def record_reply(
    request: InferenceRequest, reply: Reply, at: float, limit: int, cost: Micros = 0, price: Micros = 0
) -> Recorded | None:
    """A whole answer as it is kept, with what it cost and was charged for; None for one of more than `limit` bytes."""
    body, result = reply.body, reply.result
    if result is None and isinstance(body, bytes):
        if len(body) > limit:
            return None
        finish, media_type = reply.finish, reply.media_type
        return Recorded("body", request.task, request.dialect, at, body, reply.usage, cost, price, finish, media_type)
    rows = dimensions = 0
    kind: Literal["body", "chat", "vectors"] = "body"
    if isinstance(result, ChatResult):
        kind, content = "chat", _encode_json(result)
    elif isinstance(result, EmbeddingResult):
        kind, rows, dimensions = "vectors", result.rows, result.dimensions
        content = bytes(result.data) if memoryview(result.data).nbytes <= limit else None
    else:
        content = bytes(body or b"") if memoryview(body or b"").nbytes <= limit else None
    if content is None or len(content) > limit:
        return None
    return Recorded(
        kind,
        request.task,
        request.dialect,
        at,
        content,
        reply.usage,
        cost,
        price,
        finish=reply.finish,
        media_type=reply.media_type,
        rows=rows,
        dimensions=dimensions,
    )


class Recording:
    """A stream as it goes by, up to so many bytes; nothing is copied before its end."""

    def __init__(self, limit: int) -> None:
        self._batches: list[list[StreamEvent]] | None = []
        self._left = limit

    def add(self, batch: list[StreamEvent]) -> None:
        """More of it."""
        batches = self._batches
        if batches is None:
            return
        for event in batch:
            self._left -= len(event.frame) + event.size
        if self._left < 0:
            self._batches = None
            return
        batches.append(batch)

    def recorded(self, request: InferenceRequest, usage: Usage | None, at: float) -> Recorded | None:
        """All of it, once it is over; None for one that was too long, or whose pieces make no whole answer."""
        events = [event for batch in self._batches or () for event in batch]
        if not events or not events[-1].end:
            return None
        finish = next((event.finish for event in reversed(events) if event.finish is not None), None)
        if any(event.deltas for event in events):
            result = fold(_deltas(events))
            content = None if result is None else _encode_json(result)
            return (
                None
                if content is None
                else Recorded("chat", request.task, request.dialect, at, content, usage, finish=finish)
            )
        usage_frame = next((event.frame for event in reversed(events) if event.usage_only and event.usage), b"")
        content = b"".join([event.frame for event in events[:-1] if not event.usage_only])
        return Recorded(
            "frames",
            request.task,
            request.dialect,
            at,
            content,
            usage,
            finish=finish,
            media_type=events[0].media_type,
            usage_frame=usage_frame,
            last_frame=events[-1].frame,
        )


def _deltas(events: Iterable[StreamEvent]) -> list[Delta]:
    return [delta for event in events for delta in event.deltas]
