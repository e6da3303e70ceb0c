"""The items of a conversation: what callers send as `input`, read into messages."""

from typing import Final

import msgspec

from polyforge.dialects.media import read_data_url
from polyforge.kernel.chat import (
    Audio,
    Block,
    File,
    Image,
    Message,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from polyforge.kernel.errors import Invalid, Unsupported

SIGNATURE_MARK: Final = "signature:"
"""In `encrypted_content` before the signature of a thought whose text is shown; what is encrypted is base64, which has
no colon."""
_ROLES: Final[dict[str, Role]] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
}


class _AudioInput(msgspec.Struct):
    data: str
    format: str


class _Part(msgspec.Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None
    file_id: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    input_audio: _AudioInput | None = None


class _Google(msgspec.Struct):
    thought_signature: str | None = None


class _ExtraContent(msgspec.Struct):
    google: _Google | None = None


class Item(msgspec.Struct):
    """As it stands in `input`; which fields count depends on the type."""

    type: str | None = None
    id: str | None = None
    role: str | None = None
    content: str | list[_Part] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[_Part] | dict[str, msgspec.Raw] | None = None
    summary: list[_Part] | None = None
    encrypted_content: str | None = None
    extra_content: _ExtraContent | None = None


def read_items(given: str | list[Item]) -> list[Message]:
    """The turns that the items make. What the model said in one go, with its thoughts and calls, is one turn."""
    if isinstance(given, str):
        return [Message("user", [Text(given)])]
    messages: list[Message] = []
    for place, item in enumerate(given):
        _read_item(item, f"input[{place}]", messages)
    return messages


def _read_item(item: Item, where: str, messages: list[Message]) -> None:
    kind = item.type or "message"
    if kind == "message":
        _read_message(item, where, messages)
    elif kind == "reasoning":
        _turn_of(messages, "assistant").content.append(_read_thought(item))
    elif kind == "function_call":
        _turn_of(messages, "assistant").content.append(_read_call(item, where))
    elif kind == "function_call_output":
        _turn_of(messages, "tool").content.append(_read_result(item, where))
    else:
        raise Unsupported(f"{where}.type: items of the type {kind[:40]!r} are not supported here", param=where)


def _turn_of(messages: list[Message], role: Role) -> Message:
    """The last turn, if it is of that role, else a new one."""
    if not messages or messages[-1].role != role:
        messages.append(Message(role, []))
    return messages[-1]


def _read_message(item: Item, where: str, messages: list[Message]) -> None:
    role = _ROLES.get(item.role or "")
    if role is None:
        raise Invalid(f"{where}.role: there is no role {(item.role or '')[:40]!r}", param=f"{where}.role")
    if item.content is None:
        raise Invalid(f"{where}.content is missing", param=f"{where}.content")
    content = _read_content(item.content, where)
    if role == "assistant" and messages and _goes_on(messages[-1]):
        messages[-1].content += content
    else:
        messages.append(Message(role, content))


def _goes_on(turn: Message) -> bool:
    """Whether what the model says next belongs to its turn: so far it only thought, or it has called tools."""
    if turn.role != "assistant":
        return False
    kinds = {type(block) for block in turn.content}
    return ToolCall in kinds or kinds == {Reasoning}


def _read_content(content: str | list[_Part], where: str) -> list[Block]:
    if isinstance(content, str):
        return [Text(content)]
    return [_read_part(part, f"{where}.content[{place}]") for place, part in enumerate(content)]


def _read_part(part: _Part, where: str) -> Block:
    if part.type in ("input_text", "output_text", "text") and part.text is not None:
        return Text(part.text)
    if part.type == "input_image":
        return _read_image(part, where)
    if part.type == "input_file":
        return _read_file(part, where)
    if part.type == "input_audio" and part.input_audio is not None:
        return Audio(part.input_audio.data, part.input_audio.format)
    if part.type == "refusal" and part.refusal is not None:
        return Refusal(part.refusal)
    raise Invalid(f"{where}: there is no part of the type {part.type[:40]!r}, or its content is missing", param=where)


def _read_image(part: _Part, where: str) -> Image:
    if part.image_url is None:
        if part.file_id is not None:
            raise Unsupported(f"{where}.file_id: give the picture as image_url; there are no files here", param=where)
        raise Invalid(f"{where}.image_url is missing", param=f"{where}.image_url")
    found = read_data_url(part.image_url, f"{where}.image_url")
    if found is None:
        return Image(url=part.image_url, detail=part.detail)
    return Image(data=found[1], media_type=found[0], detail=part.detail)


def _read_file(part: _Part, where: str) -> File:
    if part.file_data is not None:
        found = read_data_url(part.file_data, f"{where}.file_data")
        media_type, data = found or ("application/pdf", part.file_data)
        return File(data=data, media_type=media_type, name=part.filename)
    if part.file_url is None and part.file_id is None:
        raise Invalid(f"{where}: give file_data, file_url or file_id", param=where)
    return File(url=part.file_url, id=part.file_id, name=part.filename)


def _read_thought(item: Item) -> Reasoning:
    parts = item.summary or (item.content if isinstance(item.content, list) else None) or []
    text = "".join([part.text or "" for part in parts])
    sealed = item.encrypted_content
    if sealed is not None and sealed.startswith(SIGNATURE_MARK):
        return Reasoning(text, signature=sealed.removeprefix(SIGNATURE_MARK), id=item.id)
    return Reasoning(text, encrypted=sealed, id=item.id)


def _read_call(item: Item, where: str) -> ToolCall:
    if not item.call_id or not item.name:
        name = "name" if item.call_id else "call_id"
        raise Invalid(f"{where}.{name} is missing", param=f"{where}.{name}")
    google = item.extra_content.google if item.extra_content else None
    return ToolCall(item.call_id, item.name, item.arguments or "", google.thought_signature if google else None)


def _read_result(item: Item, where: str) -> ToolResult:
    if not item.call_id:
        raise Invalid(f"{where}.call_id is missing", param=f"{where}.call_id")
    if isinstance(item.output, str):
        return ToolResult(item.call_id, [Text(item.output)])
    if not isinstance(item.output, list):
        raise Invalid(f"{where}.output must be a text or a list of parts", param=f"{where}.output")
    content: list[Text | Image | File] = []
    for place, part in enumerate(item.output):
        block = _read_part(part, f"{where}.output[{place}]")
        if not isinstance(block, Text | Image | File):
            raise Invalid(f"{where}.output[{place}]: a tool's result is text, pictures or files", param=where)
        content.append(block)
    return ToolResult(item.call_id, content)
