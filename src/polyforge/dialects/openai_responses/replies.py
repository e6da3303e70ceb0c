"""A whole response, written from the canonical form; and its parts, of which a streamed one is made too."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from polyforge.dialects.openai_responses.items import SIGNATURE_MARK
from polyforge.dialects.writing import Answering
from polyforge.kernel.chat import Block, ChatResult, Finish, Reasoning, Refusal, Text, ToolCall
from polyforge.kernel.errors import UpstreamFailed
from polyforge.kernel.usage import NO_USAGE, Usage

Status = Literal["in_progress", "completed", "incomplete", "failed"]
_DEFAULTS: Final[Mapping[str, Any]] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
"""What a response repeats of its request, and what it says where nothing was asked."""


class _Logprobs(msgspec.Struct):
    content: list[msgspec.Raw] | None = None


_logprobs: Final = msgspec.json.Decoder(_Logprobs)
_asked: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode: Final = msgspec.json.Encoder().encode


def write_reply(result: ChatResult, answering: Answering) -> bytes:
    """A response."""
    choice = result.choices[0]
    output = _write_output(choice.content, answering.id, logprobs_of(choice.logprobs))
    refused = any(isinstance(block, Refusal) for block in choice.content)
    reason = incompleteness(choice.finish, refused=refused)
    if reason is not None and "status" in output[-1]:
        output[-1]["status"] = "incomplete"
    return _encode(end_response(begin_response(answering), output, reason, result.usage))


# The response around its output


def begin_response(answering: Answering) -> dict[str, Any]:
    """A response of which nothing has come yet."""
    fields = _asked.decode(answering.asked) if answering.asked else {}
    echoed = {name: fields.get(name, default) for name, default in _DEFAULTS.items()}
    return {
        "id": f"resp_{answering.id}",
        "object": "response",
        "created_at": answering.created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": answering.model,
        "output": [],
        "store": answering.keeps,
        "usage": None,
        **{name: _DEFAULTS[name] if _is_null(value) else value for name, value in echoed.items()},
    }


def _is_null(value: object) -> bool:
    return isinstance(value, msgspec.Raw) and bytes(value) == b"null"


def end_response(
    begun: Mapping[str, Any], output: Sequence[Mapping[str, Any]], reason: str | None, usage: Usage | None
) -> dict[str, Any]:
    """The whole response; `reason` is why it is incomplete, if it is."""
    return {
        **begun,
        "status": "completed" if reason is None else "incomplete",
        "incomplete_details": None if reason is None else {"reason": reason},
        "output": output,
        "usage": write_usage(usage or NO_USAGE),
    }


def incompleteness(finish: Finish, *, refused: bool) -> str | None:
    """Why a response that ended so is incomplete; None when it is not. Words of refusal make it a complete one."""
    if finish == "length":
        return "max_output_tokens"
    held_back = finish == "content_filter" or (finish == "refusal" and not refused)
    return "content_filter" if held_back else None


def write_usage(usage: Usage) -> dict[str, Any]:
    """The object that OpenAI's clients read; its `input_tokens` include cached ones."""
    return {
        "input_tokens": usage.input_total,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }


def logprobs_of(raw: msgspec.Raw | None) -> list[msgspec.Raw]:
    """The tokens of `{"content": [...]}`."""
    if raw is None:
        return []
    try:
        return _logprobs.decode(raw).content or []
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed("the upstream sent malformed logprobs") from error


# The items of its output


def _write_output(content: Sequence[Block], answer_id: str, logprobs: list[msgspec.Raw]) -> list[dict[str, Any]]:
    """One item for each thought and each call, and one message for all text between them."""
    output: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for block in content:
        if isinstance(block, Reasoning | ToolCall):
            parts = []
            output.append(_write_block(block, answer_id, len(output)))
        elif isinstance(block, Text | Refusal) and block.text:
            if not parts:
                output.append(message_item(answer_id, len(output), parts, "completed"))
            _add_part(parts, block, logprobs)
    return output or [message_item(answer_id, 0, [text_part("", [])], "completed")]


def _add_part(parts: list[dict[str, Any]], block: Text | Refusal, logprobs: list[msgspec.Raw]) -> None:
    """Texts that follow each other are one part, as they are in a stream."""
    if isinstance(block, Refusal):
        parts.append(refusal_part(block.text))
    elif parts and parts[-1]["type"] == "output_text":
        parts[-1]["text"] += block.text
    else:
        parts.append(text_part(block.text, logprobs))


def _write_block(block: Reasoning | ToolCall, answer_id: str, place: int) -> dict[str, Any]:
    if isinstance(block, Reasoning):
        return reasoning_item(answer_id, place, block.text, block.signature, block.encrypted)
    return call_item(answer_id, place, block.id, block.name, block.arguments or "{}", block.signature, "completed")


def message_item(answer_id: str, place: int, parts: list[dict[str, Any]], status: Status) -> dict[str, Any]:
    """What the model says."""
    id_ = f"msg_{answer_id}_{place}"
    return {"id": id_, "type": "message", "role": "assistant", "status": status, "content": parts}


def text_part(text: str, logprobs: Sequence[msgspec.Raw]) -> dict[str, Any]:
    """A part of a message: text."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def refusal_part(text: str) -> dict[str, Any]:
    """A part of a message: the words in which the model declines."""
    return {"type": "refusal", "refusal": text}


def reasoning_item(
    answer_id: str, place: int, text: str, signature: str | None, encrypted: str | None
) -> dict[str, Any]:
    """What the model thought, and what must come back with it."""
    sealed = encrypted if signature is None else SIGNATURE_MARK + signature
    summary = [{"type": "summary_text", "text": text}] if text else []
    item: dict[str, Any] = {"id": f"rs_{answer_id}_{place}", "type": "reasoning", "summary": summary}
    return item if sealed is None else {**item, "encrypted_content": sealed}


def call_item(
    answer_id: str, place: int, call_id: str, name: str, arguments: str, signature: str | None, status: Status
) -> dict[str, Any]:
    """A function that the model wants called."""
    item: dict[str, Any] = {
        "id": f"fc_{answer_id}_{place}",
        "type": "function_call",
        "status": status,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
    }
    return item if signature is None else {**item, "extra_content": {"google": {"thought_signature": signature}}}
