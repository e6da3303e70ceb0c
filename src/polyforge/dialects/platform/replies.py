"""Answers of the platform's own paths, whole and as server-sent events."""

from collections.abc import Iterable
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from polyforge.dialects.platform.parts import Part, ToolCallPart, write_blocks, write_call
from polyforge.dialects.writing import Answering
from polyforge.kernel.chat import (
    ChatResult,
    Choice,
    Delta,
    Finish,
    Finished,
    ReasoningDelta,
    ReasoningEnd,
    RefusalDelta,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
    text_of,
)
from polyforge.kernel.money import Micros, to_usd
from polyforge.kernel.usage import NO_USAGE, Usage


class UsageReply(msgspec.Struct, omit_defaults=True):
    """Tokens of a call. `cached_input` is a part of `input`, `reasoning` one of `output`."""

    input: Annotated[int, Meta(description="Every token of the prompt.")]
    cached_input: Annotated[int, Meta(description="Tokens of it that were read from the provider's cache.")]
    output: Annotated[int, Meta(description="Every token that was generated.")]
    reasoning: Annotated[int, Meta(description="Tokens of them that are thoughts.")]
    exact: Annotated[bool, Meta(description="Whether the provider counted them; else they are our estimate.")]
    cost_usd: Annotated[float | None, Meta(description="What the call is charged for.")] = None


_Provider = Annotated[str | None, Meta(description="Who answered, for callers with `models:read`.")]
_Deployment = Annotated[str | None, Meta(description="What that provider calls the model.")]


class ChatReply(msgspec.Struct):
    """An answer. `content` is all of it in parts, `text` its prose, `tool_calls` the tools to call."""

    id: str
    model: str
    provider: _Provider
    deployment: _Deployment
    text: str
    content: list[Part]
    tool_calls: list[ToolCallPart]
    finish: Finish
    stop_sequence: str | None
    usage: UsageReply


class CompletionReply(msgspec.Struct):
    """The text that answers a prompt."""

    id: str
    model: str
    provider: _Provider
    deployment: _Deployment
    text: str
    finish: Finish
    stop_sequence: str | None
    usage: UsageReply


class _Started(msgspec.Struct, omit_defaults=True):
    id: str
    model: str
    provider: str | None = None
    deployment: str | None = None


class _Thought(msgspec.Struct, omit_defaults=True):
    text: str
    signature: str | None = None
    encrypted: str | None = None
    id: str | None = None


class _Finished(msgspec.Struct):
    finish: Finish
    stop_sequence: str | None


_encode: Final = msgspec.json.Encoder().encode


def write_chat(result: ChatResult, answering: Answering) -> bytes:
    """The answer to POST /api/v1/chat."""
    choice = result.choices[0]
    return _encode(
        ChatReply(
            answering.id,
            answering.model,
            answering.provider,
            answering.deployment,
            text_of(choice.content),
            write_blocks(choice.content),
            [write_call(block) for block in choice.content if isinstance(block, ToolCall)],
            choice.finish,
            choice.stop_sequence,
            write_usage(result, answering),
        )
    )


def write_completion(result: ChatResult, answering: Answering) -> bytes:
    """The answer to POST /api/v1/completion."""
    choice: Choice = result.choices[0]
    return _encode(
        CompletionReply(
            answering.id,
            answering.model,
            answering.provider,
            answering.deployment,
            text_of(choice.content),
            choice.finish,
            choice.stop_sequence,
            write_usage(result, answering),
        )
    )


def write_usage(result: ChatResult, answering: Answering) -> UsageReply:
    """What the call used altogether, and what it is charged for."""
    return _usage_reply(answering.used or result.usage or NO_USAGE, answering.price)


def _usage_reply(usage: Usage, price: Micros | None) -> UsageReply:
    cost = None if price is None else to_usd(price)
    return UsageReply(usage.input_total, usage.cache_read, usage.output, usage.reasoning, usage.exact, cost)


def late_error(body: bytes) -> bytes:
    """The event that ends a stream which has begun; `body` is the problem that a failed request would have got."""
    return _event(b"error", body)


def _event(name: bytes, data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name, data)


class EventWriter:
    """Writes deltas as named events: `start`, then `text`, `reasoning`, `refusal` and `tool_call`, `finish`, `usage`.

    A call comes whole, in one event, once the answer is complete and so are its arguments.
    """

    def __init__(self, answering: Answering) -> None:
        started = _Started(answering.id, answering.model, answering.provider, answering.deployment)
        self._start = _event(b"start", _encode(started))
        self._calls: dict[int, tuple[ToolCallStart, list[str]]] = {}
        self._used: Usage | None = None
        self._price: Micros | None = None

    def charge(self, used: Usage, price: Micros) -> None:
        """Remember what to say at the end."""
        self._used, self._price = used, price

    def write(self, deltas: Iterable[Delta]) -> bytes:
        """The events to send for them."""
        begin, self._start = self._start, b""
        return begin + b"".join([self._write(delta) for delta in deltas])

    def end(self, usage: Usage | None) -> bytes:
        """What comes after the last delta: what was used, and what it is charged for."""
        begin, used = self.write(()), self._used or usage
        return begin if used is None else begin + _event(b"usage", _encode(_usage_reply(used, self._price)))

    def _write(self, delta: Delta) -> bytes:
        if type(delta) is TextDelta:
            return b'event: text\ndata: {"text":%b}\n\n' % _encode(delta.text)
        if type(delta) is ReasoningDelta:
            return b'event: reasoning\ndata: {"text":%b}\n\n' % _encode(delta.text)
        if isinstance(delta, ToolCallDelta):
            self._calls[delta.index][1].append(delta.arguments)
            return b""
        return self._write_rare(delta)

    def _write_rare(self, delta: Delta) -> bytes:
        if isinstance(delta, ToolCallStart):
            self._calls[delta.index] = (delta, [])
            return b""
        if isinstance(delta, ReasoningEnd):
            if delta.signature is delta.encrypted is delta.id is None:
                return b""
            return _event(b"reasoning", _encode(_Thought("", delta.signature, delta.encrypted, delta.id)))
        if isinstance(delta, RefusalDelta):
            return _event(b"refusal", b'{"text":%b}' % _encode(delta.text))
        if isinstance(delta, Finished):
            calls = b"".join([_write_call(start, "".join(pieces)) for start, pieces in self._calls.values()])
            return calls + _event(b"finish", _encode(_Finished(delta.finish, delta.stop_sequence)))
        return b""


def _write_call(start: ToolCallStart, arguments: str) -> bytes:
    return _event(b"tool_call", _encode(write_call(ToolCall(start.id, start.name, arguments, start.signature))))
