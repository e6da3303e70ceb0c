"""A streamed answer of Converse: its events read into canonical deltas."""

from typing import Final

import msgspec

from polyforge.dialects.bedrock_converse.replies import WireUsage, finish_of, read_usage
from polyforge.kernel.chat import (
    Delta,
    Finished,
    ReasoningDelta,
    ReasoningEnd,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    Used,
)
from polyforge.kernel.errors import UpstreamFailed

_MOST_CALLS: Final = 1024


class _ToolUseStart(msgspec.Struct, rename="camel", gc=False):
    tool_use_id: str
    name: str


class _Start(msgspec.Struct, rename="camel", gc=False):
    tool_use: _ToolUseStart | None = None


class _BlockStart(msgspec.Struct, rename="camel", gc=False):
    content_block_index: int
    start: _Start


class _ToolUse(msgspec.Struct, gc=False):
    input: str = ""


class _Reasoning(msgspec.Struct, rename="camel", gc=False):
    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None


class _Piece(msgspec.Struct, rename="camel", gc=False):
    text: str | None = None
    tool_use: _ToolUse | None = None
    reasoning_content: _Reasoning | None = None


class _BlockDelta(msgspec.Struct, rename="camel", gc=False):
    content_block_index: int
    delta: _Piece


class _BlockStop(msgspec.Struct, rename="camel", gc=False):
    content_block_index: int


class _MessageStop(msgspec.Struct, rename="camel", gc=False):
    stop_reason: str


class _Metadata(msgspec.Struct, gc=False):
    usage: WireUsage | None = None


class _Event(msgspec.Struct, rename="camel", gc=False):
    message_start: msgspec.UnsetType | dict[str, object] = msgspec.UNSET
    content_block_start: _BlockStart | None = None
    content_block_delta: _BlockDelta | None = None
    content_block_stop: _BlockStop | None = None
    message_stop: _MessageStop | None = None
    metadata: _Metadata | None = None


_event: Final = msgspec.json.Decoder(_Event)


class EventReader:
    """Reads one event after the other, each as an object whose only field is named as the event.

    The usage comes after the end of the message, and is the end of the stream. Calls get dense indexes of their own.
    """

    def __init__(self) -> None:
        self._calls: dict[int, int] = {}
        """Our index of a call, by the index of its block."""
        self._thoughts: dict[int, str | None] = {}
        """Thoughts that are not over, by the index of their block, with as much of their signature as has come."""
        self._stopped = False
        self.ended = False

    def read(self, data: bytes) -> list[Delta]:
        """What one event says, nothing for an unknown one; UpstreamFailed when it is malformed."""
        try:
            wire = _event.decode(data)
        except (ValueError, RecursionError) as error:
            raise UpstreamFailed("the upstream sent a malformed event") from error
        if wire.content_block_delta is not None:
            return self._read_delta(wire.content_block_delta)
        if wire.content_block_start is not None:
            return self._read_start(wire.content_block_start)
        if wire.content_block_stop is not None:
            return self._end_thought(wire.content_block_stop.content_block_index)
        if wire.message_stop is not None:
            return self._read_stop(wire.message_stop.stop_reason)
        if wire.metadata is not None:
            return self._read_metadata(wire.metadata)
        return [Started()] if wire.message_start is not msgspec.UNSET else []

    def finish(self) -> list[Delta]:
        """The end of the connection, which may come without usage; UpstreamFailed before the end of the message."""
        if not self._stopped:
            raise UpstreamFailed("the upstream's stream broke off before its end")
        self.ended = True
        return []

    def _read_start(self, wire: _BlockStart) -> list[Delta]:
        call = wire.start.tool_use
        if call is None:
            return []
        if wire.content_block_index in self._calls or len(self._calls) >= _MOST_CALLS:
            raise UpstreamFailed("the upstream began a call twice, or calls more tools than it may")
        place = self._calls[wire.content_block_index] = len(self._calls)
        return [ToolCallStart(place, call.tool_use_id, call.name)]

    def _read_delta(self, wire: _BlockDelta) -> list[Delta]:
        piece = wire.delta
        if piece.text is not None:
            return [TextDelta(piece.text)] if piece.text else []
        if piece.tool_use is not None:
            return self._read_arguments(wire.content_block_index, piece.tool_use.input)
        if piece.reasoning_content is not None:
            return self._read_thought(wire.content_block_index, piece.reasoning_content)
        return []

    def _read_arguments(self, block: int, arguments: str) -> list[Delta]:
        place = self._calls.get(block)
        if place is None:
            raise UpstreamFailed("the upstream sent arguments of a call that it did not begin")
        return [ToolCallDelta(place, arguments)] if arguments else []

    def _read_thought(self, block: int, wire: _Reasoning) -> list[Delta]:
        if wire.redacted_content is not None:
            return [ReasoningEnd(encrypted=wire.redacted_content)]
        signature = self._thoughts.get(block)
        self._thoughts[block] = signature if wire.signature is None else (signature or "") + wire.signature
        return [ReasoningDelta(wire.text)] if wire.text else []

    def _end_thought(self, block: int) -> list[Delta]:
        return [ReasoningEnd(signature=self._thoughts.pop(block))] if block in self._thoughts else []

    def _read_stop(self, reason: str) -> list[Delta]:
        if self._stopped:
            raise UpstreamFailed("the upstream ended its answer twice")
        self._stopped = True
        thoughts = [delta for block in sorted(self._thoughts) for delta in self._end_thought(block)]
        return [*thoughts, Finished(finish_of(reason, called=bool(self._calls)))]

    def _read_metadata(self, wire: _Metadata) -> list[Delta]:
        self.ended = self._stopped
        usage = read_usage(wire.usage)
        return [] if usage is None else [Used(usage)]
