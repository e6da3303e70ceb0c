"""What an ONNX file says of itself, read without running it: operators, operator sets, and where its weights lie.

Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3. Reads protobuf's wire format directly, because only a
few fields are needed, the weights may be gigabytes (they are stepped over, never copied), and what is read here is not
trusted yet: an engine gets to see the file only afterwards.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator

import msgspec
from typing_extensions import Buffer

from polyforge.kernel.errors import Invalid

MAX_DEPTH = 32
"""Graphs within graphs: the bodies of loops and branches."""
MAX_PARTS = 2_000_000
"""Graphs, nodes, attributes and tensors of one file."""
MAX_ELEMENTS = 1 << 40
"""Of one tensor. The largest weights of today's models have some 2^33."""
MAX_DIMENSIONS = 64
"""Of one tensor; engines stop at 8 to 32."""
MAX_SHOWN = 100
"""Characters of a name from the file in what is said of it."""
DEFAULT_DOMAINS = frozenset({"", "ai.onnx"})

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10
_EXTERNAL = 1
_BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128,
    16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2,
}  # fmt: skip
"""Bits per element by TensorProto.DataType; 8, strings, has none."""

_DIMS, _DATA_TYPE, _NAME, _RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 1, 2, 8, 9, 13, 14
_LISTED = (4, 5, 6, 7, 10, 11)
"""Fields of TensorProto; the last hold elements one by one, as numbers or strings of some type."""


class ExternalData(msgspec.Struct, frozen=True):
    """Weights in another file: its path as the graph has it, and where in it; `length` 0 means to its end."""

    tensor: str
    location: str
    offset: int
    length: int


class GraphFacts(msgspec.Struct, frozen=True):
    """What is in a file. `operators` counts them by name, with the domain in front unless it is ONNX's own."""

    operators: dict[str, int]
    operator_sets: dict[str, int]
    external: tuple[ExternalData, ...]


class Reader:
    """Fields of messages in one buffer; Invalid when a message is cut off or is none."""

    def __init__(self, data: Buffer) -> None:
        self.view = memoryview(data).cast("B").toreadonly()

    def fields(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Number, start and end of each field of the message there; a number's value stands as the start, end -1."""
        at = start
        while at < end:
            key, at = self._varint(at, end)
            wire = key & 7
            if wire == _VARINT:
                value, at = self._varint(at, end)
                yield key >> 3, value, -1
                continue
            if wire == _BYTES:
                size, at = self._varint(at, end)
            elif wire in (_FIXED64, _FIXED32):
                size = 8 if wire == _FIXED64 else 4
            else:
                raise Invalid("it is no ONNX graph, or it is damaged")
            if size > end - at:
                raise Invalid("it is cut off, or it is no ONNX graph")
            yield key >> 3, at, at + size
            at += size

    def text(self, start: int, end: int) -> str:
        """The UTF-8 text of a field."""
        if end < 0:
            raise Invalid("it is no ONNX graph, or it is damaged")
        try:
            return bytes(self.view[start:end]).decode()
        except UnicodeDecodeError as error:
            raise Invalid("it is no ONNX graph, or it is damaged: a name is not UTF-8") from error

    def integers(self, start: int, end: int) -> Iterator[int]:
        """The numbers of a repeated field, packed or one by one, as signed 64-bit integers."""
        if end < 0:
            yield _signed(start)
        at = start
        while at < end:
            value, at = self._varint(at, end)
            yield _signed(value)

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = 0
        for place in range(_MAX_VARINT_BYTES):
            if at >= end:
                raise Invalid("it is cut off, or it is no ONNX graph")
            byte = self.view[at]
            at += 1
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:  # noqa: PLR2004  the continuation bit of a varint
                return value, at
        raise Invalid("it is no ONNX graph, or it is damaged")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


class _Walk:
    """Goes through a model's messages, deepest last, and keeps what is worth knowing."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._left: list[tuple[Callable[[int, int, int], None], int, int, int]] = []
        self._parts = 0
        self.operators: Counter[str] = Counter()
        self.operator_sets: dict[str, int] = {}
        self.external: list[ExternalData] = []

    def run(self, size: int) -> None:
        self._later(self._model, 0, size, 0)
        while self._left:
            step, start, end, depth = self._left.pop()
            step(start, end, depth)

    def _later(self, step: Callable[[int, int, int], None], start: int, end: int, depth: int) -> None:
        self._parts += 1
        if end < 0:
            raise Invalid("it is no ONNX graph, or it is damaged")
        if self._parts > MAX_PARTS:
            raise Invalid(f"it has more than {MAX_PARTS} parts")
        if depth > MAX_DEPTH:
            raise Invalid(f"it has graphs within graphs, more than {MAX_DEPTH} deep")
        self._left.append((step, start, end, depth))

    def _model(self, start: int, end: int, depth: int) -> None:
        graphs = 0
        for number, begin, stop in self._reader.fields(start, end):
            if number == 7:  # noqa: PLR2004  ModelProto.graph
                graphs += 1
                self._later(self._graph, begin, stop, depth)
            elif number == 8:  # noqa: PLR2004  ModelProto.opset_import
                self._operator_set(begin, stop)
            elif number == 25:  # noqa: PLR2004  ModelProto.functions
                self._later(self._function, begin, stop, depth + 1)
        if not graphs:
            raise Invalid("it is no ONNX model: there is no graph in it")

    def _operator_set(self, start: int, end: int) -> None:
        domain, version = "", 0
        for number, begin, stop in self._reader.fields(start, end):
            if number == 1:
                domain = self._reader.text(begin, stop)
            elif number == 2:  # noqa: PLR2004  OperatorSetIdProto.version
                version = begin
        self.operator_sets["" if domain in DEFAULT_DOMAINS else domain] = version

    def _graph(self, start: int, end: int, depth: int) -> None:
        for number, begin, stop in self._reader.fields(start, end):
            if number == 1:
                self._later(self._node, begin, stop, depth)
            elif number == 5:  # noqa: PLR2004  GraphProto.initializer
                self._later(self._tensor, begin, stop, depth)
            elif number == 15:  # noqa: PLR2004  GraphProto.sparse_initializer
                self._later(self._sparse, begin, stop, depth)

    def _function(self, start: int, end: int, depth: int) -> None:
        for number, begin, stop in self._reader.fields(start, end):
            if number == 7:  # noqa: PLR2004  FunctionProto.node
                self._later(self._node, begin, stop, depth)
            elif number == 11:  # noqa: PLR2004  FunctionProto.attribute_proto
                self._later(self._attribute, begin, stop, depth)

    def _node(self, start: int, end: int, depth: int) -> None:
        operator, domain, trains = "", "", False
        for number, begin, stop in self._reader.fields(start, end):
            if number == 4:  # noqa: PLR2004  NodeProto.op_type
                operator = self._reader.text(begin, stop)
            elif number == 7:  # noqa: PLR2004  NodeProto.domain
                domain = self._reader.text(begin, stop)
            elif number == 5:  # noqa: PLR2004  NodeProto.attribute
                trains = self._trains(begin, stop) or trains
                self._later(self._attribute, begin, stop, depth)
        name = operator if domain in DEFAULT_DOMAINS else f"{domain}.{operator}"
        self.operators[f"{name} (training)" if trains else name] += 1

    def _trains(self, start: int, end: int) -> bool:
        name, value = "", 0
        for number, begin, stop in self._reader.fields(start, end):
            if number == 1:
                name = self._reader.text(begin, stop)
            elif number == 3:  # noqa: PLR2004  AttributeProto.i
                value = begin
        return name == "training_mode" and value != 0

    def _attribute(self, start: int, end: int, depth: int) -> None:
        for number, begin, stop in self._reader.fields(start, end):
            if number in (5, 10):  # t, tensors
                self._later(self._tensor, begin, stop, depth)
            elif number in (6, 11):  # g, graphs
                self._later(self._graph, begin, stop, depth + 1)
            elif number in (22, 23):  # sparse_tensor, sparse_tensors
                self._later(self._sparse, begin, stop, depth)

    def _sparse(self, start: int, end: int, depth: int) -> None:
        shape: list[int] = []
        for number, begin, stop in self._reader.fields(start, end):
            if number in (1, 2):  # values, indices
                self._later(self._tensor, begin, stop, depth)
            elif number == 3:  # noqa: PLR2004  SparseTensorProto.dims
                shape += self._reader.integers(begin, stop)
        _count("a sparse tensor", shape)

    def _tensor(self, start: int, end: int, depth: int) -> None:
        del depth
        fields: dict[int, list[tuple[int, int]]] = {}
        for number, begin, stop in self._reader.fields(start, end):
            fields.setdefault(number, []).append((begin, stop))
        name = "".join(self._reader.text(*place) for place in fields.get(_NAME, ())[-1:])[:MAX_SHOWN]
        kind = fields[_DATA_TYPE][-1][0] if _DATA_TYPE in fields else 0
        shape = [size for place in fields.get(_DIMS, ()) for size in self._reader.integers(*place)]
        entries = dict(self._entry(*place) for place in fields.get(_EXTERNAL_DATA, ()))
        needed = -(-_count(f"tensor {name!r}", shape) * _BITS.get(kind, 1) // 8)
        if entries or (_EXTERNAL, -1) in fields.get(_DATA_LOCATION, ()):
            self.external.append(_external(name, entries, needed))
        elif _RAW_DATA in fields and kind in _BITS:
            _check_size(name, needed, sum(stop - begin for begin, stop in fields[_RAW_DATA]))
        else:
            # Listed one by one, an element of up to 16 bytes takes at least one.
            listed = sum(max(1, stop - begin) for number in _LISTED for begin, stop in fields.get(number, ()))
            if listed * 16 < needed:
                raise Invalid(f"tensor {name!r} has shape {shape}, and no such amount of data")

    def _entry(self, start: int, end: int) -> tuple[str, str]:
        texts = {number: self._reader.text(begin, stop) for number, begin, stop in self._reader.fields(start, end)}
        return texts.get(1, ""), texts.get(2, "")


def _count(what: str, shape: list[int]) -> int:
    if len(shape) > MAX_DIMENSIONS:
        raise Invalid(f"{what} has {len(shape)} dimensions; more than {MAX_DIMENSIONS} are refused")
    if any(size < 0 for size in shape):
        raise Invalid(f"{what} has shape {shape[:8]}; no dimension can be negative")
    count = math.prod(shape)
    if count > MAX_ELEMENTS:
        raise Invalid(f"{what} has shape {shape[:8]}; more than {MAX_ELEMENTS} elements are refused")
    return count


def _check_size(name: str, needed: int, has: int) -> None:
    if needed != has:
        raise Invalid(f"tensor {name!r} needs {needed} bytes for its shape, and has {has}")


def _external(name: str, entries: dict[str, str], needed: int) -> ExternalData:
    location = entries.get("location", "")
    if not location:
        raise Invalid(f"tensor {name!r} lies in another file, and none is named")
    offset, length = (_number(name, key, entries.get(key, "0")) for key in ("offset", "length"))
    if length:
        _check_size(name, needed, length)
    return ExternalData(name, location, offset, needed)


def _number(tensor: str, key: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:  # noqa: PLR2004  digits of a 64-bit number
        raise Invalid(f"tensor {tensor!r} lies in another file; its {key} is no number of bytes")
    return int(text)


def read_facts(data: Buffer) -> GraphFacts:
    """What an ONNX file holds; Invalid, as the end of a sentence about the file, when it is damaged or absurd."""
    reader = Reader(data)
    if not reader.view.nbytes:
        raise Invalid("it is empty")
    walk = _Walk(reader)
    try:
        walk.run(reader.view.nbytes)
    finally:
        reader.view.release()
    return GraphFacts(dict(walk.operators), walk.operator_sets, tuple(walk.external))
