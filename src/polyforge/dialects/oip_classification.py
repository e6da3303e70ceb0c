"""Triton's classification extension: the largest elements of an output as `value:index[:label]`. A pure function."""

import math
import struct
from collections.abc import Sequence
from typing import Any

from polyforge.dialects.oip import STRUCT_CODES
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tensors import Tensor, pack_strings


def classified(tensor: Tensor, count: int, labels: Sequence[str], *, has_rows: bool) -> Tensor:
    """The `count` largest elements of each row, or of the whole tensor when it has none, largest first.

    BYTES of shape [rows, count], or [count]; fewer when there are not so many. Of equal ones the first comes first,
    and what is no number last. Invalid for a type that has no order.
    """
    code = "e" if tensor.datatype == "FP16" else STRUCT_CODES.get(tensor.datatype)
    if code is None or tensor.datatype == "BOOL":
        raise Invalid(f"class result not available for output due to unsupported type '{tensor.datatype}'")
    values = struct.unpack(f"<{tensor.count}{code}", memoryview(tensor.data).cast("B"))
    rows = tensor.shape[0] if has_rows and tensor.shape else 1
    width = len(values) // rows if rows else 0
    kept = min(count, width)
    texts = [
        text
        for start in range(0, rows * width, width or 1)
        for text in _largest(values[start : start + width], kept, labels)
    ]
    return Tensor(tensor.name, "BYTES", (rows, kept) if has_rows else (kept,), pack_strings(texts))


def _largest(values: Sequence[Any], count: int, labels: Sequence[str]) -> list[bytes]:
    order = sorted(range(len(values)), key=lambda place: (math.isnan(values[place]), -values[place]))
    return [_text(values[place], place, labels).encode() for place in order[:count]]


def _text(value: float, place: int, labels: Sequence[str]) -> str:
    shown = f"{value:f}" if isinstance(value, float) else str(value)
    label = labels[place] if place < len(labels) else ""
    return f"{shown}:{place}:{label}" if label else f"{shown}:{place}"
