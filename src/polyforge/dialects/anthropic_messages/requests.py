"""A chat request written as a Messages request."""

import base64
import binascii
import hashlib
import re
from typing import Any, Final

import msgspec

from polyforge.dialects.anthropic_messages.thinking import ThinkingStyle, budget_of, takes_budget, write_thinking
from polyforge.dialects.arguments import arguments_object
from polyforge.dialects.json_mode import with_instruction
from polyforge.dialects.parameters import choice_of
from polyforge.kernel.chat import (
    Block,
    ChatRequest,
    File,
    Image,
    Message,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from polyforge.kernel.errors import Invalid, Unsupported

PARAMETERS: Final = frozenset(
    {
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "output_format",
        "thinking",
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "user",
    }
)
"""What a request in this dialect can say of the canonical form."""
DEFAULT_LIMIT: Final = 4096
"""`max_tokens` has to be said: what is said where nobody asked."""
_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NO_PARAMETERS: Final = msgspec.Raw(b'{"type":"object","properties":{}}')
_CHOICES: Final = {"auto": "auto", "none": "none", "required": "any"}
_encode: Final = msgspec.json.Encoder().encode


def write_chat(
    chat: ChatRequest,
    *,
    model: str,
    stream: bool,
    default_limit: int = DEFAULT_LIMIT,
    thinking_style: ThinkingStyle = "auto",
) -> bytes:
    """The body of a POST /v1/messages; Unsupported, or Invalid, for what the dialect cannot carry."""
    return _encode({"model": model, **write_fields(chat, model, stream, default_limit, thinking_style)})


def write_fields(
    chat: ChatRequest, model: str, stream: bool, default_limit: int, thinking_style: ThinkingStyle
) -> dict[str, Any]:
    """The fields of the body but the model, which other clouds that host these models name elsewhere."""
    messages = _write_messages(chat.messages)
    if not messages:
        raise Invalid("messages must hold something that is said", param="messages")
    budgeted = takes_budget(model, thinking_style)
    limit = chat.output_limit
    if limit is None:
        limit = default_limit + (budget_of(chat.thinking) if budgeted else 0)
    fields: dict[str, Any] = {"messages": messages, "max_tokens": limit}
    if stream:
        fields["stream"] = True
    plain = {
        "system": _write_system(with_instruction(chat)),
        "tools": [_write_tool(tool) for tool in chat.tools] or None,
        "tool_choice": _write_choice(chat),
        "temperature": _checked_temperature(chat.temperature),
        "top_p": chat.top_p,
        "top_k": chat.top_k,
        "stop_sequences": chat.stop or None,
        "metadata": None if chat.user is None else {"user_id": chat.user},
    }
    fields |= {name: value for name, value in plain.items() if value is not None}
    fields |= write_thinking(chat, budgeted=budgeted, limit=limit)
    if chat.output_format is not None and chat.output_format.schema is not None:
        form = {"type": "json_schema", "schema": chat.output_format.schema}
        fields["output_config"] = {**fields.get("output_config", {}), "format": form}
    return fields


def _checked_temperature(temperature: float | None) -> float | None:
    if temperature is not None and temperature > 1:
        raise Unsupported("this model takes a temperature from 0 to 1", param="temperature")
    return temperature


def _write_system(messages: list[Message]) -> Any:
    """Everything that a system or developer said, wherever it stood: few models take it in the middle."""
    blocks = [
        block
        for message in messages
        if message.role in ("system", "developer")
        for block in _write_content(message.content)
    ]
    if len(blocks) == 1 and "cache_control" not in blocks[0]:
        return blocks[0]["text"] if blocks[0]["type"] == "text" else blocks
    return blocks or None


def _write_messages(messages: list[Message]) -> list[dict[str, Any]]:
    """Turns of the user and the assistant, one after the other: tools answer in a turn of the user."""
    written: list[dict[str, Any]] = []
    for message in messages:
        if message.role in ("system", "developer"):
            continue
        role = "assistant" if message.role == "assistant" else "user"
        content = _write_content(message.content)
        if not content:
            continue
        if written and written[-1]["role"] == role:
            written[-1]["content"] += content
        else:
            written.append({"role": role, "content": content})
    return written


def _write_content(blocks: list[Block]) -> list[dict[str, Any]]:
    written = [_write_block(block) for block in blocks]
    return [block for block in written if block is not None]


def _write_block(block: Block) -> dict[str, Any] | None:
    """None for what must not be sent: blank text, and thoughts that nobody signed."""
    if isinstance(block, Text):
        return _write_text(block)
    if isinstance(block, Refusal):
        return {"type": "text", "text": block.text} if block.text.strip() else None
    if isinstance(block, Reasoning):
        return _write_thought(block)
    if isinstance(block, ToolCall):
        return {
            "type": "tool_use",
            "id": write_id(block.id),
            "name": block.name,
            "input": arguments_object(block.arguments),
        }
    if isinstance(block, ToolResult):
        return _write_result(block)
    if isinstance(block, Image):
        return _write_image(block)
    if isinstance(block, File):
        return _write_document(block)
    raise Unsupported("this model takes no speech", param="messages")


def _write_text(block: Text) -> dict[str, Any] | None:
    if not block.text.strip():
        return None
    written: dict[str, Any] = {"type": "text", "text": block.text}
    if block.cached:
        written["cache_control"] = {"type": "ephemeral"}
    return written


def _write_thought(block: Reasoning) -> dict[str, Any] | None:
    if block.encrypted is not None:
        return {"type": "redacted_thinking", "data": block.encrypted}
    if block.signature is None:
        return None
    return {"type": "thinking", "thinking": block.text, "signature": block.signature}


def write_id(id_: str) -> str:
    """The id of a call as Anthropic takes it: another one, always the same, for one from elsewhere."""
    if _ID.fullmatch(id_):
        return id_
    return "toolu_" + hashlib.blake2b(id_.encode(), digest_size=12).hexdigest()


def _write_result(block: ToolResult) -> dict[str, Any]:
    written: dict[str, Any] = {"type": "tool_result", "tool_use_id": write_id(block.call_id)}
    content = _write_content(list(block.content))
    if len(content) == 1 and content[0].keys() == {"type", "text"}:
        written["content"] = content[0]["text"]
    elif content:
        written["content"] = content
    if block.error:
        written["is_error"] = True
    return written


def _write_image(image: Image) -> dict[str, Any]:
    if image.data is None:
        return {"type": "image", "source": {"type": "url", "url": image.url}}
    media_type = image.media_type or "image/png"
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": image.data}}


def _write_document(file: File) -> dict[str, Any]:
    title = {} if file.name is None else {"title": file.name}
    return {"type": "document", "source": _write_source(file), **title}


def _write_source(file: File) -> dict[str, Any]:
    if file.url is not None:
        return {"type": "url", "url": file.url}
    if file.data is None:
        raise Unsupported("this model takes files as data or by URL, not by id", param="messages")
    media_type = file.media_type or "application/pdf"
    if not media_type.startswith("text/") and media_type != "application/json":
        return {"type": "base64", "media_type": media_type, "data": file.data}
    try:
        text = base64.b64decode(file.data, validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise Invalid("a file of text must be UTF-8 in base64", param="messages") from error
    return {"type": "text", "media_type": "text/plain", "data": text}


def _write_tool(tool: Tool) -> dict[str, Any]:
    written: dict[str, Any] = {"name": tool.name, "input_schema": tool.parameters or _NO_PARAMETERS}
    if tool.description is not None:
        written["description"] = tool.description
    if tool.strict:
        written["strict"] = True
    return written


def _write_choice(chat: ChatRequest) -> dict[str, Any] | None:
    choice, alone = choice_of(chat), chat.parallel_tool_calls is False
    if not chat.tools:
        return None
    if choice is None and not alone:
        return None
    written = _write_mode(choice or ToolChoice("auto"))
    if alone and written["type"] != "none":
        written["disable_parallel_tool_use"] = True
    return written


def _write_mode(choice: ToolChoice) -> dict[str, Any]:
    if choice.mode == "named":
        return {"type": "tool", "name": choice.name}
    return {"type": _CHOICES[choice.mode]}
