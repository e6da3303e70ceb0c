"""Arrays out of safetensors files, without their library."""

import math
import mmap
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from polyforge.adapters.model_backends.engine.arrays import Array
from polyforge.adapters.model_backends.engine.files import decode_json
from polyforge.kernel.errors import Invalid

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 1024 * 1024

_DTYPES = {
    "I8": "<i1",
    "I32": "<i4",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
}


class _Entry(msgspec.Struct):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


class Safetensors:
    """Arrays over a memory-mapped safetensors file: 8 bytes of length, a JSON header, raw little-endian data.

    Source: https://github.com/huggingface/safetensors#format
    """

    def __init__(self, path: Path, name: str) -> None:
        self._name = name
        self._map = self._open(path)
        header_bytes = int.from_bytes(self._map[:LENGTH_BYTES], "little")
        self._start = LENGTH_BYTES + header_bytes
        if header_bytes > MAX_HEADER_BYTES or self._start > len(self._map):
            raise Invalid(f"{self._name}: the header is cut off, or this is no safetensors file")
        header = decode_json(self._map[LENGTH_BYTES : self._start], dict[str, msgspec.Raw], self._name)
        self._entries = {
            name: decode_json(bytes(raw), _Entry, f"{self._name}: {name}")
            for name, raw in header.items()
            if name != "__metadata__"
        }

    def _open(self, path: Path) -> mmap.mmap:
        try:
            with path.open("rb") as file:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise Invalid(f"cannot read {self._name}: {error.strerror}") from error
        except ValueError as error:
            raise Invalid(f"{self._name}: the file is empty") from error

    def get(self, name: str, rank: int, dtypes: Sequence[str]) -> Array | None:
        """The tensor under `name`, of `rank` dimensions and one of `dtypes`; None when there is none."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        if entry.dtype not in dtypes or len(entry.shape) != rank or min(entry.shape) < 0:
            raise Invalid(
                f"{self._name}: {name!r} is {entry.dtype} {entry.shape}; "
                f"expected {rank} dimensions of {' or '.join(dtypes)}"
            )
        dtype = np.dtype(_DTYPES[entry.dtype])
        begin, end = entry.data_offsets
        count = math.prod(entry.shape)
        if begin < 0 or end - begin != count * dtype.itemsize or self._start + end > len(self._map):
            raise Invalid(f"{self._name}: the data of {name!r} is cut off, or its header is wrong")
        return np.frombuffer(self._map, dtype, count, self._start + begin).reshape(entry.shape)
