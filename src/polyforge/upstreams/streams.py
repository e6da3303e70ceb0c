"""A stream of an upstream's own dialect as canonical events."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, Protocol

from polyforge.kernel.chat import (
    Delta,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    Used,
)
from polyforge.kernel.errors import PolyforgeError, UpstreamFailed
from polyforge.kernel.sse import EventSplitter, EventTooLarge, data_of
from polyforge.kernel.usage import Usage
from polyforge.ports.provider import StreamEvent

_SPOKEN: Final = (TextDelta, ReasoningDelta, RefusalDelta)


class DeltaReader(Protocol):
    """Reads one dialect's events, one payload after the other."""

    ended: bool
    """Whether the stream has finished as it should."""

    def read(self, data: bytes) -> list[Delta]:
        """What one event says; UpstreamFailed when it is malformed or an error."""
        ...

    def finish(self) -> list[Delta]:
        """What follows from the end of the connection; UpstreamFailed when the stream broke off."""
        ...


class Payloads(Protocol):
    """Cuts arriving bytes into the payloads of whole events."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The payloads that `chunk` completes; ValueError when the stream is broken."""
        ...


class SsePayloads:
    """The `data:` of server-sent events."""

    def __init__(self) -> None:
        self._splitter = EventSplitter()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The payloads that `chunk` completes, comments left out."""
        return [data for frame in self._splitter.feed(chunk) if (data := data_of(frame)) is not None]


class PassedEvents(ABC):
    """Hands on server-sent events as they came; what is known of one is for the dialect to say in `_read`."""

    def __init__(self) -> None:
        self._splitter = EventSplitter()
        self.has_content = False
        self.ended = False
        self.failure: PolyforgeError | None = None

    def feed(self, chunk: bytes) -> list[StreamEvent]:
        """The events that these bytes complete; the `failure` is one after them that is malformed or an error."""
        try:
            frames = self._splitter.feed(chunk)
        except EventTooLarge as error:
            raise UpstreamFailed(f"the upstream's stream is broken: {error}") from error
        events: list[StreamEvent] = []
        for frame in frames:
            try:
                events.append(self._read(frame))
            except PolyforgeError as error:
                self.failure = error
                break
            if self.ended:
                break
        return events

    @abstractmethod
    def _read(self, frame: bytes) -> StreamEvent:
        """What an event says; UpstreamFailed when it is malformed or an error."""


class CanonicalStream:
    """Hands on what a dialect's reader finds, as events for the caller's dialect to write."""

    def __init__(self, reader: DeltaReader, payloads: Payloads | None = None) -> None:
        self._reader = reader
        self._payloads = payloads or SsePayloads()
        self.has_content = False
        self.ended = False
        self.failure: PolyforgeError | None = None

    def feed(self, chunk: bytes) -> list[StreamEvent]:
        """The events that these bytes complete, in one; what is wrong after them is the `failure`."""
        try:
            found = self._payloads.feed(chunk)
        except ValueError as error:
            raise UpstreamFailed(f"the upstream's stream is broken: {error}") from error
        deltas: list[Delta] = []
        for payload in found:
            try:
                deltas += self._reader.read(payload)
            except PolyforgeError as error:
                self.failure = error
                break
            if self._reader.ended:
                break
        return self._events(deltas)

    def finish(self) -> list[StreamEvent]:
        """The end of a stream whose connection closed."""
        return self._events(self._reader.finish())

    def _events(self, deltas: list[Delta]) -> list[StreamEvent]:
        self.ended = self._reader.ended
        if not deltas and not self.ended:
            return []
        event = event_of_deltas(deltas, end=self.ended)
        self.has_content = self.has_content or event.content
        return [event]


def event_of_deltas(deltas: Sequence[Delta], *, end: bool = False) -> StreamEvent:
    """One event that carries deltas, with what the gateway wants to know of them."""
    size = 0
    content = False
    usage: Usage | None = None
    finish: str | None = None
    for delta in deltas:
        if isinstance(delta, _SPOKEN):
            size += len(delta.text)
            content = True
        elif isinstance(delta, ToolCallDelta):
            size += len(delta.arguments)
            content = True
        elif isinstance(delta, ToolCallStart):
            size += len(delta.name)
            content = True
        elif isinstance(delta, Used):
            usage = delta.usage
        elif isinstance(delta, Finished):
            finish = delta.finish
    return StreamEvent(b"", content, usage, finish=finish, end=end, size=size, deltas=deltas)
