"""A streamed answer as a whole one, and a whole answer as a stream of few pieces."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from polyforge.kernel.chat import (
    Block,
    ChatResult,
    Choice,
    Delta,
    Finish,
    Finished,
    Reasoning,
    ReasoningDelta,
    ReasoningEnd,
    Refusal,
    RefusalDelta,
    Started,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
    Used,
)
from polyforge.kernel.usage import Usage

_logprobs: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items: Final = msgspec.json.Decoder(list[msgspec.Raw])
_encode: Final = msgspec.json.Encoder().encode


class _Open(msgspec.Struct):
    """One choice on its way: its blocks, pieces of text not yet joined."""

    content: list[Block] = []
    pieces: list[str] = []
    kind: type[Text] | type[Reasoning] | type[Refusal] | None = None
    calls: list[tuple[ToolCallStart, list[str]]] = []
    logprobs: list[msgspec.Raw] = []
    finish: Finish | None = None
    stop_sequence: str | None = None

    def say(self, kind: type[Text] | type[Reasoning] | type[Refusal], text: str) -> None:
        if kind is not self.kind:
            self.close()
            self.kind = kind
        self.pieces.append(text)

    def close(self) -> None:
        if self.kind is not None:
            self.content.append(self.kind("".join(self.pieces)))
        self.kind, self.pieces = None, []

    def end_thought(self, end: ReasoningEnd) -> None:
        text = "".join(self.pieces) if self.kind is Reasoning else ""
        if self.kind is Reasoning:
            self.kind, self.pieces = None, []
        self.close()
        self.content.append(Reasoning(text, end.signature, end.encrypted, end.id))

    def whole(self, index: int, finish: Finish) -> Choice:
        self.close()
        calls = [ToolCall(start.id, start.name, "".join(more), start.signature) for start, more in self.calls]
        return Choice(
            content=[*self.content, *calls],
            finish=finish,
            index=index,
            stop_sequence=self.stop_sequence,
            logprobs=_joined(self.logprobs),
        )


def fold(deltas: Iterable[Delta]) -> ChatResult | None:
    """The whole answer that a stream gave; None when a choice of it has no end, or there is none.

    Calls of tools come after what was said.
    """
    choices: dict[int, _Open] = {}
    started, usage = Started(), None
    for delta in deltas:
        if isinstance(delta, Started):
            started = delta
        elif isinstance(delta, Used):
            usage = delta.usage
        else:
            _add(choices.setdefault(delta.choice, _Open()), delta)
    whole = [opened.whole(index, opened.finish) for index, opened in sorted(choices.items()) if opened.finish]
    if not whole or len(whole) < len(choices):
        return None
    return ChatResult(choices=whole, usage=usage, model=started.model, id=started.id)


def _add(choice: _Open, delta: Any) -> None:
    if isinstance(delta, TextDelta):
        choice.say(Text, delta.text)
        if delta.logprobs is not None:
            choice.logprobs.append(delta.logprobs)
    elif isinstance(delta, ReasoningDelta):
        choice.say(Reasoning, delta.text)
    elif isinstance(delta, ReasoningEnd):
        choice.end_thought(delta)
    elif isinstance(delta, RefusalDelta):
        choice.say(Refusal, delta.text)
    elif isinstance(delta, ToolCallStart):
        choice.calls.append((delta, []))
    elif isinstance(delta, ToolCallDelta):
        choice.calls[delta.index][1].append(delta.arguments)
    elif isinstance(delta, Finished):
        choice.finish, choice.stop_sequence = delta.finish, delta.stop_sequence


def _joined(parts: list[msgspec.Raw]) -> msgspec.Raw | None:
    """Lists of the same names, one after the other: `{"content": [...]}`."""
    if len(parts) <= 1:
        return parts[0] if parts else None
    lists: dict[str, list[msgspec.Raw]] = {}
    for part in parts:
        for name, value in _logprobs.decode(part).items():
            if bytes(value) != b"null":
                lists.setdefault(name, []).extend(_items.decode(value))
    return msgspec.Raw(_encode(lists))


def unfold(result: ChatResult, usage: Usage | None = None) -> list[Delta]:
    """The pieces of a whole answer, one for each block of it; `usage` instead of the answer's own."""
    deltas: list[Delta] = [Started(result.model, result.id)]
    for choice in result.choices:
        calls = 0
        logprobs = choice.logprobs
        for block in choice.content:
            deltas += _pieces(block, choice.index, calls, logprobs)
            calls += isinstance(block, ToolCall)
            logprobs = None if isinstance(block, Text) else logprobs
    used = usage or result.usage
    if used is not None:
        deltas.append(Used(used))
    return [*deltas, *(Finished(choice.finish, choice.stop_sequence, choice.index) for choice in result.choices)]


def _pieces(block: Block, choice: int, calls: int, logprobs: msgspec.Raw | None) -> list[Delta]:
    if isinstance(block, Text):
        return [TextDelta(block.text, choice, logprobs)]
    if isinstance(block, Reasoning):
        text: list[Delta] = [ReasoningDelta(block.text, choice)] if block.text else []
        return [*text, ReasoningEnd(block.signature, block.encrypted, block.id, choice)]
    if isinstance(block, Refusal):
        return [RefusalDelta(block.text, choice)]
    if isinstance(block, ToolCall):
        start = ToolCallStart(calls, block.id, block.name, block.signature, choice)
        return [start, ToolCallDelta(calls, block.arguments, choice)] if block.arguments else [start]
    return []
