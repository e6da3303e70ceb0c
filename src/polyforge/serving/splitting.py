"""A large request in parts: its rows, sorted by length where they have several, computed apart and put together again.

Only for models whose rows are independent of each other and whose answers have one shape for every row.
"""

from collections.abc import Sequence

import msgspec

from polyforge.kernel.tensors import Tensor, pack_strings, unpack_strings
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature
from polyforge.serving.plan import Plan

PART_BRIEFS = 32
"""A part takes at least so many times what is too brief for a thread: some 3 ms."""
MIN_PART_ROWS = 4
MAX_PARTS = 256

_Places = range | list[int]


class Part(msgspec.Struct, frozen=True, gc=False):
    """Some rows of a request, and where in it they were; None: all of them."""

    request: ModelRequest
    rows: int
    places: _Places | None = None


def split(request: ModelRequest, rows: int, signature: Signature, plan: Plan) -> list[Part]:
    """The parts of a request that are worth a run each; the request alone when it is small or must stay whole."""
    most = max(plan.batch_rows, MIN_PART_ROWS, -(-rows // MAX_PARTS))
    if rows <= most or not _may_split(signature):
        return [Part(request, rows)]
    size = request.size
    most = max(most, PART_BRIEFS * signature.brief_bytes * rows // max(1, size))
    if rows <= most:
        return [Part(request, rows)]
    if all(tensor.datatype != "BYTES" for tensor in request.inputs.values()):
        return [_part(request, rows, range(start, min(start + most, rows))) for start in range(0, rows, most)]
    return _by_length(request, rows, most, plan.batch_bytes)


def rejoined(parts: Sequence[Part], answers: Sequence[Outputs]) -> Outputs:
    """The answer to the whole request; ValueError when an answer has not the rows or the shape that it should have."""
    return tuple(_rejoined(parts, tensors) for tensors in zip(*answers, strict=True))


def _may_split(signature: Signature) -> bool:
    independent = signature.batch_rows > 1 or (signature.batch_rows == 1 and signature.independent_rows)
    return independent and not signature.stateful and all(-1 not in spec.shape[1:] for spec in signature.outputs)


def _part(request: ModelRequest, rows: int, places: range) -> Part:
    inputs = {name: _slice(tensor, rows, places) for name, tensor in request.inputs.items()}
    return Part(msgspec.structs.replace(request, inputs=inputs), len(places), places)


def _slice(tensor: Tensor, rows: int, places: range) -> Tensor:
    view = memoryview(tensor.data).cast("B")
    step = len(view) // rows
    data = view[places.start * step : places.stop * step]
    return msgspec.structs.replace(tensor, shape=(len(places), *tensor.shape[1:]), data=data)


def _by_length(request: ModelRequest, rows: int, most: int, max_bytes: int) -> list[Part]:
    pieces = {name: _pieces(tensor, rows) for name, tensor in request.inputs.items()}
    lengths = [sum(len(rows_of[place]) for rows_of in pieces.values()) for place in range(rows)]
    groups: list[list[int]] = [[]]
    for place in sorted(range(rows), key=lengths.__getitem__):
        # Rows come ever longer, so this one would be the longest of its group.
        padded = lengths[place] * (len(groups[-1]) + 1)
        if len(groups[-1]) >= (MIN_PART_ROWS if 0 < max_bytes < padded else most):
            groups.append([])
        groups[-1].append(place)
    return [_gathered(request, pieces, group) for group in groups]


def _gathered(request: ModelRequest, pieces: dict[str, list[bytes]], places: list[int]) -> Part:
    inputs = {
        name: msgspec.structs.replace(
            tensor,
            shape=(len(places), *tensor.shape[1:]),
            data=b"".join([pieces[name][place] for place in places]),
        )
        for name, tensor in request.inputs.items()
    }
    return Part(msgspec.structs.replace(request, inputs=inputs), len(places), places)


def _pieces(tensor: Tensor, rows: int) -> list[bytes]:
    """The bytes of each row."""
    if tensor.datatype != "BYTES":
        data = bytes(tensor.data)
        step = len(data) // rows
        return [data[place * step : (place + 1) * step] for place in range(rows)]
    values = unpack_strings(tensor.data, tensor.count)
    step = len(values) // rows
    return [pack_strings(values[place * step : (place + 1) * step]) for place in range(rows)]


def _rejoined(parts: Sequence[Part], tensors: Sequence[Tensor]) -> Tensor:
    first = tensors[0]
    for part, tensor in zip(parts, tensors, strict=True):
        if tensor.shape != (part.rows, *first.shape[1:]) or tensor.datatype != first.datatype:
            raise ValueError(f"output '{tensor.name}' has shape {list(tensor.shape)} for {part.rows} rows")
    rows = sum(part.rows for part in parts)
    in_order = all(isinstance(part.places, range) for part in parts)
    data = b"".join([tensor.data for tensor in tensors]) if in_order else _sorted_back(parts, tensors, rows)
    return msgspec.structs.replace(first, shape=(rows, *first.shape[1:]), data=data)


def _sorted_back(parts: Sequence[Part], tensors: Sequence[Tensor], rows: int) -> bytes:
    ordered: list[bytes] = [b""] * rows
    for part, tensor in zip(parts, tensors, strict=True):
        for place, piece in zip(part.places or (), _pieces(tensor, part.rows), strict=True):
            ordered[place] = piece
    return b"".join(ordered)
