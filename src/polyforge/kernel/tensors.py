"""Tensors as typed buffers: what travels between callers, the model host and its backends, without numpy.

The layout is that of the Open Inference Protocol's binary form: little-endian, row-major, `BOOL` one byte each, `BYTES`
as a 4-byte length before every element.
"""

import math
from collections.abc import Iterable
from typing import Literal

import msgspec
from typing_extensions import Buffer

Datatype = Literal[
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "BF16",
    "FP32",
    "FP64",
    "BYTES",
]

Parameter = bool | int | float | str
"""The value of a request or tensor parameter."""

ITEM_BYTES: dict[Datatype, int] = {
    "BOOL": 1,
    "UINT8": 1,
    "UINT16": 2,
    "UINT32": 4,
    "UINT64": 8,
    "INT8": 1,
    "INT16": 2,
    "INT32": 4,
    "INT64": 8,
    "FP16": 2,
    "BF16": 2,
    "FP32": 4,
    "FP64": 8,
}
"""Bytes per element of every datatype but BYTES, whose elements vary."""


class Tensor(msgspec.Struct, frozen=True, gc=False):
    """One named tensor; `data` holds its elements as they travel."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    data: Buffer

    @property
    def count(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)


class TensorSpec(msgspec.Struct, frozen=True):
    """What a model takes or gives under a name; -1 in `shape` stands for any size."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]

    def admits(self, tensor: Tensor) -> bool:
        """Whether a tensor has this datatype and fits this shape; names are not compared."""
        if tensor.datatype != self.datatype or len(tensor.shape) != len(self.shape):
            return False
        return all(wanted in (-1, given) for wanted, given in zip(self.shape, tensor.shape, strict=True))


def pack_strings(values: Iterable[bytes]) -> bytes:
    """The elements of a BYTES tensor as they travel; ValueError for one of 4 GiB or more."""
    parts: list[bytes] = []
    for value in values:
        if len(value) >= 1 << 32:
            raise ValueError("an element of a BYTES tensor must be shorter than 4 GiB")
        parts.append(len(value).to_bytes(4, "little"))
        parts.append(value)
    return b"".join(parts)


def unpack_strings(data: Buffer, count: int) -> list[bytes]:
    """The `count` elements of a BYTES tensor; ValueError when the buffer holds more, fewer or a cut one."""
    view = bytes(data)
    values: list[bytes] = []
    at = 0
    while at < len(view):
        start = at + 4
        end = start + int.from_bytes(view[at:start], "little")
        if start > len(view) or end > len(view):
            raise ValueError("a string element is cut off")
        values.append(view[start:end])
        at = end
        if len(values) > count:
            break
    if len(values) != count:
        raise ValueError(f"expected {count} string elements, got {'more' if len(values) > count else len(values)}")
    return values
