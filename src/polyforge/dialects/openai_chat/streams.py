"""A streamed chat answer: its chunks read into canonical deltas, and written from them."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from polyforge.dialects.openai_chat.replies import (
    FINISH_REASONS,
    WireFunction,
    finish_of,
    signature_of,
    write_thought,
)
from polyforge.dialects.openai_chat.usage import WireUsage, read_usage, write_usage
from polyforge.dialects.openai_errors import decode_error
from polyforge.dialects.raw import ABSENT, given
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
from polyforge.kernel.sse import DONE, event_of
from polyforge.kernel.usage import NO_USAGE, Usage

_MOST_CALLS: Final = 1024


class _ToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: WireFunction | None = None
    extra_content: msgspec.Raw = ABSENT


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    index: int = 0
    finish_reason: str | None = None
    logprobs: msgspec.Raw = ABSENT


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: WireUsage | None = None
    error: msgspec.Raw = ABSENT
    id: str | None = None
    model: str | None = None


_chunk: Final = msgspec.json.Decoder(_Chunk)
_encode: Final = msgspec.json.Encoder().encode


class ChunkReader:
    """Reads the data of one event after the other. Ends are held back to the last: some servers repeat them.

    Calls get indexes of their own, dense for each choice, because servers leave them out or begin anywhere.
    """

    def __init__(self) -> None:
        self._started = False
        self._calls: dict[int, dict[int, str]] = {}
        """For each choice the calls that were begun: the server's index and id, in the order of ours."""
        self._refused: set[int] = set()
        self._ends: dict[int, str] = {}
        self.ended = False

    def read(self, data: bytes) -> list[Delta]:
        """What one event says; UpstreamFailed when it is malformed, an error, or an end without a finish."""
        if data.startswith(DONE):
            return self.finish()
        try:
            wire = _chunk.decode(data)
        except (ValueError, RecursionError) as error:
            raise UpstreamFailed("the upstream sent a malformed chunk") from error
        if given(wire.error) is not None:
            raise UpstreamFailed(decode_error(data).message or "the upstream broke off with an error")
        deltas: list[Delta] = []
        if not self._started:
            self._started = True
            deltas.append(Started(wire.model or "", wire.id or ""))
        for choice in wire.choices or ():
            self._read_choice(choice, deltas)
        if (usage := read_usage(wire.usage)) is not None:
            deltas.append(Used(usage))
        return deltas

    def finish(self) -> list[Delta]:
        """The end of the stream; UpstreamFailed when no choice had its finish."""
        if not self._ends:
            raise UpstreamFailed("the upstream's stream broke off before its end")
        self.ended = True
        return [
            Finished(finish_of(reason, called=place in self._calls, refused=place in self._refused), choice=place)
            for place, reason in sorted(self._ends.items())
        ]

    def _read_choice(self, choice: _Choice, deltas: list[Delta]) -> None:
        place, delta = choice.index, choice.delta
        if delta is not None:
            if thought := delta.reasoning_content or delta.reasoning:
                deltas.append(ReasoningDelta(thought, place))
            if delta.content:
                deltas.append(TextDelta(delta.content, place, given(choice.logprobs)))
            if delta.refusal:
                self._refused.add(place)
                deltas.append(RefusalDelta(delta.refusal, place))
            for call in delta.tool_calls or ():
                self._read_call(call, place, deltas)
        if choice.finish_reason is not None:
            self._ends[place] = choice.finish_reason

    def _read_call(self, wire: _ToolCall, choice: int, deltas: list[Delta]) -> None:
        known = self._calls.setdefault(choice, {})
        key, begins = self._place_of(wire, known)
        if begins:
            if wire.function is None or not wire.function.name or len(known) >= _MOST_CALLS:
                raise UpstreamFailed("the upstream called a tool without naming it, or more than it may")
            known[key] = wire.id or f"call_{choice}_{len(known)}"
            signature = signature_of(given(wire.extra_content))
            deltas.append(ToolCallStart(len(known) - 1, known[key], wire.function.name, signature, choice))
        if wire.function is not None and wire.function.arguments:
            deltas.append(ToolCallDelta(list(known).index(key), wire.function.arguments, choice))

    def _place_of(self, wire: _ToolCall, known: dict[int, str]) -> tuple[int, bool]:
        """The server's index of a piece, and whether a call begins with it. Without an index, another id begins one."""
        if wire.index is not None:
            another = wire.index in known and bool(wire.id) and wire.id != known[wire.index] and _names(wire)
            return (max(known) + 1, True) if another else (wire.index, wire.index not in known)
        if not known:
            return 0, True
        last = next(reversed(known))
        return (last + 1, True) if wire.id and wire.id != known[last] else (last, False)


def _names(wire: _ToolCall) -> bool:
    return wire.function is not None and bool(wire.function.name)


class ChunkWriter:
    """Writes deltas as the chunks of one answer, all with the same id and time of creation."""

    def __init__(self, answering: Answering) -> None:
        head = {
            "id": f"chatcmpl-{answering.id}",
            "object": "chat.completion.chunk",
            "created": answering.created,
            "model": answering.model,
        }
        self._head = b"data: " + _encode(head)[:-1]
        self._tail = b',"usage":null}\n\n' if answering.wants_usage else b"}\n\n"
        self._wants_usage = answering.wants_usage
        self._begun: set[int] = set()
        self._thoughts: dict[int, str] = {}

    def write(self, deltas: Iterable[Delta]) -> bytes:
        """The events to send for them, ends and usage included where the caller asked for it."""
        return b"".join([self._write(delta) for delta in deltas])

    def end(self, usage: Usage | None) -> bytes:
        """What comes after the last delta."""
        if not self._wants_usage:
            return event_of(DONE)
        written = _encode(write_usage(usage or NO_USAGE))
        return self._head + b',"choices":[],"usage":' + written + b"}\n\n" + event_of(DONE)

    def _write(self, delta: Delta) -> bytes:
        if isinstance(delta, TextDelta):
            return self._piece(delta.choice, b'"content":' + _encode(delta.text), delta.logprobs)
        if isinstance(delta, Used):  # Before the others, because some providers tell it with every piece.
            return b""
        if isinstance(delta, ReasoningDelta):
            self._thoughts[delta.choice] = self._thoughts.get(delta.choice, "") + delta.text
            return self._piece(delta.choice, b'"reasoning_content":' + _encode(delta.text))
        if isinstance(delta, ReasoningEnd):
            return self._write_thought(delta)
        if isinstance(delta, RefusalDelta):
            return self._piece(delta.choice, b'"refusal":' + _encode(delta.text))
        if isinstance(delta, ToolCallStart):
            return self._piece(delta.choice, b'"tool_calls":' + _encode([_write_start(delta)]))
        if isinstance(delta, ToolCallDelta):
            more = {"index": delta.index, "function": {"arguments": delta.arguments}}
            return self._piece(delta.choice, b'"tool_calls":' + _encode([more]))
        if isinstance(delta, Finished):
            return self._finish(delta)
        return b""

    def _write_thought(self, end: ReasoningEnd) -> bytes:
        text = self._thoughts.pop(end.choice, "")
        if end.signature is None and end.encrypted is None:
            return b""
        written = _encode([write_thought(text, end.signature, end.encrypted)])
        return self._piece(end.choice, b'"thinking_blocks":' + written)

    def _piece(self, choice: int, fields: bytes, logprobs: msgspec.Raw | None = None) -> bytes:
        if choice not in self._begun:
            self._begun.add(choice)
            fields = b'"role":"assistant",' + fields
        shown = b"null" if logprobs is None else bytes(logprobs).replace(b"\n", b" ")
        return b'%b,"choices":[{"index":%d,"delta":{%b},"logprobs":%b,"finish_reason":null}]%b' % (
            self._head,
            choice,
            fields,
            shown,
            self._tail,
        )

    def _finish(self, delta: Finished) -> bytes:
        begin = b"" if delta.choice in self._begun else self._piece(delta.choice, b'"content":""')
        return begin + b'%b,"choices":[{"index":%d,"delta":{},"logprobs":null,"finish_reason":"%b"}]%b' % (
            self._head,
            delta.choice,
            FINISH_REASONS[delta.finish].encode(),
            self._tail,
        )


def _write_start(delta: ToolCallStart) -> dict[str, Any]:
    call: dict[str, Any] = {
        "index": delta.index,
        "id": delta.id,
        "type": "function",
        "function": {"name": delta.name, "arguments": ""},
    }
    if delta.signature is not None:
        call["extra_content"] = {"google": {"thought_signature": delta.signature}}
    return call
