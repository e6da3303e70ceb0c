"""Protobuf's text format, read by a schema: what config.pbtxt is written in.

Source: https://protobuf.dev/reference/protobuf/textformat-spec/. Extensions and `Any` are not read.
"""

import math
import re
from typing import Any, Final

from polyforge.dialects.protobuf_schema import MAX_DEPTH, Field, Schema, Values
from polyforge.kernel.errors import Invalid

MAX_CHARACTERS: Final = 1024 * 1024

_BLANK: Final = re.compile(r"(?:\s|#[^\n]*)*+")
_TOKEN: Final = re.compile(
    r"(?P<word>[A-Za-z_]\w*)"
    r"|(?P<number>(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[fF]?)(?!\w))"
    r"|(?P<text>\"(?:[^\"\\\n]|\\.)*+\"|'(?:[^'\\\n]|\\.)*+')"
    r"|(?P<mark>[{}<>\[\]:,;-])",
    re.ASCII,
)
_ESCAPE: Final = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))")
_ESCAPED: Final = {
    b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v",
    b"?": b"?", b"\\": b"\\", b"'": b"'", b'"': b'"',
}  # fmt: skip
_TRUE: Final = frozenset({"true", "True", "t"})
_FALSE: Final = frozenset({"false", "False", "f"})
_CLOSING: Final = {"{": "}", "<": ">"}


def parse(text: str, schema: Schema, message: str) -> Values:
    """The message that a text describes; Invalid says in which line and column what is wrong."""
    if len(text) > MAX_CHARACTERS:
        raise Invalid(f"the text has {len(text)} characters; at most {MAX_CHARACTERS} are read")
    return _Reader(text, schema).whole(message)


class _Misread(Invalid):
    """An error that says where it is."""


class _Reader:
    """One text, read from front to back; `kind` and `piece` are what comes next."""

    def __init__(self, text: str, schema: Schema) -> None:
        self._text = text
        self._schema = schema
        self._at = self._end = 0
        self.kind = self.piece = ""
        self._next()

    def whole(self, message: str) -> Values:
        values = self._message(message, "", 0)
        if self.kind:
            raise self._wrong(f"unexpected {self.piece}")
        return values

    def _message(self, message: str, closing: str, depth: int) -> Values:
        if depth > MAX_DEPTH:
            raise self._wrong("messages are nested too deep")
        values: Values = {}
        while self.piece != closing:
            self._field(values, message, depth)
            if self.piece in (",", ";"):
                self._next()
        return values

    def _field(self, values: Values, message: str, depth: int) -> None:
        if self.kind != "word":
            raise self._wrong(f"expected the name of a field, not {self.piece or 'the end'}")
        line = self._at
        try:
            field = self._schema.field(message, self.piece)
            self._next()
            for value in self._values(field, depth):
                self._schema.put(values, message, field, value)
        except Invalid as error:
            if isinstance(error, _Misread):
                raise
            raise self._error(error.message, line) from error

    def _values(self, field: Field, depth: int) -> list[Any]:
        nested = field.key is not None or field.type in self._schema.messages
        if self.piece == ":":
            self._next()
        elif not nested:
            raise self._wrong(f"expected ':' after {field.name}, not {self.piece or 'the end'}")
        if self.piece != "[":
            return [self._value(field, depth)]
        if not field.repeated and field.key is None:
            raise self._wrong(f"{field.name} is no list")
        return self._list(field, depth)

    def _list(self, field: Field, depth: int) -> list[Any]:
        self._next()
        values: list[Any] = []
        while self.piece != "]":
            values.append(self._value(field, depth))
            if self.piece == ",":
                self._next()
            elif self.piece != "]":
                raise self._wrong(f"expected ',' or ']', not {self.piece or 'the end'}")
        self._next()
        return values

    def _value(self, field: Field, depth: int) -> Any:
        if field.key is not None:
            return self._entry(field, depth)
        if field.type in self._schema.messages:
            return self._nested(field.type, depth)
        return self._schema.scalar(field, self._scalar(field.type))

    def _nested(self, message: str, depth: int) -> Values:
        closing = _CLOSING.get(self.piece)
        if closing is None:
            raise self._wrong(f"expected '{{', not {self.piece or 'the end'}")
        self._next()
        values = self._message(message, closing, depth + 1)
        self._next()
        return values

    def _entry(self, field: Field, depth: int) -> Values:
        """A map's entry is a message of `key` and `value`; what is left out is the default."""
        closing = _CLOSING.get(self.piece)
        if closing is None:
            raise self._wrong(f"expected '{{', not {self.piece or 'the end'}")
        self._next()
        key, value = self._schema.empty_entry(field)
        while self.piece != closing:
            name = self.piece
            self._next()
            if name == "key":
                self._expect(":")
                key = self._schema.key(field, self._scalar(field.key or "string"))
            elif name == "value":
                value = self._entry_value(field, depth)
            else:
                raise self._wrong(f"an entry of {field.name} has 'key' and 'value', no {name or 'end'}")
            if self.piece in (",", ";"):
                self._next()
        self._next()
        return {key: value}

    def _entry_value(self, field: Field, depth: int) -> Any:
        if self.piece == ":":
            self._next()
        elif field.type not in self._schema.messages:
            raise self._wrong("expected ':' after value")
        if field.type in self._schema.messages:
            return self._nested(field.type, depth)
        return self._schema.scalar(field, self._scalar(field.type))

    def _scalar(self, kind: str) -> Any:
        negative = self.piece == "-"
        if negative:
            self._next()
        piece, what = self.piece, self.kind
        if what == "text" and not negative:
            return self._string()
        if what == "number":
            self._next()
            return self._number(piece, kind, negative)
        if what == "word" and (kind in ("float", "double") or not negative):
            self._next()
            return self._word(piece, kind, negative)
        raise self._wrong(f"expected a value, not {piece or 'the end'}")

    def _number(self, piece: str, kind: str, negative: bool) -> Any:
        if kind == "bool" and piece in ("0", "1") and not negative:
            return piece == "1"
        if kind in ("float", "double"):
            number: int | float = float(piece.rstrip("fF"))
        elif piece[:2] in ("0x", "0X"):
            number = int(piece, 16)
        elif not piece.isdigit():
            raise self._wrong(f"{piece} is no whole number")
        elif piece[0] == "0" and not set(piece) <= set("01234567"):
            raise self._wrong(f"{piece} is no octal number")
        else:
            number = int(piece[:24], 8 if piece[0] == "0" else 10)
        return -number if negative else number

    def _word(self, piece: str, kind: str, negative: bool) -> Any:
        if kind == "bool":
            return True if piece in _TRUE else False if piece in _FALSE else piece
        if kind in ("float", "double"):
            infinite = piece.lower() in ("inf", "infinity")
            number = math.inf if infinite else math.nan if piece.lower() == "nan" else None
            if number is None:
                raise self._wrong(f"{piece} is no number")
            return -number if negative else number
        if kind == "string":
            raise self._wrong(f"a string stands in quotes: {piece}")
        return piece

    def _string(self) -> str:
        parts: list[bytes] = []
        while self.kind == "text":
            parts.append(_ESCAPE.sub(self._unescaped, self.piece[1:-1].encode()))
            self._next()
        try:
            return b"".join(parts).decode()
        except UnicodeDecodeError as error:
            raise self._wrong("a string is not UTF-8") from error

    def _unescaped(self, match: re.Match[bytes]) -> bytes:
        octal, hexadecimal, short, long, letter = match.groups()
        if octal or hexadecimal:
            return bytes([(int(octal, 8) if octal else int(hexadecimal, 16)) & 0xFF])
        if short or long:
            return self._character(int(short or long, 16))
        if letter not in _ESCAPED:
            raise self._wrong(f"an unknown escape: \\{letter.decode('utf-8', 'replace')}")
        return _ESCAPED[letter]

    def _character(self, point: int) -> bytes:
        try:
            return chr(point).encode()
        except (ValueError, OverflowError, UnicodeEncodeError) as error:
            raise self._wrong(f"no character has the number {point:x}") from error

    def _expect(self, piece: str) -> None:
        if self.piece != piece:
            raise self._wrong(f"expected '{piece}', not {self.piece or 'the end'}")
        self._next()

    def _next(self) -> None:
        blank = _BLANK.match(self._text, self._end)
        self._at = blank.end() if blank else self._end
        if self._at == len(self._text):
            self.kind = self.piece = ""
            return
        match = _TOKEN.match(self._text, self._at)
        if match is None:
            raise self._wrong(f"unexpected {self._text[self._at]!r}")
        self.kind, self.piece, self._end = match.lastgroup or "", match[0], match.end()

    def _wrong(self, reason: str) -> _Misread:
        return self._error(reason, self._at)

    def _error(self, reason: str, at: int) -> _Misread:
        line = self._text.count("\n", 0, at) + 1
        column = at - self._text.rfind("\n", 0, at)
        return _Misread(f"line {line}, column {column}: {reason}")
