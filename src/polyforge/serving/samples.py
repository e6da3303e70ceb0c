"""Made-up requests of one row each, of mixed lengths, for a model of which nothing is known but its signature."""

import math
import random
import struct
from collections.abc import Sequence

from polyforge.kernel.tensors import ITEM_BYTES, Datatype, Tensor, TensorSpec, pack_strings
from polyforge.ports.model_backend import ModelRequest, Signature

SHORTEST = 5
LONGEST = 200
"""Words of a text, or places of a free dimension."""
MAX_BYTES = 1 << 24
SEED = 7
_WORDS = ("the", "of", "and", "river", "stone", "light", "seven", "winter", "carries", "answer", "open", "machine")
_PATTERN = 251
"""Values that a tensor is filled with, over and over: a prime, so that no two rows are alike."""


def mixed_lengths(count: int) -> list[int]:
    """Lengths between the shortest and the longest, evenly spread."""
    return [SHORTEST + (LONGEST - SHORTEST) * place // max(1, count - 1) for place in range(count)]


def made_up(signature: Signature, lengths: Sequence[int]) -> list[ModelRequest]:
    """One request for each length; none when they would be too large."""
    generator = random.Random(SEED)
    requests: list[ModelRequest] = []
    for length in lengths:
        tensors = [_tensor(spec, length, signature.batch_rows > 0, generator) for spec in signature.inputs]
        if any(tensor is None for tensor in tensors):
            return []
        requests.append(ModelRequest({tensor.name: tensor for tensor in tensors if tensor is not None}, {}))
    return requests


def _tensor(spec: TensorSpec, length: int, has_rows: bool, generator: random.Random) -> Tensor | None:
    text = spec.datatype == "BYTES"
    free = 1 if text else length
    shape = tuple(free if extent < 0 else extent for extent in spec.shape)
    if has_rows and shape:
        shape = (1, *shape[1:])
    count = math.prod(shape)
    if count * (length * 8 if text else ITEM_BYTES[spec.datatype]) > MAX_BYTES:
        return None
    if text:
        values = [" ".join(generator.choices(_WORDS, k=length)).encode() for _ in range(count)]
        return Tensor(spec.name, spec.datatype, shape, pack_strings(values))
    pattern = _pattern(spec.datatype, generator)
    size = count * ITEM_BYTES[spec.datatype]
    return Tensor(spec.name, spec.datatype, shape, (pattern * (size // len(pattern) + 1))[:size])


def _pattern(datatype: Datatype, generator: random.Random) -> bytes:
    """Fractions; and zeros and ones for whole numbers, which as ids are known to every model."""
    if datatype in ("FP16", "FP32", "FP64"):
        code = {"FP16": "e", "FP32": "f", "FP64": "d"}[datatype]
        return struct.pack(f"<{_PATTERN}{code}", *(generator.random() for _ in range(_PATTERN)))
    if datatype == "BF16":
        return b"".join(struct.pack("<f", generator.random())[2:] for _ in range(_PATTERN))
    # A mask that leaves nothing over has no answer, so the first is one.
    bits = [1, *(generator.randrange(2) for _ in range(_PATTERN - 1))]
    return b"".join(bit.to_bytes(ITEM_BYTES[datatype], "little") for bit in bits)
