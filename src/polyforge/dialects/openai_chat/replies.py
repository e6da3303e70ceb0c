"""A whole chat answer read into the canonical form, and written from it."""

from typing import Any, Final

import msgspec

from polyforge.dialects.openai_chat.usage import WireUsage, read_usage, write_usage
from polyforge.dialects.openai_errors import decode_error
from polyforge.dialects.raw import ABSENT, given
from polyforge.dialects.writing import Answering
from polyforge.kernel.chat import (
    Block,
    ChatResult,
    Choice,
    Finish,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    text_of,
)
from polyforge.kernel.errors import UpstreamFailed
from polyforge.kernel.usage import NO_USAGE

FINISHES: Final[dict[str, Finish]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
"""What OpenAI calls the ends that there are; a name that is not here is a new one, and ends the answer all the same."""
FINISH_REASONS: Final[dict[Finish, str]] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "pause": "stop",
}


class WireFunction(msgspec.Struct, gc=False):
    """Name and arguments of a call, each of which may be missing in a piece of a stream."""

    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    id: str | None = None
    function: WireFunction | None = None
    extra_content: msgspec.Raw = ABSENT


class _Message(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    message: _Message
    index: int = 0
    finish_reason: str | None = None
    logprobs: msgspec.Raw = ABSENT


class _Reply(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: WireUsage | None = None
    id: str | None = None
    model: str | None = None


class _Google(msgspec.Struct):
    thought_signature: str | None = None


class _ExtraContent(msgspec.Struct):
    google: _Google | None = None


_reply: Final = msgspec.json.Decoder(_Reply)
_extra: Final = msgspec.json.Decoder(_ExtraContent)
_encode: Final = msgspec.json.Encoder().encode


def read_reply(body: bytes) -> ChatResult:
    """The canonical form of an answer; UpstreamFailed when it is none."""
    try:
        wire = _reply.decode(body)
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed("the upstream's answer is not what was asked for") from error
    if not wire.choices:
        raise UpstreamFailed(decode_error(body).message or "the upstream's answer holds no choices")
    return ChatResult(
        choices=[_read_choice(choice) for choice in wire.choices],
        usage=read_usage(wire.usage),
        model=wire.model or "",
        id=wire.id or "",
    )


def _read_choice(wire: _Choice) -> Choice:
    message = wire.message
    content: list[Block] = []
    if thought := message.reasoning_content or message.reasoning:
        content.append(Reasoning(thought))
    if message.content:
        content.append(Text(message.content))
    if message.refusal:
        content.append(Refusal(message.refusal))
    calls = [_read_call(call, place) for place, call in enumerate(message.tool_calls or ())]
    finish = finish_of(wire.finish_reason, called=bool(calls), refused=bool(message.refusal))
    return Choice(content=[*content, *calls], finish=finish, index=wire.index, logprobs=given(wire.logprobs))


def finish_of(reason: str | None, *, called: bool, refused: bool) -> Finish:
    """The canonical end; some servers say `stop` where tools are called, or nothing at all."""
    finish = FINISHES.get(reason or "stop", "stop")
    if finish != "stop":
        return finish
    if called:
        return "tool_calls"
    return "refusal" if refused else "stop"


def _read_call(wire: _ToolCall, place: int) -> ToolCall:
    if wire.function is None or wire.function.name is None:
        raise UpstreamFailed("the upstream called a tool without naming it")
    return ToolCall(
        wire.id or f"call_{place}",
        wire.function.name,
        wire.function.arguments or "",
        signature_of(given(wire.extra_content)),
    )


def signature_of(extra: msgspec.Raw | None) -> str | None:
    """The thought signature that Gemini's servers send beside a call."""
    if extra is None:
        return None
    try:
        google = _extra.decode(extra).google
    except (ValueError, RecursionError):
        return None
    return google.thought_signature if google else None


def write_reply(result: ChatResult, answering: Answering) -> bytes:
    """A chat completion."""
    return _encode(
        {
            "id": f"chatcmpl-{answering.id}",
            "object": "chat.completion",
            "created": answering.created,
            "model": answering.model,
            "choices": [_write_choice(choice) for choice in result.choices],
            "usage": write_usage(result.usage or NO_USAGE),
        }
    )


def _write_choice(choice: Choice) -> dict[str, Any]:
    content = choice.content
    refused = "".join([block.text for block in content if isinstance(block, Refusal)])
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text_of(content) or None,
        "refusal": refused or None,
    }
    if calls := [write_call(block) for block in content if isinstance(block, ToolCall)]:
        message["tool_calls"] = calls
    elif not refused and message["content"] is None:
        message["content"] = ""
    thoughts = [block for block in content if isinstance(block, Reasoning)]
    if thought := "".join([block.text for block in thoughts]):
        message["reasoning_content"] = thought
    if kept := [
        write_thought(block.text, block.signature, block.encrypted) for block in thoughts if _must_return(block)
    ]:
        message["thinking_blocks"] = kept
    return {
        "index": choice.index,
        "message": message,
        "logprobs": choice.logprobs,
        "finish_reason": FINISH_REASONS[choice.finish],
    }


def _must_return(block: Reasoning) -> bool:
    return block.signature is not None or block.encrypted is not None


def write_thought(text: str, signature: str | None, encrypted: str | None) -> dict[str, Any]:
    """A thought that has to go back to its provider, in the field that clients know from other gateways."""
    if encrypted is not None:
        return {"type": "redacted_thinking", "data": encrypted}
    return {"type": "thinking", "thinking": text, "signature": signature}


def write_call(call: ToolCall) -> dict[str, Any]:
    """A call of a tool."""
    written: dict[str, Any] = {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments or "{}"},
    }
    if call.signature is not None:
        written["extra_content"] = {"google": {"thought_signature": call.signature}}
    return written
