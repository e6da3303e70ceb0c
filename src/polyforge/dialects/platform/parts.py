"""What messages are made of in the platform's dialect, to and from the canonical blocks.

The parts of an answer can be sent back as they are, as the message of the assistant in the next request.
"""

from typing import Any, Final

import msgspec

from polyforge.dialects.raw import is_given
from polyforge.kernel.chat import (
    Audio,
    Block,
    File,
    Image,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from polyforge.kernel.errors import Invalid


class TextPart(msgspec.Struct, tag="text", forbid_unknown_fields=True):
    """Prose. `cached`: what leads up to its end is worth keeping in the provider's prompt cache."""

    text: str
    cached: bool = False


class ImagePart(msgspec.Struct, tag="image", forbid_unknown_fields=True):
    """A picture: a `url`, or base64 `data` of a `media_type`."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    detail: str | None = None


class FilePart(msgspec.Struct, tag="file", forbid_unknown_fields=True):
    """A document: a `url`, base64 `data` of a `media_type`, or the `id` of one that the provider holds."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    id: str | None = None
    name: str | None = None


class AudioPart(msgspec.Struct, tag="audio", forbid_unknown_fields=True):
    """Speech: base64 `data` in a `format` such as `wav`."""

    data: str
    format: str


class ReasoningPart(msgspec.Struct, tag="reasoning", forbid_unknown_fields=True):
    """What the model thought; `signature` and `encrypted` go back to it unchanged."""

    text: str = ""
    signature: str | None = None
    encrypted: str | None = None
    id: str | None = None


class RefusalPart(msgspec.Struct, tag="refusal", forbid_unknown_fields=True):
    """The model's own words for declining."""

    text: str


class ToolCallPart(msgspec.Struct, tag="tool_call", forbid_unknown_fields=True):
    """A tool that the model wants called. `arguments`: an object, or a text where the model wrote no object."""

    id: str
    name: str
    arguments: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    signature: str | None = None


class ToolResultPart(msgspec.Struct, tag="tool_result", forbid_unknown_fields=True):
    """What a tool gave back."""

    call_id: str
    content: str | list[TextPart | ImagePart | FilePart]
    error: bool = False


Part = TextPart | ImagePart | FilePart | AudioPart | ReasoningPart | RefusalPart | ToolCallPart | ToolResultPart

_text: Final = msgspec.json.Decoder(str)
_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode: Final = msgspec.json.Encoder().encode
_SAID_BY: Final[dict[str, tuple[type[Any], ...]]] = {
    "system": (TextPart,),
    "user": (TextPart, ImagePart, FilePart, AudioPart),
    "assistant": (TextPart, ReasoningPart, RefusalPart, ToolCallPart),
    "tool": (ToolResultPart,),
}


def read_content(role: str, content: str | list[Part], where: str) -> list[Block]:
    """The blocks of a message; Invalid names a part that its role does not say, or that is not whole."""
    if isinstance(content, str):
        if role == "tool":
            raise Invalid(f"{where}: messages of tools hold parts of the type tool_result", param=where)
        return [Text(content)]
    blocks: list[Block] = []
    for place, part in enumerate(content):
        here = f"{where}[{place}]"
        if not isinstance(part, _SAID_BY[role]):
            kind = part.__struct_config__.tag
            raise Invalid(f"{here}: a message of the role {role!r} has no part of the type {kind!r}", param=here)
        blocks.append(_read(part, here))
    return blocks


def _read(part: Part, where: str) -> Block:
    match part:
        case ToolCallPart():
            return ToolCall(part.id, part.name, _read_arguments(part.arguments, where), part.signature)
        case ToolResultPart():
            return ToolResult(part.call_id, _read_result(part.content, where), part.error)
        case ReasoningPart():
            return Reasoning(part.text, part.signature, part.encrypted, part.id)
        case RefusalPart():
            return Refusal(part.text)
        case AudioPart():
            return Audio(part.data, part.format)
        case _:
            return _read_shown(part, where)


def _read_shown(part: TextPart | ImagePart | FilePart, where: str) -> Text | Image | File:
    if isinstance(part, TextPart):
        return Text(part.text, part.cached)
    if isinstance(part, ImagePart):
        _check_one(where, url=part.url, data=part.data)
        _check_type(where, part.data, part.media_type)
        return Image(part.data, part.media_type, part.url, part.detail)
    _check_one(where, url=part.url, data=part.data, id=part.id)
    _check_type(where, part.data, part.media_type)
    return File(part.data, part.media_type, part.name, part.url, part.id)


def _check_one(where: str, **sources: str | None) -> None:
    if sum(source is not None for source in sources.values()) != 1:
        raise Invalid(f"{where}: give exactly one of {', '.join(sources)}", param=where)


def _check_type(where: str, data: str | None, media_type: str | None) -> None:
    if data is not None and media_type is None:
        raise Invalid(f"{where}.media_type is missing", param=f"{where}.media_type")


def _read_result(content: str | list[TextPart | ImagePart | FilePart], where: str) -> list[Text | Image | File]:
    if isinstance(content, str):
        return [Text(content)]
    return [_read_shown(part, f"{where}.content[{place}]") for place, part in enumerate(content)]


def _read_arguments(arguments: msgspec.Raw, where: str) -> str:
    if not is_given(arguments):
        return ""
    kind = bytes(arguments)[:1]
    if kind == b'"':
        return _text.decode(arguments)
    if kind != b"{":
        raise Invalid(f"{where}.arguments must be an object, or a text", param=f"{where}.arguments")
    return bytes(arguments).decode()


def write_blocks(blocks: list[Block]) -> list[Part]:
    """The parts that blocks of an answer are written as."""
    return [part for block in blocks if (part := _write(block)) is not None]


def _write(block: Block) -> Part | None:
    match block:
        case Text():
            return TextPart(block.text)
        case Reasoning():
            return ReasoningPart(block.text, block.signature, block.encrypted, block.id)
        case Refusal():
            return RefusalPart(block.text)
        case ToolCall():
            return write_call(block)
        case Image():
            return ImagePart(block.url, block.data, block.media_type)
        case Audio():
            return AudioPart(block.data, block.format)
        case _:
            return None


def write_call(call: ToolCall) -> ToolCallPart:
    """A call; arguments that are no JSON object stay the text that they are."""
    return ToolCallPart(call.id, call.name, _write_arguments(call.arguments), call.signature)


def _write_arguments(arguments: str) -> msgspec.Raw:
    if not arguments.strip():
        return msgspec.Raw(b"{}")
    text = arguments.encode("utf-8", "replace")
    try:
        _object.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return msgspec.Raw(_encode(text.decode()))
    # On one line, as events want it.
    return msgspec.Raw(msgspec.json.format(text, indent=-1))
