"""A whole message read into the canonical form, and written from it."""

from typing import Any, Final

import msgspec

from polyforge.dialects.anthropic_errors import decode_error
from polyforge.dialects.anthropic_messages.usage import WireUsage, read_usage, write_usage
from polyforge.dialects.arguments import arguments_object
from polyforge.dialects.raw import ABSENT, answered_text
from polyforge.dialects.writing import Answering
from polyforge.kernel.chat import Block, ChatResult, Choice, Finish, Reasoning, Refusal, Text, ToolCall
from polyforge.kernel.errors import UpstreamFailed
from polyforge.kernel.usage import NO_USAGE

FINISHES: Final[dict[str, Finish]] = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "refusal": "refusal",
}
"""What Anthropic calls the ends that there are; another name is a new one, and ends the answer all the same."""
STOP_REASONS: Final[dict[Finish, str]] = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
    "pause": "pause_turn",
}


class StopDetails(msgspec.Struct):
    """Why an answer was refused."""

    explanation: str | None = None


class WireBlock(msgspec.Struct):
    """A piece of an answer; the fields that belong to its type are set."""

    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = ABSENT


class _Reply(msgspec.Struct):
    content: list[WireBlock] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | None = None
    usage: WireUsage | None = None
    id: str | None = None
    model: str | None = None


_reply: Final = msgspec.json.Decoder(_Reply)
_encode: Final = msgspec.json.Encoder().encode


def read_reply(body: bytes) -> ChatResult:
    """The canonical form of an answer; UpstreamFailed when it is none."""
    try:
        wire = _reply.decode(body)
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed("the upstream's answer is not what was asked for") from error
    if wire.content is None:
        raise UpstreamFailed(decode_error(body).message or "the upstream's answer holds no content")
    content = [block for one in wire.content if (block := _read_block(one)) is not None]
    finish = FINISHES.get(wire.stop_reason or "end_turn", "stop")
    if finish == "refusal" and not content and (told := explanation_of(wire.stop_details)):
        content.append(Refusal(told))
    choice = Choice(content=content, finish=finish, stop_sequence=wire.stop_sequence)
    return ChatResult(choices=[choice], usage=read_usage(wire.usage), model=wire.model or "", id=wire.id or "")


def explanation_of(details: StopDetails | None) -> str:
    """The provider's words for a refusal, empty where it has none."""
    return "" if details is None else details.explanation or ""


def _read_block(wire: WireBlock) -> Block | None:
    """None for a block that says nothing, or is of a kind that nobody asked for."""
    if wire.type == "text":
        return Text(wire.text) if wire.text else None
    if wire.type == "thinking":
        return Reasoning(wire.thinking or "", wire.signature or None)
    if wire.type == "redacted_thinking":
        return Reasoning(encrypted=wire.data)
    if wire.type == "tool_use":
        id_, name = named_call(wire)
        return ToolCall(id_, name, answered_text(wire.input))
    return None


def named_call(wire: WireBlock) -> tuple[str, str]:
    """Id and name of a call; UpstreamFailed where one is missing."""
    if not wire.id or not wire.name:
        raise UpstreamFailed("the upstream called a tool without naming it")
    return wire.id, wire.name


def write_reply(result: ChatResult, answering: Answering) -> bytes:
    """A message."""
    choice = result.choices[0]
    return _encode(
        {
            **envelope(answering),
            "content": [_write_block(block) for block in choice.content if _is_said(block)],
            "stop_reason": STOP_REASONS[choice.finish],
            "stop_sequence": choice.stop_sequence,
            "usage": write_usage(result.usage or NO_USAGE),
        }
    )


def envelope(answering: Answering) -> dict[str, Any]:
    """What a message says of itself, whole or at the beginning of a stream."""
    return {"id": f"msg_{answering.id}", "type": "message", "role": "assistant", "model": answering.model}


def _is_said(block: Block) -> bool:
    return not isinstance(block, Text | Refusal) or bool(block.text)


def _write_block(block: Block) -> dict[str, Any]:
    if isinstance(block, Text | Refusal):
        return {"type": "text", "text": block.text}
    if isinstance(block, Reasoning):
        if block.encrypted is not None:
            return {"type": "redacted_thinking", "data": block.encrypted}
        return {"type": "thinking", "thinking": block.text, "signature": block.signature or ""}
    if isinstance(block, ToolCall):
        return {**write_call(block.id, block.name, block.signature), "input": arguments_object(block.arguments)}
    raise UpstreamFailed(f"this dialect cannot write a {type(block).__name__} in an answer")


def write_call(id_: str, name: str, signature: str | None) -> dict[str, Any]:
    """A call of a tool, its input left out; the signature is Gemini's, in a field that the dialect does not know."""
    call: dict[str, Any] = {"type": "tool_use", "id": id_, "name": name}
    return call if signature is None else {**call, "thought_signature": signature}
