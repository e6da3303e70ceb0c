"""CTranslate2's model.bin, checked before the library reads it: names, shapes and sizes against what is there.

Little-endian: the format's version, the kind of model and its revision, then every variable with its name, shape, type,
size in bytes and data, then other names of variables (`ModelSpec._serialize` in CTranslate2's converters).
"""

import math
from collections.abc import Mapping
from mmap import mmap
from typing import Final

import msgspec

from polyforge.kernel.errors import Invalid

VERSIONS: Final = (4, 5, 6)
MAX_VARIABLES: Final = 100_000
MAX_DIMENSIONS: Final = 8
_ITEM_BYTES: Final = (4, 1, 2, 4, 2, 2)
"""Of float32, int8, int16, int32, float16 and bfloat16, by their number in the file."""


class ModelFacts(msgspec.Struct, frozen=True):
    """The kind of model, as in `TransformerSpec`, and the shape of every variable."""

    kind: str
    shapes: Mapping[str, tuple[int, ...]]


def check_model(content: bytes | mmap) -> ModelFacts:
    """What the file holds; Invalid when it is cut off, absurd, or says of itself what is not so."""
    reader = _Reader(content)
    version = reader.number(4)
    if version not in VERSIONS:
        raise Invalid(
            f"it is no model of CTranslate2, or one of version {version}; {min(VERSIONS)} to "
            f"{max(VERSIONS)} are read: convert it again"
        )
    kind = reader.text()
    reader.number(4)
    count = reader.number(4)
    if count > MAX_VARIABLES:
        raise Invalid(f"it has {count} variables; more than {MAX_VARIABLES} are refused")
    shapes: dict[str, tuple[int, ...]] = {}
    for _ in range(count):
        name, shape = _variable(reader)
        if name in shapes:
            raise Invalid(f"variable {name[:80]!r} is there twice")
        shapes[name] = shape
    for _ in range(reader.number(4, most=MAX_VARIABLES)):
        alias, name = reader.text(), reader.text()
        if name not in shapes:
            raise Invalid(f"{alias[:80]!r} is another name for a variable that is not there")
        shapes[alias] = shapes[name]
    if reader.left:
        raise Invalid(f"{reader.left} bytes follow the end")
    return ModelFacts(kind, shapes)


def _variable(reader: "_Reader") -> tuple[str, tuple[int, ...]]:
    name = reader.text()
    shape = tuple(reader.number(4) for _ in range(reader.number(1, most=MAX_DIMENSIONS)))
    kind = reader.number(1, most=len(_ITEM_BYTES) - 1)
    size = reader.number(4)
    if math.prod(shape) * _ITEM_BYTES[kind] != size:
        raise Invalid(f"variable {name[:80]!r} of shape {list(shape)} has {size} bytes")
    reader.advance(size)
    return name, shape


class _Reader:
    """Where the reading is."""

    def __init__(self, content: bytes | mmap) -> None:
        self._content = content
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._content) - self._at

    def number(self, size: int, most: int | None = None) -> int:
        number = int.from_bytes(self._take(size), "little")
        if most is not None and number > most:
            raise Invalid(f"a number at byte {self._at - size} is {number}; at most {most} can be")
        return number

    def text(self) -> str:
        text = self._take(self.number(2))
        if not text.endswith(b"\0"):
            raise Invalid(f"a name at byte {self._at} has no end")
        try:
            return text[:-1].decode()
        except UnicodeDecodeError as error:
            raise Invalid(f"a name at byte {self._at} is not UTF-8") from error

    def advance(self, size: int) -> None:
        if size > self.left:
            raise Invalid("it is cut off")
        self._at += size

    def _take(self, size: int) -> bytes:
        start = self._at
        self.advance(size)
        return bytes(self._content[start : start + size])
