"""A Messages request read into the canonical form."""

import base64
from typing import Final, TypeVar

import msgspec

from polyforge.dialects.anthropic_messages.thinking import WireThinking, read_thinking
from polyforge.dialects.bodies import decode_whole, read_fields
from polyforge.dialects.openai_errors import explain_validation
from polyforge.dialects.raw import ABSENT, given, is_given
from polyforge.kernel.chat import (
    Block,
    ChatRequest,
    File,
    Image,
    Message,
    OutputFormat,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from polyforge.kernel.errors import Invalid, Unsupported


class _CacheControl(msgspec.Struct):
    type: str


class _Citations(msgspec.Struct):
    enabled: bool = False


class _Source(msgspec.Struct):
    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    content: msgspec.Raw = ABSENT


class _Block(msgspec.Struct):
    type: str
    text: str | None = None
    cache_control: _CacheControl | None = None
    source: _Source | None = None
    title: str | None = None
    citations: msgspec.Raw = ABSENT
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = ABSENT
    thought_signature: str | None = None
    tool_use_id: str | None = None
    content: msgspec.Raw = ABSENT
    is_error: bool | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Block]


class _Tool(msgspec.Struct):
    name: str | None = None
    type: str | None = None
    description: str | None = None
    input_schema: msgspec.Raw = ABSENT
    strict: bool | None = None


class _ToolChoice(msgspec.Struct):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Format(msgspec.Struct):
    type: str
    schema: msgspec.Raw = ABSENT


class _OutputConfig(msgspec.Struct):
    effort: str | None = None
    format: _Format | None = None


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class _Known(msgspec.Struct, kw_only=True):
    messages: list[_Message]
    max_tokens: int | None = None
    system: str | list[_Block] | None = None
    tools: list[_Tool] | None = None
    tool_choice: _ToolChoice | None = None
    thinking: WireThinking | None = None
    output_config: _OutputConfig | None = None
    output_format: _Format | None = None
    metadata: _Metadata | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None


_T = TypeVar("_T")
_known: Final = msgspec.json.Decoder(_Known)
_blocks: Final = msgspec.json.Decoder(str | list[_Block])
_citations: Final = msgspec.json.Decoder(_Citations)
_NAMES: Final = frozenset(_Known.__struct_fields__) | {"model", "stream", "cache_control"}
_CHOICES: Final = {"auto": ToolChoice("auto"), "none": ToolChoice("none"), "any": ToolChoice("required")}


def read_chat(body: bytes) -> ChatRequest:
    """The canonical form of a POST /v1/messages; Unsupported, or Invalid, names what has no place in it."""
    wire, fields = decode_whole(_known, body), read_fields(body)
    if wire.max_tokens == 0:
        raise Unsupported("max_tokens 0 only warms Anthropic's cache", param="max_tokens")
    config, choice = wire.output_config or _OutputConfig(), wire.tool_choice
    return ChatRequest(
        messages=_read_system(wire.system) + _read_messages(wire.messages),
        tools=[_read_tool(tool, f"tools[{place}]") for place, tool in enumerate(wire.tools or ())],
        tool_choice=_read_choice(choice),
        parallel_tool_calls=False if choice is not None and choice.disable_parallel_tool_use else None,
        output_format=_read_format(config.format or wire.output_format),
        thinking=read_thinking(wire.thinking, config.effort),
        output_limit=wire.max_tokens,
        temperature=wire.temperature,
        top_p=wire.top_p,
        top_k=wire.top_k,
        stop=wire.stop_sequences or [],
        user=wire.metadata.user_id if wire.metadata else None,
        others={name: value for name, value in fields.items() if name not in _NAMES and is_given(value)},
    )


def _read_system(wire: str | list[_Block] | None) -> list[Message]:
    if not wire:
        return []
    return [Message("system", _read_blocks(wire, "system"))]


def _read_messages(wires: list[_Message]) -> list[Message]:
    messages: list[Message] = []
    for place, wire in enumerate(wires):
        where = f"messages[{place}]"
        if wire.role not in ("user", "assistant", "system"):
            raise Invalid(f"{where}.role must be user or assistant", param=f"{where}.role")
        blocks = _read_blocks(wire.content, f"{where}.content")
        if wire.role == "user":
            messages += _split_results(blocks)
        else:
            messages.append(Message(wire.role, blocks))
    return messages


def _split_results(blocks: list[Block]) -> list[Message]:
    """A turn of the user in two: what the tools gave back, and what the user says."""
    results: list[Block] = [block for block in blocks if isinstance(block, ToolResult)]
    if not results:
        return [Message("user", blocks)]
    said: list[Block] = [block for block in blocks if not isinstance(block, ToolResult)]
    return [Message("tool", results), Message("user", said)] if said else [Message("tool", results)]


def _read_blocks(wire: str | list[_Block], where: str) -> list[Block]:
    if isinstance(wire, str):
        return [Text(wire)]
    blocks: list[Block] = []
    for place, block in enumerate(wire):
        blocks += _read_block(block, f"{where}[{place}]")
    return blocks


def _read_block(wire: _Block, where: str) -> list[Block]:
    if wire.type == "text" and wire.text is not None:
        return [Text(wire.text, cached=wire.cache_control is not None)]
    if wire.type == "image" and wire.source is not None:
        return [_read_image(wire.source, where)]
    if wire.type == "document" and wire.source is not None:
        return _read_document(wire, wire.source, where)
    if wire.type == "thinking":
        return [Reasoning(wire.thinking or "", wire.signature or None)]
    if wire.type == "redacted_thinking" and wire.data is not None:
        return [Reasoning(encrypted=wire.data)]
    if wire.type == "tool_use" and wire.id is not None and wire.name is not None:
        arguments = bytes(wire.input).decode() if is_given(wire.input) else "{}"
        return [ToolCall(wire.id, wire.name, arguments, wire.thought_signature)]
    if wire.type == "tool_result" and wire.tool_use_id is not None:
        return [_read_result(wire, wire.tool_use_id, where)]
    raise Unsupported(
        f"{where}: this model takes no block of the type {wire.type[:60]!r}, or a field of it is missing", param=where
    )


def _read_image(wire: _Source, where: str) -> Image:
    if wire.type == "base64" and wire.data is not None and wire.media_type is not None:
        return Image(data=wire.data, media_type=wire.media_type)
    if wire.type == "url" and wire.url is not None:
        return Image(url=wire.url)
    raise Unsupported(f"{where}.source: this model takes no picture as {wire.type[:40]!r}", param=f"{where}.source")


def _read_document(wire: _Block, source: _Source, where: str) -> list[Block]:
    if is_given(wire.citations) and _decode(_citations, wire.citations, f"{where}.citations").enabled:
        raise Unsupported(f"{where}.citations: this model cites no documents", param=f"{where}.citations")
    if source.type == "base64" and source.data is not None:
        return [File(data=source.data, media_type=source.media_type or "application/pdf", name=wire.title)]
    if source.type == "text" and source.data is not None:
        written = base64.b64encode(source.data.encode()).decode()
        return [File(data=written, media_type="text/plain", name=wire.title)]
    if source.type == "url" and source.url is not None:
        return [File(url=source.url, name=wire.title)]
    if source.type == "content" and is_given(source.content):
        where = f"{where}.source.content"
        return _read_blocks(_decode(_blocks, source.content, where), where)
    raise Unsupported(f"{where}.source: this model takes no document as {source.type[:40]!r}", param=f"{where}.source")


def _read_result(wire: _Block, call_id: str, where: str) -> ToolResult:
    result = ToolResult(call_id, [], bool(wire.is_error))
    if not is_given(wire.content):
        return result
    where = f"{where}.content"
    for block in _read_blocks(_decode(_blocks, wire.content, where), where):
        if not isinstance(block, Text | Image | File):
            raise Unsupported(f"{where}: a tool's result is text, pictures or documents", param=where)
        result.content.append(block)
    return result


def _decode(decoder: msgspec.json.Decoder[_T], raw: msgspec.Raw, where: str) -> _T:
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"{where}: {explain_validation(error).message}", param=where) from error


def _read_tool(wire: _Tool, where: str) -> Tool:
    if wire.type not in (None, "custom"):
        raise Unsupported(f"{where}: {wire.type!r} runs at Anthropic, not at this model's provider"[:300], param=where)
    if not wire.name:
        raise Invalid(f"{where}.name is missing", param=f"{where}.name")
    return Tool(wire.name, wire.description, given(wire.input_schema), wire.strict)


def _read_choice(wire: _ToolChoice | None) -> ToolChoice | None:
    if wire is None:
        return None
    if wire.type == "tool":
        if not wire.name:
            raise Invalid("tool_choice.name is missing", param="tool_choice.name")
        return ToolChoice("named", wire.name)
    if wire.type not in _CHOICES:
        raise Invalid("tool_choice.type must be auto, any, none or tool", param="tool_choice.type")
    return _CHOICES[wire.type]


def _read_format(wire: _Format | None) -> OutputFormat | None:
    if wire is None:
        return None
    if wire.type != "json_schema" or not is_given(wire.schema):
        raise Invalid("the format of the output must be a json_schema with its schema", param="output_config.format")
    return OutputFormat("json_schema", schema=wire.schema, strict=True)
