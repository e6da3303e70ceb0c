"""A chat request read into the canonical form, and written from it."""

from typing import Any, Final, Literal

import msgspec

from polyforge.dialects.bodies import decode_whole, read_fields
from polyforge.dialects.media import data_url, read_data_url
from polyforge.dialects.openai_chat.replies import write_call
from polyforge.dialects.parameters import choice_of
from polyforge.dialects.raw import ABSENT, given
from polyforge.kernel.chat import (
    Audio,
    Block,
    ChatRequest,
    File,
    Image,
    Message,
    OutputFormat,
    Reasoning,
    Refusal,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    text_of,
)
from polyforge.kernel.errors import Invalid

PARAMETERS: Final = frozenset(
    {
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "output_format",
        "thinking",
        "temperature",
        "top_p",
        "stop",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "choices",
        "user",
        "verbosity",
    }
)
"""What a request in this dialect can say of the canonical form."""
_ROLES: Final[dict[str, Role]] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_FROM_REQUEST: Final = {"stream", "stream_options", "model"}


class _Function(msgspec.Struct):
    name: str
    arguments: str = ""


class _Google(msgspec.Struct):
    thought_signature: str | None = None


class _ExtraContent(msgspec.Struct):
    google: _Google | None = None


class _ToolCall(msgspec.Struct):
    id: str
    function: _Function | None = None
    type: str = "function"
    extra_content: _ExtraContent | None = None


class _Url(msgspec.Struct):
    url: str
    detail: str | None = None


class _AudioInput(msgspec.Struct):
    data: str
    format: str


class _FileInput(msgspec.Struct):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class _CacheControl(msgspec.Struct):
    type: str


class _Part(msgspec.Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: _Url | None = None
    input_audio: _AudioInput | None = None
    file: _FileInput | None = None
    cache_control: _CacheControl | None = None


class _ThinkingBlock(msgspec.Struct):
    type: str
    thinking: str = ""
    signature: str | None = None
    data: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None
    name: str | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    thinking_blocks: list[_ThinkingBlock] | None = None


class _FunctionTool(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: msgspec.Raw = ABSENT
    strict: bool | None = None


class _Tool(msgspec.Struct):
    type: str
    function: _FunctionTool | None = None


class _Named(msgspec.Struct):
    name: str


class _ToolChoice(msgspec.Struct):
    type: str
    function: _Named | None = None


class _Schema(msgspec.Struct):
    name: str = "answer"
    schema: msgspec.Raw = ABSENT
    strict: bool | None = None
    description: str | None = None


class _Format(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Schema | None = None


class _Known(msgspec.Struct, kw_only=True):
    messages: list[_Message]
    tools: list[_Tool] | None = None
    tool_choice: str | _ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: _Format | None = None
    reasoning_effort: str | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: msgspec.Raw = ABSENT
    logprobs: bool | None = None
    top_logprobs: int | None = None
    n: int | None = None
    user: str | None = None


_known: Final = msgspec.json.Decoder(_Known)
_encode: Final = msgspec.json.Encoder().encode
_NAMES: Final = frozenset(_Known.__struct_fields__) | _FROM_REQUEST


# Reading


def read_chat(body: bytes) -> ChatRequest:
    """The canonical form of a POST /v1/chat/completions; Invalid names the field that has no place in it."""
    wire, fields = decode_whole(_known, body), read_fields(body)
    return ChatRequest(
        messages=_read_messages(wire.messages),
        tools=[_read_tool(tool, place) for place, tool in enumerate(wire.tools or ())],
        tool_choice=_read_choice(wire.tool_choice),
        parallel_tool_calls=wire.parallel_tool_calls,
        output_format=_read_format(wire.response_format),
        thinking=Thinking(effort=wire.reasoning_effort) if wire.reasoning_effort is not None else None,
        output_limit=wire.max_tokens if wire.max_completion_tokens is None else wire.max_completion_tokens,
        temperature=wire.temperature,
        top_p=wire.top_p,
        top_k=wire.top_k,
        stop=[wire.stop] if isinstance(wire.stop, str) else wire.stop or [],
        seed=wire.seed,
        frequency_penalty=wire.frequency_penalty,
        presence_penalty=wire.presence_penalty,
        logit_bias=given(wire.logit_bias),
        logprobs=wire.logprobs,
        top_logprobs=wire.top_logprobs,
        choices=wire.n or 1,
        user=wire.user,
        others={name: value for name, value in fields.items() if name not in _NAMES and bytes(value) != b"null"},
    )


def _read_messages(wires: list[_Message]) -> list[Message]:
    messages: list[Message] = []
    for place, wire in enumerate(wires):
        where = f"messages[{place}]"
        role = _ROLES.get(wire.role)
        if role is None:
            raise Invalid(f"{where}.role: there is no role {wire.role[:40]!r}", param=f"{where}.role")
        if role != "tool":
            messages.append(Message(role, _read_content(wire, where), wire.name))
        elif messages and messages[-1].role == "tool":
            messages[-1].content.append(_read_result(wire, where))
        else:
            messages.append(Message("tool", [_read_result(wire, where)]))
    return messages


def _read_content(wire: _Message, where: str) -> list[Block]:
    blocks: list[Block] = _read_thoughts(wire)
    if isinstance(wire.content, str):
        blocks.append(Text(wire.content))
    else:
        parts = wire.content or ()
        blocks += [_read_part(part, f"{where}.content[{place}]") for place, part in enumerate(parts)]
    if wire.refusal:
        blocks.append(Refusal(wire.refusal))
    for place, call in enumerate(wire.tool_calls or ()):
        blocks.append(_read_call(call, f"{where}.tool_calls[{place}]"))
    return blocks


def _read_thoughts(wire: _Message) -> list[Block]:
    if not wire.thinking_blocks:
        return [Reasoning(wire.reasoning_content)] if wire.reasoning_content else []
    return [Reasoning(block.thinking, block.signature, block.data) for block in wire.thinking_blocks]


def _read_call(call: _ToolCall, where: str) -> ToolCall:
    if call.function is None:
        raise Invalid(f"{where}.type: calls of the type {call.type[:40]!r} are not supported here", param=where)
    google = call.extra_content.google if call.extra_content else None
    return ToolCall(call.id, call.function.name, call.function.arguments, google.thought_signature if google else None)


def _read_result(wire: _Message, where: str) -> ToolResult:
    call_id = wire.tool_call_id or wire.name
    if call_id is None:
        raise Invalid(f"{where}.tool_call_id is missing", param=f"{where}.tool_call_id")
    if isinstance(wire.content, str):
        return ToolResult(call_id, [Text(wire.content)])
    content: list[Text | Image | File] = []
    for place, part in enumerate(wire.content or ()):
        block = _read_part(part, f"{where}.content[{place}]")
        if not isinstance(block, Text | Image | File):
            raise Invalid(f"{where}.content[{place}]: a tool's result is text, pictures or files", param=where)
        content.append(block)
    return ToolResult(call_id, content)


def _read_part(part: _Part, where: str) -> Block:
    if part.type == "text" and part.text is not None:
        return Text(part.text, cached=part.cache_control is not None)
    if part.type == "image_url" and part.image_url is not None:
        return _read_image(part.image_url, where)
    if part.type == "input_audio" and part.input_audio is not None:
        return Audio(part.input_audio.data, part.input_audio.format)
    if part.type == "file" and part.file is not None:
        return _read_file(part.file, where)
    if part.type == "refusal" and part.refusal is not None:
        return Refusal(part.refusal)
    raise Invalid(f"{where}: there is no part of the type {part.type[:40]!r}, or its content is missing", param=where)


def _read_image(wire: _Url, where: str) -> Image:
    found = read_data_url(wire.url, f"{where}.image_url.url")
    if found is None:
        return Image(url=wire.url, detail=wire.detail)
    return Image(data=found[1], media_type=found[0], detail=wire.detail)


def _read_file(wire: _FileInput, where: str) -> File:
    if wire.file_data is None:
        if wire.file_id is None:
            raise Invalid(f"{where}.file: give file_data or file_id", param=f"{where}.file")
        return File(id=wire.file_id, name=wire.filename)
    found = read_data_url(wire.file_data, f"{where}.file.file_data")
    media_type, data = found or ("application/pdf", wire.file_data)
    return File(data=data, media_type=media_type, name=wire.filename)


def _read_tool(tool: _Tool, place: int) -> Tool:
    if tool.function is None:
        where = f"tools[{place}]"
        raise Invalid(f"{where}.type: tools of the type {tool.type[:40]!r} are not supported here", param=where)
    function = tool.function
    return Tool(function.name, function.description, given(function.parameters), function.strict)


def _read_choice(wire: str | _ToolChoice | None) -> ToolChoice | None:
    if wire is None:
        return None
    if isinstance(wire, _ToolChoice):
        if wire.function is None:
            raise Invalid(f"tool_choice: {wire.type[:40]!r} is not supported here", param="tool_choice")
        return ToolChoice("named", wire.function.name)
    if wire not in ("auto", "none", "required"):
        raise Invalid("tool_choice must be auto, none, required or name a function", param="tool_choice")
    return ToolChoice(wire)


def _read_format(wire: _Format | None) -> OutputFormat | None:
    if wire is None or wire.type == "text":
        return None
    if wire.type == "json_object":
        return OutputFormat("json_object")
    if wire.json_schema is None:
        raise Invalid("response_format.json_schema is missing", param="response_format.json_schema")
    schema = wire.json_schema
    return OutputFormat("json_schema", schema.name, given(schema.schema), schema.strict, schema.description)


# Writing


def write_chat(chat: ChatRequest, *, model: str, stream: bool, limit_field: str = "max_tokens") -> bytes:
    """The body of a POST /v1/chat/completions; of thoughts, which the dialect has no place for, nothing is sent.

    Fields that are none of the dialect's are written as they are: servers know more than it.
    Invalid for content that the dialect cannot carry.
    """
    fields: dict[str, Any] = {**chat.others, "model": model, "messages": _write_messages(chat.messages)}
    if stream:
        fields["stream"] = True
        fields["stream_options"] = {"include_usage": True}
    plain = {
        "temperature": chat.temperature,
        "top_p": chat.top_p,
        "top_k": chat.top_k,
        "stop": chat.stop or None,
        "seed": chat.seed,
        "frequency_penalty": chat.frequency_penalty,
        "presence_penalty": chat.presence_penalty,
        "logit_bias": chat.logit_bias,
        "logprobs": chat.logprobs,
        "top_logprobs": chat.top_logprobs,
        "n": chat.choices if chat.choices > 1 else None,
        "user": chat.user,
        "parallel_tool_calls": chat.parallel_tool_calls if chat.tools else None,
        "tools": [_write_tool(tool) for tool in chat.tools] or None,
        "tool_choice": _write_choice(choice_of(chat)),
        "response_format": _write_format(chat.output_format),
        "reasoning_effort": effort_of(chat.thinking),
        limit_field: chat.output_limit,
    }
    fields |= {name: value for name, value in plain.items() if value is not None}
    return _encode(fields)


def effort_of(thinking: Thinking | None) -> str | None:
    """The effort by name that a number of tokens stands for."""
    if thinking is None:
        return None
    if thinking.effort is not None or thinking.budget is None:
        return thinking.effort
    steps = ((0, "none"), (2_048, "low"), (8_192, "medium"))
    return next((name for most, name in steps if thinking.budget <= most), "high")


def _write_messages(messages: list[Message]) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "tool":
            written += _write_results(message)
        elif message.role == "assistant":
            written.append(_write_assistant(message))
        else:
            written.append(_write_turn(message))
    return written


def _write_turn(message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": "system" if message.role == "developer" else message.role}
    if all(type(block) is Text for block in message.content):
        turn["content"] = text_of(message.content)
    else:
        turn["content"] = [_write_part(block) for block in message.content]
    if message.name is not None:
        turn["name"] = message.name
    return turn


def _write_assistant(message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": "assistant", "content": text_of(message.content) or None}
    calls = [write_call(block) for block in message.content if isinstance(block, ToolCall)]
    if calls:
        turn["tool_calls"] = calls
    if refused := "".join([block.text for block in message.content if isinstance(block, Refusal)]):
        turn["refusal"] = refused
    if not calls and not refused and turn["content"] is None:
        turn["content"] = ""
    return turn


def _write_results(message: Message) -> list[dict[str, Any]]:
    """One message for each result; pictures, which a result cannot hold, follow in a message of the user."""
    written: list[dict[str, Any]] = []
    seen: list[dict[str, Any]] = []
    for block in message.content:
        if not isinstance(block, ToolResult):
            continue
        prose = "".join([part.text for part in block.content if isinstance(part, Text)])
        written.append({"role": "tool", "tool_call_id": block.call_id, "content": prose})
        seen += [_write_part(part) for part in block.content if not isinstance(part, Text)]
    if seen:
        written.append({"role": "user", "content": seen})
    return written


def _write_part(block: Block) -> dict[str, Any]:
    if isinstance(block, Text):
        return {"type": "text", "text": block.text}
    if isinstance(block, Image):
        url = block.url if block.data is None else data_url(block.media_type or "image/png", block.data)
        return {"type": "image_url", "image_url": _given(url=url, detail=block.detail)}
    if isinstance(block, Audio):
        return {"type": "input_audio", "input_audio": {"data": block.data, "format": block.format}}
    if isinstance(block, File):
        return {"type": "file", "file": _write_file(block)}
    raise Invalid(f"a message of the user cannot hold a {type(block).__name__}", param="messages")


def _write_file(file: File) -> dict[str, Any]:
    if file.id is not None:
        return {"file_id": file.id}
    if file.data is None:
        raise Invalid("this provider takes files as data, not by URL", param="messages")
    media_type = file.media_type or "application/pdf"
    return {"filename": file.name or "file", "file_data": data_url(media_type, file.data)}


def _write_tool(tool: Tool) -> dict[str, Any]:
    function = _given(name=tool.name, description=tool.description, parameters=tool.parameters, strict=tool.strict)
    return {"type": "function", "function": function}


def _write_choice(choice: ToolChoice | None) -> Any:
    if choice is None:
        return None
    return {"type": "function", "function": {"name": choice.name}} if choice.mode == "named" else choice.mode


def _write_format(wanted: OutputFormat | None) -> dict[str, Any] | None:
    if wanted is None:
        return None
    if wanted.kind == "json_object":
        return {"type": "json_object"}
    schema = _given(name=wanted.name, schema=wanted.schema, strict=wanted.strict, description=wanted.description)
    return {"type": "json_schema", "json_schema": schema}


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
