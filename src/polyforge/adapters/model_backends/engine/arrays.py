"""Tensors as numpy arrays and back. Numbers are not copied; strings become Python texts."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from polyforge.kernel.errors import Invalid
from polyforge.kernel.tensors import Datatype, Tensor, pack_strings, unpack_strings

Array = NDArray[Any]

DTYPES: dict[Datatype, str] = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "BYTES": "O",
}
"""numpy's name of each datatype that it has; BF16 is not among them."""


def array_of(tensor: Tensor) -> Array:
    """The elements of a tensor, read-only; texts for BYTES. Invalid, naming the tensor, when they are not right."""
    if tensor.datatype == "BYTES":
        array = np.empty(tensor.count, object)
        array[:] = texts_of(tensor)
        return array.reshape(tensor.shape)
    try:
        return np.frombuffer(memoryview(tensor.data), DTYPES[tensor.datatype]).reshape(tensor.shape)
    except ValueError as error:
        raise Invalid(f"{tensor.name}: its data does not fit its shape", param=tensor.name) from error


def texts_of(tensor: Tensor) -> list[str]:
    """The elements of a BYTES tensor as texts; Invalid when one is not UTF-8, or when there are too few or many."""
    try:
        return [value.decode() for value in unpack_strings(tensor.data, tensor.count)]
    except UnicodeDecodeError as error:
        raise Invalid(f"{tensor.name}: a text is not UTF-8", param=tensor.name) from error
    except ValueError as error:
        raise Invalid(f"{tensor.name}: {error}", param=tensor.name) from error


def tensor_of(name: str, datatype: Datatype, array: Array) -> Tensor:
    """An array as a tensor that shares its memory; strings are packed."""
    shape = tuple(array.shape)
    if datatype == "BYTES":
        return Tensor(name, datatype, shape, pack_strings(str(value).encode() for value in array.reshape(-1)))
    flat = np.ascontiguousarray(array, DTYPES[datatype]).reshape(-1)
    # As plain bytes: what handles tensors knows nothing of numpy's element formats.
    return Tensor(name, datatype, shape, flat.view(np.uint8).data)


def much_alike(left: Array, right: Array) -> bool:
    """Whether two arrays are equal but for rounding: floats to 2e-3 of the largest, everything else exactly."""
    if left.shape != right.shape:
        return False
    if left.dtype.kind != "f":
        return bool(np.array_equal(left, right))
    finite = np.isfinite(left)
    if not np.array_equal(finite, np.isfinite(right)) or not np.array_equal(left[~finite], right[~finite], True):
        return False
    a, b = left[finite].astype(np.float64), right[finite].astype(np.float64)
    return not a.size or bool(np.abs(a - b).max() <= ROUNDING * np.abs(a).max())


ROUNDING = 2e-3
