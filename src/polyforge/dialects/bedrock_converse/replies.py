"""A whole answer of Converse read into the canonical form."""

from typing import Final

import msgspec

from polyforge.dialects.raw import ABSENT, answered_text
from polyforge.kernel.chat import Block, ChatResult, Choice, Finish, Reasoning, Text, ToolCall
from polyforge.kernel.errors import UpstreamFailed
from polyforge.kernel.usage import Usage, told

_FINISHES: Final[dict[str, Finish]] = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
    "refusal": "refusal",
    "pause_turn": "pause",
}
"""A name that is not here is a new one, and ends the answer all the same."""


class _ReasoningText(msgspec.Struct, gc=False):
    text: str = ""
    signature: str | None = None


class _Reasoning(msgspec.Struct, rename="camel"):
    reasoning_text: _ReasoningText | None = None
    redacted_content: str | None = None


class _ToolUse(msgspec.Struct, rename="camel"):
    tool_use_id: str
    name: str
    input: msgspec.Raw = ABSENT


class _Generated(msgspec.Struct):
    text: str = ""


class _Cited(msgspec.Struct):
    content: list[_Generated] = []


class _Block(msgspec.Struct, rename="camel"):
    text: str | None = None
    tool_use: _ToolUse | None = None
    reasoning_content: _Reasoning | None = None
    citations_content: _Cited | None = None


class _Message(msgspec.Struct):
    content: list[_Block]


class _Output(msgspec.Struct):
    message: _Message


class WireUsage(msgspec.Struct, rename="camel", gc=False):
    """As it stands in an answer; `input_tokens` are the uncached ones."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None


class _Reply(msgspec.Struct, rename="camel"):
    output: _Output
    stop_reason: str
    usage: WireUsage | None = None


_reply: Final = msgspec.json.Decoder(_Reply)


def read_reply(body: bytes) -> ChatResult:
    """The canonical form of an answer; UpstreamFailed when it is none."""
    try:
        wire = _reply.decode(body)
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed("the upstream's answer is not what was asked for") from error
    content = [block for found in wire.output.message.content for block in _read_block(found)]
    called = any(isinstance(block, ToolCall) for block in content)
    choice = Choice(content=content, finish=finish_of(wire.stop_reason, called=called))
    return ChatResult(choices=[choice], usage=read_usage(wire.usage))


def finish_of(reason: str, *, called: bool) -> Finish:
    """The canonical end; UpstreamFailed for an answer that the model got wrong."""
    if reason.startswith("malformed_"):
        raise UpstreamFailed(f"the model's answer was no good: {reason[:100]}")
    finish = _FINISHES.get(reason, "stop")
    return "tool_calls" if called and finish == "stop" else finish


def read_usage(wire: WireUsage | None) -> Usage | None:
    """The canonical usage; None for one that says nothing, or nonsense."""
    if wire is None:
        return None
    read, written = wire.cache_read_input_tokens or 0, wire.cache_write_input_tokens or 0
    return told(Usage(input=wire.input_tokens, cache_read=read, cache_write=written, output=wire.output_tokens))


def _read_block(wire: _Block) -> list[Block]:
    """One at most; none for a kind of block that is new."""
    if wire.text is not None:
        return [Text(wire.text)] if wire.text else []
    if (call := wire.tool_use) is not None:
        arguments = answered_text(call.input) or "{}"
        return [ToolCall(call.tool_use_id, call.name, arguments)]
    if wire.reasoning_content is not None:
        return _read_thought(wire.reasoning_content)
    if wire.citations_content is not None:
        return [Text("".join([piece.text for piece in wire.citations_content.content]))]
    return []


def _read_thought(wire: _Reasoning) -> list[Block]:
    if wire.redacted_content is not None:
        return [Reasoning(encrypted=wire.redacted_content)]
    if wire.reasoning_text is None:
        return []
    return [Reasoning(wire.reasoning_text.text, wire.reasoning_text.signature)]
