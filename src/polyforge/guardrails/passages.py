"""The texts of conversations and answers: taken out to be judged, and put back changed."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from polyforge.kernel.chat import (
    Block,
    ChatRequest,
    ChatResult,
    Choice,
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
"""The field of each block that is text, and what it is; pictures, files and sound have none."""


def asked(chat: ChatRequest) -> list[Passage]:
    """Every text that the model would read, in order."""
    return [passage for message in chat.messages for passage in _of_blocks(message.content, message.role)]


def answered(result: ChatResult) -> list[Passage]:
    """Every text of an answer, in order."""
    return [passage for choice in result.choices for passage in _of_blocks(choice.content, "assistant")]


def with_asked(chat: ChatRequest, texts: Iterable[str]) -> ChatRequest:
    """A request with other texts, which are as many as `asked` gives, in its order."""
    left = iter(texts)
    messages = [_replaced(message, left) for message in chat.messages]
    return msgspec.structs.replace(chat, messages=messages)


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
                if isinstance(part, Text):
                    yield Passage(part.text, "result", role)
        elif (known := _PARTS.get(type(block))) is not None:
            yield Passage(getattr(block, known[0]), known[1], role)


def _replaced(holder: _Holder, left: Iterator[str]) -> _Holder:
    return msgspec.structs.replace(holder, content=[_with_text(block, left) for block in holder.content])


def _with_text(block: Block, left: Iterator[str]) -> Block:
    if isinstance(block, ToolResult):
        content = [_with_text(part, left) if isinstance(part, Text) else part for part in block.content]
        return msgspec.structs.replace(block, content=content)
    known = _PARTS.get(type(block))
    if known is None:
        return block
    text = next(left)
    return block if getattr(block, known[0]) == text else msgspec.structs.replace(block, **{known[0]: text})
