"""A streamed message: its events read into canonical deltas, and written from them."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from polyforge.dialects.anthropic_errors import broken_off
from polyforge.dialects.anthropic_messages.replies import (
    FINISHES,
    STOP_REASONS,
    StopDetails,
    WireBlock,
    envelope,
    explanation_of,
    named_call,
    write_call,
)
from polyforge.dialects.anthropic_messages.usage import WireUsage, merged, read_usage, write_usage
from polyforge.dialects.arguments import arguments_object
from polyforge.dialects.raw import answered_text
from polyforge.dialects.writing import Answering
from polyforge.kernel.chat import (
    Delta,
    Finished,
    ReasoningDelta,
    ReasoningEnd,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    Used,
)
from polyforge.kernel.errors import UpstreamFailed
from polyforge.kernel.usage import NO_USAGE, Usage

_MOST_BLOCKS: Final = 4096


class _Delta(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | None = None


class _Message(msgspec.Struct, gc=False):
    id: str = ""
    model: str = ""
    usage: WireUsage | None = None


class _Event(msgspec.Struct, gc=False):
    type: str
    index: int = 0
    delta: _Delta | None = None
    content_block: WireBlock | None = None
    message: _Message | None = None
    usage: WireUsage | None = None


class _Open(msgspec.Struct):
    """A block that has begun: its type, the number of its call, and the signature that came."""

    type: str
    call: int = 0
    signature: str | None = None


_event: Final = msgspec.json.Decoder(_Event)
_encode: Final = msgspec.json.Encoder().encode


class EventReader:
    """Reads the data of one event after the other; events and blocks that are not known say nothing."""

    def __init__(self) -> None:
        self._blocks: dict[int, _Open] = {}
        self._calls = 0
        self._usage: WireUsage | None = None
        self._end: _Delta | None = None
        self._said = False
        self.ended = False

    def read(self, data: bytes) -> list[Delta]:
        """What one event says; UpstreamFailed when it is malformed, an error, or an end without a stop reason."""
        try:
            event = _event.decode(data)
        except (ValueError, RecursionError) as error:
            raise UpstreamFailed("the upstream sent a malformed event") from error
        if event.type == "content_block_delta" and event.delta is not None:
            return self._read_delta(event.index, event.delta)
        if event.type == "content_block_start" and event.content_block is not None:
            return self._begin(event.index, event.content_block)
        if event.type == "content_block_stop":
            return self._stop(event.index)
        if event.type == "message_start" and event.message is not None:
            self._note(event.message.usage)
            return [Started(event.message.model, event.message.id)]
        if event.type == "message_delta":
            self._note(event.usage)
            if event.delta is not None and event.delta.stop_reason is not None:
                self._end = event.delta
        elif event.type == "message_stop":
            return self._finish()
        elif event.type == "error":
            raise broken_off(data)
        return []

    def finish(self) -> list[Delta]:
        """The connection has closed: too early, since a stream ends with an event of its own."""
        raise UpstreamFailed("the upstream's stream broke off before its end")

    def _note(self, usage: WireUsage | None) -> None:
        if usage is not None:
            self._usage = merged(self._usage, usage)

    def _begin(self, index: int, block: WireBlock) -> list[Delta]:
        if len(self._blocks) >= _MOST_BLOCKS:
            raise UpstreamFailed("the upstream's answer has too many blocks")
        opened = self._blocks[index] = _Open(block.type)
        if block.type == "redacted_thinking":
            return [ReasoningEnd(encrypted=block.data)]
        if block.type == "tool_use":
            opened.call, self._calls = self._calls, self._calls + 1
            begun: list[Delta] = [ToolCallStart(opened.call, *named_call(block))]
            arguments = answered_text(block.input)
            return begun if arguments in ("", "{}") else [*begun, ToolCallDelta(opened.call, arguments)]
        begun = self._read_delta(index, _Delta(text=block.text, thinking=block.thinking))
        opened.signature = block.signature or None
        return begun

    def _read_delta(self, index: int, delta: _Delta) -> list[Delta]:
        if delta.text:
            self._said = True
            return [TextDelta(delta.text)]
        if delta.thinking:
            return [ReasoningDelta(delta.thinking)]
        opened = self._blocks.get(index)
        if opened is None:
            raise UpstreamFailed("the upstream went on with a block that it had not begun")
        if delta.signature:
            opened.signature = (opened.signature or "") + delta.signature
        elif delta.partial_json and opened.type == "tool_use":
            return [ToolCallDelta(opened.call, delta.partial_json)]
        return []

    def _stop(self, index: int) -> list[Delta]:
        opened = self._blocks.get(index)
        if opened is None or opened.type != "thinking":
            return []
        return [ReasoningEnd(opened.signature)]

    def _finish(self) -> list[Delta]:
        end = self._end
        if end is None or end.stop_reason is None:
            raise UpstreamFailed("the upstream ended its stream without a stop reason")
        self.ended = True
        deltas: list[Delta] = []
        finish = FINISHES.get(end.stop_reason, "stop")
        if finish == "refusal" and not self._said and (told := explanation_of(end.stop_details)):
            deltas.append(RefusalDelta(told))
        if (usage := read_usage(self._usage)) is not None:
            deltas.append(Used(usage))
        return [*deltas, Finished(finish, end.stop_sequence)]


class _Call(msgspec.Struct):
    """A call on its way out. `held`: its arguments so far, where they may turn out to be no JSON object."""

    block: int
    held: str | None = ""


class EventWriter:
    """Writes deltas as the events of one message, one block after the other. Other choices than the first are left out.

    Arguments that do not begin as a JSON object are held back until the call is complete, and written as one.
    """

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._begun = False
        self._index = -1
        self._open: str | None = None
        """The type of the block that is open."""
        self._calls: dict[int, _Call] = {}
        self._finished: Finished | None = None

    def write(self, deltas: Iterable[Delta]) -> bytes:
        """The events to send for them."""
        begin = b"" if self._begun else self._begin()
        return begin + b"".join([self._write(delta) for delta in deltas])

    def end(self, usage: Usage | None) -> bytes:
        """What comes after the last delta: the stop reason with the usage, and the end."""
        begin = b"" if self._begun else self._begin()
        finished = self._finished or Finished("stop")
        delta = {"stop_reason": STOP_REASONS[finished.finish], "stop_sequence": finished.stop_sequence}
        told = {"type": "message_delta", "delta": delta, "usage": write_usage(usage or NO_USAGE)}
        stop = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
        return begin + self._close() + b"event: message_delta\ndata: " + _encode(told) + b"\n\n" + stop

    def _begin(self) -> bytes:
        self._begun = True
        nothing: dict[str, Any] = {
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": write_usage(NO_USAGE),
        }
        message = _encode({"type": "message_start", "message": {**envelope(self._answering), **nothing}})
        return b"event: message_start\ndata: " + message + b"\n\n"

    def _write(self, delta: Delta) -> bytes:
        if isinstance(delta, TextDelta | RefusalDelta):
            if delta.choice or not delta.text:
                return b""
            begin = b"" if self._open == "text" else self._open_block("text", {"type": "text", "text": ""})
            return begin + self._piece(self._index, b'"text_delta","text":' + _encode(delta.text))
        if isinstance(delta, ToolCallDelta):
            return self._write_arguments(delta)
        if isinstance(delta, ReasoningDelta):
            if delta.choice or not delta.text:
                return b""
            return self._open_thought() + self._piece(
                self._index, b'"thinking_delta","thinking":' + _encode(delta.text)
            )
        if isinstance(delta, ReasoningEnd):
            return self._end_thought(delta)
        if isinstance(delta, ToolCallStart):
            return self._start_call(delta)
        if isinstance(delta, Finished) and not delta.choice:
            self._finished = delta
        return b""

    def _piece(self, index: int, delta: bytes) -> bytes:
        return (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":%b}}\n\n'
            % (index, delta)
        )

    def _open_block(self, kind: str, block: dict[str, Any]) -> bytes:
        closed = self._close()
        self._index += 1
        self._open = kind
        start = _encode({"type": "content_block_start", "index": self._index, "content_block": block})
        return closed + b"event: content_block_start\ndata: " + start + b"\n\n"

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        held = self._release() if self._open == "tool_use" else b""
        self._open = None
        stop = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n' % self._index
        return held + stop

    def _open_thought(self) -> bytes:
        if self._open == "thinking":
            return b""
        return self._open_block("thinking", {"type": "thinking", "thinking": "", "signature": ""})

    def _end_thought(self, end: ReasoningEnd) -> bytes:
        if end.choice:
            return b""
        written = b""
        if end.signature is not None:
            written = self._open_thought()
            written += self._piece(self._index, b'"signature_delta","signature":' + _encode(end.signature))
        if self._open == "thinking":
            written += self._close()
        if end.encrypted is not None:
            written += self._open_block("redacted_thinking", {"type": "redacted_thinking", "data": end.encrypted})
            written += self._close()
        return written

    def _start_call(self, start: ToolCallStart) -> bytes:
        if start.choice:
            return b""
        call: dict[str, Any] = {**write_call(start.id, start.name, start.signature), "input": {}}
        written = self._open_block("tool_use", call)
        self._calls[start.index] = _Call(self._index)
        return written

    def _write_arguments(self, delta: ToolCallDelta) -> bytes:
        call = None if delta.choice else self._calls.get(delta.index)
        if call is None:
            return b""
        arguments = delta.arguments
        if call.held is not None:
            call.held += arguments
            if not call.held.lstrip().startswith("{"):
                return b""
            arguments, call.held = call.held, None
        return self._piece(call.block, b'"input_json_delta","partial_json":' + _encode(arguments))

    def _release(self) -> bytes:
        """What was held back of the call that ends."""
        call = next((call for call in self._calls.values() if call.block == self._index), None)
        if call is None or call.held is None:
            return b""
        held, call.held = call.held, None
        return self._piece(call.block, b'"input_json_delta","partial_json":' + _encode(_as_text(held)))


def _as_text(held: str) -> str:
    return bytes(arguments_object(held)).decode() if held.strip() else ""
