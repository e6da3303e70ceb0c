"""What a row gets for its call: columns instead of the answer's own shape. Pure."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from polyforge.dialects.openai_batches import BatchUsage, Line
from polyforge.kernel.errors import PolyforgeError
from polyforge.kernel.money import Micros, to_usd

_encode: Final = msgspec.json.Encoder().encode


class _Message(msgspec.Struct, gc=False):
    content: Any = None
    refusal: str | None = None
    tool_calls: list[Any] | None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message | None = None
    text: str | None = None


class _Part(msgspec.Struct, gc=False):
    text: str = ""


class _Item(msgspec.Struct, gc=False):
    type: str = ""
    content: list[_Part] | None = None


class _Vector(msgspec.Struct, gc=False):
    embedding: msgspec.Raw


class _Body(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    output: list[_Item] | None = None
    data: list[_Vector] | None = None


_body: Final = msgspec.json.Decoder(_Body).decode


class TableWriter:
    """Writes an object of the added columns for each row."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def answer(self, line: Line, request_id: str, body: bytes, used: BatchUsage, price: Micros) -> bytes:
        """It was answered."""
        del line, request_id
        return self._written(said_in(body), None, used, price)

    def refusal(self, line: Line, error: PolyforgeError) -> bytes:
        """It was refused for good."""
        del line
        return self._written(None, f"{error.code}: {error.message}", BatchUsage(), 0)

    def undone(self, line: Line, code: str, message: str) -> bytes:
        """Its call was never made."""
        del line
        return self._written(None, f"{code}: {message}", BatchUsage(), 0)

    def _written(self, answer: Any, error: str | None, used: BatchUsage, price: Micros) -> bytes:
        values = (answer, error, used.input_tokens, used.output_tokens, float(to_usd(price)))
        return _encode(dict(zip(self._names, values, strict=True))) + b"\n"


def said_in(body: bytes) -> Any:
    """What an answer says: its text, the tools it calls as JSON, or a vector; the whole where it has another shape."""
    try:
        found = _body(body)
    except (msgspec.DecodeError, RecursionError):
        return body.decode(errors="replace")
    if found.choices:
        return _of_choice(found.choices[0])
    if found.output is not None:
        parts = [part.text for item in found.output if item.type == "message" for part in item.content or ()]
        return "".join(parts)
    return found.data[0].embedding if found.data else body.decode(errors="replace")


def _of_choice(choice: _Choice) -> str:
    message = choice.message
    if message is None:
        return choice.text or ""
    if isinstance(message.content, str) and message.content:
        return message.content
    if message.tool_calls:
        return _encode(message.tool_calls).decode()
    return message.refusal or ("" if message.content is None else _encode(message.content).decode())
