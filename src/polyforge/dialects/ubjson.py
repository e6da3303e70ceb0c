"""Universal Binary JSON as XGBoost writes it: bytes to plain values, never trusting a length. https://ubjson.org

Of the draft 12 specification: objects without counts, arrays plain, counted, or counted and typed. Typed arrays become
lists of numbers, like all others.
"""

import struct
from typing import Any, Final

from polyforge.kernel.errors import Invalid

MAX_DEPTH: Final = 64
_NUMBERS: Final = {"i": ">b", "U": ">B", "I": ">h", "l": ">i", "L": ">q", "d": ">f", "D": ">d"}
_CONSTANTS: Final = {"Z": None, "T": True, "F": False}


def decode(content: bytes) -> Any:
    """The value that the bytes stand for; Invalid when they are cut off, go on after it, or are something else."""
    reader = _Reader(content)
    value = reader.value(reader.marker(), 0)
    if reader.at != len(content):
        raise Invalid(f"{len(content) - reader.at} bytes follow the end")
    return value


class _Reader:
    """Where the reading is."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.at = 0

    def marker(self) -> str:
        return self._take(1).decode("latin-1")

    def value(self, marker: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise Invalid(f"values lie more than {MAX_DEPTH} deep")
        match marker:
            case "{":
                return self._object(depth)
            case "[":
                return self._array(depth)
            case "S":
                return self._text()
            case "C":
                return self._take(1).decode("latin-1")
            case _ if marker in _CONSTANTS:
                return _CONSTANTS[marker]
            case _:
                return self._number(marker)

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not self._passed(b"}"):
            name = self._text()
            if name in found:
                raise Invalid(f"{name[:40]!r} is there twice")
            found[name] = self.value(self.marker(), depth + 1)
        return found

    def _array(self, depth: int) -> list[Any]:
        kind = self.marker() if self._passed(b"$") else None
        if self._passed(b"#"):
            count = self._length()
            return self._typed(kind, count) if kind else [self.value(self.marker(), depth + 1) for _ in range(count)]
        if kind is not None:
            raise Invalid("an array has a type and no count")
        found: list[Any] = []
        while not self._passed(b"]"):
            found.append(self.value(self.marker(), depth + 1))
        return found

    def _typed(self, kind: str, count: int) -> list[Any]:
        form = _NUMBERS.get(kind)
        if form is None:
            raise Invalid(f"an array of type {kind!r} is not supported")
        return list(struct.unpack(f">{count}{form[1]}", self._take(count * struct.calcsize(form))))

    def _text(self) -> str:
        try:
            return self._take(self._length()).decode()
        except UnicodeDecodeError as error:
            raise Invalid("a text is not UTF-8") from error

    def _length(self) -> int:
        length = self._number(self.marker())
        if not isinstance(length, int) or not 0 <= length <= len(self._content):
            raise Invalid(f"a length of {length} cannot be")
        return length

    def _number(self, marker: str) -> int | float:
        form = _NUMBERS.get(marker)
        if form is None:
            raise Invalid(f"there is no value that begins with {marker!r}, at byte {self.at - 1}")
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _passed(self, mark: bytes) -> bool:
        """Whether this comes next; if so it is passed over."""
        if self._content[self.at : self.at + 1] != mark:
            return False
        self.at += 1
        return True

    def _take(self, count: int) -> bytes:
        part = self._content[self.at : self.at + count]
        if len(part) != count:
            raise Invalid("it is cut off")
        self.at += count
        return part
