"""The texts of conversations and answers: taken out to be judged, and put back changed."""

import base64
import binascii
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

import msgspec

from polyforge.kernel.chat import (
    Block,
    ChatRequest,
    ChatResult,
    Choice,
    File,
    Message,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from polyforge.ports.guardrail import Part, Passage

_Holder = TypeVar("_Holder", Message, Choice)
_PARTS: dict[type[Any], tuple[str, Part]] = {
    Text: ("text", "text"),
    Reasoning: ("text", "reasoning"),
    Refusal: ("text", "refusal"),
    ToolCall: ("arguments", "arguments"),
}
"""The field of each block that is text, and what it is; pictures and sound have none."""
_TEXTUAL: Final = ("text/", "application/json", "application/xml", "application/yaml", "application/x-ndjson")
"""Media types of documents that are texts; others are let be, for only their provider can read them."""


def asked(chat: ChatRequest) -> list[Passage]:
    """Every text that the model's provider would read, in order; last, what the end user is called."""
    found = [passage for message in chat.messages for passage in _of_blocks(message.content, message.role)]
    return [*found, Passage(chat.user, "name")] if chat.user else found


def answered(result: ChatResult) -> list[Passage]:
    """Every text of an answer, in order."""
    return [passage for choice in result.choices for passage in _of_blocks(choice.content, "assistant")]


def with_asked(chat: ChatRequest, texts: Iterable[str]) -> ChatRequest:
    """A request with other texts, which are as many as `asked` gives, in its order."""
    left = iter(texts)
    messages = [_replaced(message, left) for message in chat.messages]
    return msgspec.structs.replace(chat, messages=messages, user=next(left) if chat.user else chat.user)


def with_answered(result: ChatResult, texts: Iterable[str]) -> ChatResult:
    """An answer with other texts, which are as many as `answered` gives; without odds of the tokens that it had."""
    left = iter(texts)
    choices = [msgspec.structs.replace(_replaced(choice, left), logprobs=None) for choice in result.choices]
    return msgspec.structs.replace(result, choices=choices)


def texts_of(passages: Iterable[Passage]) -> list[str]:
    """The texts alone."""
    return [passage.text for passage in passages]


def retold(passages: Sequence[Passage], texts: Sequence[str]) -> list[Passage]:
    """The same passages with other texts."""
    return [
        passage if passage.text == text else msgspec.structs.replace(passage, text=text)
        for passage, text in zip(passages, texts, strict=True)
    ]


def _of_blocks(blocks: Iterable[Block], role: str) -> Iterator[Passage]:
    for block in blocks:
        if isinstance(block, ToolResult):
            for part in block.content:
                if (text := _text_of(part)) is not None:
                    yield Passage(text, "result", role)
        elif (text := _text_of(block)) is not None:
            yield Passage(text, _PARTS.get(type(block), ("", "text"))[1], role)


def _text_of(block: Block) -> str | None:
    """The text of a block that has one."""
    if isinstance(block, File):
        return _document(block)
    known = _PARTS.get(type(block))
    return None if known is None else getattr(block, known[0])


def _document(file: File) -> str | None:
    """A document that is a text; one that says so and is none can be read by nobody."""
    if file.data is None or not (file.media_type or "").lower().startswith(_TEXTUAL):
        return None
    try:
        return base64.b64decode(file.data).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _replaced(holder: _Holder, left: Iterator[str]) -> _Holder:
    return msgspec.structs.replace(holder, content=[_with_text(block, left) for block in holder.content])


def _with_text(block: Block, left: Iterator[str]) -> Block:
    if isinstance(block, ToolResult):
        return msgspec.structs.replace(block, content=[_with_text(part, left) for part in block.content])
    old = _text_of(block)
    if old is None or (text := next(left)) == old:
        return block
    if isinstance(block, File):
        return msgspec.structs.replace(block, data=base64.b64encode(text.encode()).decode())
    return msgspec.structs.replace(block, **{_PARTS[type(block)][0]: text})
