"""Warm-up samples of a Triton configuration, as requests that the model is given before it is ready."""

import math
import random
import struct
from pathlib import Path

from polyforge.dialects import triton_config
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tensors import ITEM_BYTES, Datatype, Tensor, pack_strings, unpack_strings
from polyforge.ports.model_backend import ModelRequest
from polyforge.serving.triton.config import WarmUp, WarmUpInput
from polyforge.serving.triton.layout import TritonModel, inside, read_bytes

FOLDER = "warmup"
MAX_BYTES = 256 * 1024 * 1024
SEED = 0
BLOCK = 4096
"""Numbers that are made up before they come again."""


def sample_request(model: TritonModel, sample: WarmUp) -> ModelRequest:
    """The request of one sample; Invalid says what is wrong with it."""
    inputs = {name: _tensor(model, sample, name, given) for name, given in sample.inputs.items()}
    return ModelRequest(inputs, {})


def _tensor(model: TritonModel, sample: WarmUp, name: str, given: WarmUpInput) -> Tensor:
    datatype = triton_config.datatype_of(given.data_type)
    count = math.prod(given.dims)
    rows = max(1, sample.batch_size)
    if count * rows * ITEM_BYTES.get(datatype, 4) > MAX_BYTES:
        raise Invalid(f"model_warmup '{sample.name}': input '{name}' is larger than {MAX_BYTES} bytes")
    row = _row(model.folder, sample, name, given, datatype)
    shape = (rows, *given.dims) if model.config.batched else given.dims
    return Tensor(name, datatype, shape, row * rows if model.config.batched else row)


def _row(folder: Path, sample: WarmUp, name: str, given: WarmUpInput, datatype: Datatype) -> bytes:
    count = math.prod(given.dims)
    if given.input_data_file is not None:
        return _from_file(folder, sample, name, given.input_data_file, datatype, count)
    if datatype == "BYTES":
        return pack_strings([b""]) * count
    if given.random_data is not None:
        return _random(datatype, count)
    return bytes(count * ITEM_BYTES[datatype])


def _from_file(folder: Path, sample: WarmUp, name: str, file: str, datatype: Datatype, count: int) -> bytes:
    content = read_bytes(inside(folder / FOLDER, file), MAX_BYTES)
    where = f"model_warmup '{sample.name}': {file} of input '{name}'"
    if datatype != "BYTES":
        if len(content) != count * ITEM_BYTES[datatype]:
            raise Invalid(f"{where} has {len(content)} bytes, expecting {count * ITEM_BYTES[datatype]}")
        return content
    try:
        unpack_strings(content, count)
    except ValueError as error:
        raise Invalid(f"{where}: {error}") from error
    return content


def _random(datatype: Datatype, count: int) -> bytes:
    """Fractions, and zeros and ones for whole numbers: larger ones would be no ids that a model knows.

    They come again after a while, since a number in Python takes many times the memory of one in a tensor.
    """
    block = _random_block(datatype, min(count, BLOCK))
    whole, rest = divmod(count, BLOCK)
    return block * whole + block[: rest * ITEM_BYTES[datatype]]


def _random_block(datatype: Datatype, count: int) -> bytes:
    source = random.Random(SEED)
    if datatype in ("FP32", "FP64"):
        code = "f" if datatype == "FP32" else "d"
        return struct.pack(f"<{count}{code}", *(source.random() for _ in range(count)))
    if datatype in ("FP16", "BF16"):
        return bytes(count * ITEM_BYTES[datatype])
    bits = source.randbytes(count)
    padding = bytes(ITEM_BYTES[datatype] - 1)
    return b"".join(bytes((bit & 1,)) + padding for bit in bits)
