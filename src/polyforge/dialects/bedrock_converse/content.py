"""The turns of a conversation as Converse takes them: roles alternate, and no text is blank."""

import re
from typing import Any, Final

from polyforge.dialects.anthropic_messages.requests import write_id
from polyforge.dialects.arguments import arguments_object
from polyforge.kernel.chat import (
    Audio,
    Block,
    File,
    Image,
    Message,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from polyforge.kernel.errors import Invalid, Unsupported

_CACHE_POINT: Final = {"cachePoint": {"type": "default"}}
_SYSTEM: Final = ("system", "developer")
_PICTURES: Final = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
_DOCUMENTS: Final = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "application/json": "txt",
    "text/markdown": "md",
}
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9\-()\[\] ]+")
_BLANKS: Final = re.compile(r"\s+")
_LONGEST_NAME: Final = 200
_LONGEST_STEM: Final = 180


def write_system(messages: list[Message]) -> list[dict[str, Any]]:
    """Everything that a system or developer said, wherever it stood: a turn of theirs has no place in between."""
    written: list[dict[str, Any]] = []
    for message in messages:
        if message.role in _SYSTEM:
            for block in message.content:
                if not isinstance(block, Text):
                    raise Unsupported("this provider takes nothing but text from the system", param="messages")
                written += _write_text(block)
    return written


class TurnWriter:
    """Writes the turns of one request. Documents get names of their own.

    `rich_results`: the models take pictures and documents in the result of a tool; else they follow the results.
    """

    def __init__(self, *, rich_results: bool) -> None:
        self._rich_results = rich_results
        self._names: set[str] = set()

    def write(self, messages: list[Message]) -> list[dict[str, Any]]:
        """The turns, those of one side after each other in one; tools answer in a turn of the user."""
        turns: list[dict[str, Any]] = []
        for message in messages:
            content = [] if message.role in _SYSTEM else self._write_content(message.content)
            if not content:
                continue
            role = "assistant" if message.role == "assistant" else "user"
            if turns and turns[-1]["role"] == role:
                turns[-1]["content"] += content
            else:
                turns.append({"role": role, "content": content})
        return turns

    def _write_content(self, blocks: list[Block]) -> list[dict[str, Any]]:
        written: list[dict[str, Any]] = []
        after_results: list[dict[str, Any]] = []
        for block in blocks:
            if isinstance(block, ToolResult):
                written += self._write_result(block, after_results)
            else:
                written += self._write_block(block)
        return written + after_results

    def _write_block(self, block: Block) -> list[dict[str, Any]]:
        """None, one or two: a text may be followed by the mark to keep what leads up to it."""
        if isinstance(block, Text):
            return _write_text(block)
        if isinstance(block, Refusal):
            return _write_text(Text(block.text))
        if isinstance(block, Reasoning):
            return _write_thought(block)
        if isinstance(block, Image):
            return [_write_picture(block)]
        if isinstance(block, File):
            return [self._write_document(block)]
        if isinstance(block, Audio):
            return [{"audio": {"format": block.format, "source": {"bytes": block.data}}}]
        if isinstance(block, ToolCall):
            return [_write_call(block)]
        raise Invalid("a tool's result cannot stand there", param="messages")

    def _write_result(self, result: ToolResult, after_results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        content: list[dict[str, Any]] = []
        for block in result.content:
            if isinstance(block, Text):
                content += [{"text": block.text}] if block.text.strip() else []
            elif self._rich_results:
                content += self._write_block(block)
            else:
                after_results += self._write_block(block)
        written: dict[str, Any] = {"toolUseId": write_id(result.call_id), "content": content}
        if result.error:
            written["status"] = "error"
        kept = any(isinstance(block, Text) and block.cached for block in result.content)
        return [{"toolResult": written}, _CACHE_POINT] if kept else [{"toolResult": written}]

    def _write_document(self, file: File) -> dict[str, Any]:
        if file.data is None:
            raise Unsupported("this provider takes files as data, not by URL or id", param="messages")
        media_type = file.media_type or "application/pdf"
        if media_type not in _DOCUMENTS:
            raise Unsupported(f"this provider takes no documents of the type {media_type[:100]!r}", param="messages")
        name, source = self._name(file.name or "document"), {"bytes": file.data}
        return {"document": {"format": _DOCUMENTS[media_type], "name": name, "source": source}}

    def _name(self, wanted: str) -> str:
        """A name that no other document of the request has, of the characters that are allowed."""
        clean = _BLANKS.sub(" ", _NOT_IN_NAMES.sub("-", wanted)).strip()[:_LONGEST_NAME] or "document"
        name, number = clean, 1
        while name in self._names:
            number += 1
            name = f"{clean[:_LONGEST_STEM]} ({number})"
        self._names.add(name)
        return name


def _write_text(block: Text) -> list[dict[str, Any]]:
    if not block.text.strip():
        return []
    return [{"text": block.text}, _CACHE_POINT] if block.cached else [{"text": block.text}]


def _write_thought(block: Reasoning) -> list[dict[str, Any]]:
    """What was signed or sealed goes back; what nobody signed is refused by models that sign."""
    if block.encrypted is not None:
        return [{"reasoningContent": {"redactedContent": block.encrypted}}]
    if block.signature is None:
        return []
    return [{"reasoningContent": {"reasoningText": {"text": block.text, "signature": block.signature}}}]


def _write_picture(image: Image) -> dict[str, Any]:
    if image.data is None:
        raise Unsupported("this provider takes pictures as data, not by URL", param="messages")
    media_type = image.media_type or "image/png"
    if media_type not in _PICTURES:
        raise Unsupported(f"this provider takes no pictures of the type {media_type[:100]!r}", param="messages")
    return {"image": {"format": _PICTURES[media_type], "source": {"bytes": image.data}}}


def _write_call(call: ToolCall) -> dict[str, Any]:
    written = {"toolUseId": write_id(call.id), "name": call.name, "input": arguments_object(call.arguments)}
    return {"toolUse": written}
