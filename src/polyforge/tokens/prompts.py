"""What a conversation comes to: its texts, and what providers add around messages, tools and pictures.

OpenAI publishes what messages of plain text add (its cookbook, "How to count tokens with tiktoken"), so those counts
are exact. What tools add is measured there too, but not promised. All else is between bounds.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import msgspec

from polyforge.kernel.chat import (
    Audio,
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
    ToolResult,
)
from polyforge.tokens.count import Range, exactly
from polyforge.tokens.families import Family

Measure = Callable[[str], Range]
"""What a text comes to."""

_TURN: Final = 4
"""What OpenAI writes around a message: three tokens, and one for the role."""
_REPLY: Final = exactly(3)
"""What begins the answer."""
_PART: Final = Range(4, 0, 16)
_TOOLS: Final = Range(300, 0, 1_000)
"""The instructions that come with tools; Anthropic documents up to about 800."""
_OPENAI_TOOLS: Final = Range(12, 0, 16)
_SCHEMA: Final = Range(16, 0, 64)
_PICTURE: Final = Range(1_600, 0, 50_000)
_DOCUMENT: Final = Range(1_600, 0, 50_000)
_MOST_TILES: Final = 8
_USUAL_TILES: Final = 4
_EACH_PROPERTY: Final = 3
_EACH_CHOICE: Final = 3


def measure_chat(chat: ChatRequest, measure: Measure, family: Family | None) -> Range:
    """Tokens of a whole prompt."""
    return _Prompt(measure, family).of(chat)


class _Prompt:
    def __init__(self, measure: Measure, family: Family | None) -> None:
        self._measure = measure
        self._family = family

    def of(self, chat: ChatRequest) -> Range:
        total = _REPLY if self._published else _PART
        for message in chat.messages:
            total += self._message(message)
        if chat.tools:
            total += _TOOLS if self._family is None else _OPENAI_TOOLS
        for tool in chat.tools:
            total += self._tool(tool)
        schema = None if chat.output_format is None else chat.output_format.schema
        if schema is not None:
            total += _at_most(self._measure(_text(schema))) + _SCHEMA
        return total

    @property
    def _published(self) -> bool:
        return self._family is not None and self._family.plain

    def _message(self, message: Message) -> Range:
        total = exactly(_TURN) if self._published else _PART
        if message.name is not None:
            total += self._measure(message.name) + (exactly(1) if self._published else _PART)
        for index, block in enumerate(message.content):
            total += self._block(block) if index == 0 else self._block(block) + Range(0, 0, 4)
        return total

    def _block(self, block: Block) -> Range:
        if isinstance(block, Text | Refusal):
            return self._measure(block.text)
        if isinstance(block, Reasoning):
            sealed = block.encrypted or block.signature or ""
            return _at_most(self._measure(block.text + sealed)) + _PART
        if isinstance(block, Image):
            return self._picture(block)
        if isinstance(block, File | Audio):
            return _DOCUMENT
        if isinstance(block, ToolCall):
            return self._call(block)
        return self._result(block)

    def _call(self, block: ToolCall) -> Range:
        return self._measure(block.name) + self._measure(block.arguments) + _PART

    def _result(self, block: ToolResult) -> Range:
        total = _PART
        for part in block.content:
            total += self._block(part)
        return total

    def _picture(self, picture: Image) -> Range:
        """OpenAI: at least its base, at most 8 squares of 512 pixels once it is scaled down."""
        family = self._family
        if family is None:
            return _PICTURE
        if picture.detail == "low":
            return exactly(family.picture)
        usual = family.picture + _USUAL_TILES * family.tile
        return Range(usual, family.picture, family.picture + _MOST_TILES * family.tile)

    def _tool(self, tool: Tool) -> Range:
        schema = "" if tool.parameters is None else _text(tool.parameters)
        name, description = self._measure(tool.name), self._measure(tool.description or "")
        whole = name + description + self._measure(schema) + _PART
        family = self._family
        if family is None:
            return Range(whole.likely, name.low, whole.high)
        likely = family.tool + name.likely + description.likely + self._properties(schema)
        return Range(min(likely, whole.high), name.low, whole.high)

    def _properties(self, schema: str) -> int:
        """What OpenAI makes of a flat schema: a line for each property."""
        properties = _mapping(_mapping(_decoded(schema)).get("properties"))
        if not properties:
            return 0
        return _EACH_PROPERTY + sum(self._property(key, _mapping(value)) for key, value in properties.items())

    def _property(self, key: str, declared: Mapping[str, Any]) -> int:
        line = f"{key}:{declared.get('type', '')}:{str(declared.get('description', '')).removesuffix('.')}"
        total = _EACH_PROPERTY + self._measure(line).likely
        choices: Any = declared.get("enum")
        if isinstance(choices, list):
            items = cast(list[Any], choices)
            total += sum(_EACH_CHOICE + self._measure(str(item)).likely for item in items) - _EACH_CHOICE
        return total


def _at_most(measured: Range) -> Range:
    """Of what may be left out."""
    return Range(measured.likely, 0, measured.high)


def _decoded(schema: str) -> Any:
    try:
        return msgspec.json.decode(schema)
    except msgspec.DecodeError:
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], value) if isinstance(value, dict) else {}


def _text(raw: msgspec.Raw) -> str:
    return bytes(raw).decode(errors="replace")
