"""What the host and the process of a model tell each other: JSON headers, and the tensors' bytes behind them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec
from typing_extensions import Buffer

from polyforge.kernel.errors import Invalid, NotSupported, PolyforgeError, TimedOut, Unavailable
from polyforge.kernel.tensors import ITEM_BYTES, Datatype, Parameter, Tensor, TensorSpec
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature

BROKE = "the model failed; the log of the model host has the details"
_ERRORS: Mapping[str, type[PolyforgeError]] = {
    error.code: error for error in (Invalid, NotSupported, TimedOut, Unavailable)
}
"""What a model in a process of its own can tell its callers; everything else is its own failure."""


class WireTensor(msgspec.Struct, frozen=True):
    """A tensor without its elements, and how many bytes those take."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    size: int


class WireRequest(msgspec.Struct, frozen=True):
    """A request without the elements of its tensors."""

    inputs: tuple[WireTensor, ...]
    parameters: dict[str, Parameter]
    ended: tuple[int | str, ...] = ()


class Order(msgspec.Struct, frozen=True):
    """What the process is to do: warm up, answer a batch, or stream the answers to one request."""

    do: Literal["warm_up", "run", "stream"]
    requests: tuple[WireRequest, ...] = ()


class WireProblem(msgspec.Struct, frozen=True):
    """Why a request has no outputs: a code of the error tree, or `broke`, whose message is for the log alone."""

    code: str
    message: str
    param: str | None = None


class WireAnswer(msgspec.Struct, frozen=True):
    """The outputs of a request without their elements, or its problem."""

    outputs: tuple[WireTensor, ...] = ()
    problem: WireProblem | None = None


class Answers(msgspec.Struct, frozen=True):
    """One answer per request, in their order."""

    answers: tuple[WireAnswer, ...]


class Hello(msgspec.Struct, frozen=True):
    """What the process is ready for."""

    signature: Signature


class BrokenAnswer(Exception):
    """The process answered something that its signature does not promise."""


def encode_order(do: Literal["warm_up", "run", "stream"], requests: Iterable[ModelRequest] = ()) -> bytes:
    """The header of an order; `buffers_of` gives its payload."""
    wires = tuple(
        WireRequest(
            tuple(_without_elements(tensor) for tensor in request.inputs.values()),
            dict(request.parameters),
            request.ended,
        )
        for request in requests
    )
    return msgspec.json.encode(Order(do, wires))


def buffers_of(tensors: Iterable[Tensor]) -> list[memoryview]:
    """The elements of tensors as bytes."""
    return [_bytes_of(tensor.data) for tensor in tensors]


def decode_requests(order: Order, payload: memoryview) -> list[ModelRequest]:
    """The requests of an order."""
    requests: list[ModelRequest] = []
    at = 0
    for wire in order.requests:
        inputs, at = _tensors(wire.inputs, payload, at)
        requests.append(ModelRequest({tensor.name: tensor for tensor in inputs}, wire.parameters))
    return requests


def encode_answers(answers: Sequence[Outputs | PolyforgeError]) -> tuple[bytes, list[memoryview]]:
    """The header and the payload of answers."""
    wires = tuple(_wire_answer(answer) for answer in answers)
    tensors = [tensor for answer in answers if not isinstance(answer, PolyforgeError) for tensor in answer]
    return msgspec.json.encode(Answers(wires)), buffers_of(tensors)


def decode_answers(
    header: bytes, payload: memoryview, specs: Mapping[str, TensorSpec], count: int
) -> list[Outputs | WireProblem]:
    """What came back to `count` requests, in the order of `specs`; BrokenAnswer when it is not what was promised."""
    wires = _wire_answers(header)
    if len(wires) != count:
        raise BrokenAnswer(f"{len(wires)} answers to {count} requests")
    answers: list[Outputs | WireProblem] = []
    at = 0
    for wire in wires:
        if wire.problem is not None:
            answers.append(wire.problem)
            continue
        outputs, at = _tensors(wire.outputs, payload, at)
        answers.append(_as_promised(outputs, specs))
    if at != payload.nbytes:
        raise BrokenAnswer(f"{payload.nbytes} bytes of outputs, where {at} were announced")
    return answers


def decode_problems(header: bytes) -> list[WireProblem]:
    """What went wrong with an order that has no outputs; BrokenAnswer when that cannot be read."""
    return [wire.problem for wire in _wire_answers(header) if wire.problem is not None]


def decode_hello(header: bytes) -> Signature:
    """What a process says it is ready for; BrokenAnswer when that cannot be read."""
    try:
        return msgspec.json.decode(header, type=Hello).signature
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BrokenAnswer(str(error)) from error


def error_of(problem: WireProblem) -> PolyforgeError:
    """A problem as an error for the caller; of what only the log may say, that it is there."""
    kind = _ERRORS.get(problem.code)
    return PolyforgeError(BROKE) if kind is None else kind(problem.message, param=problem.param)


def _wire_answers(header: bytes) -> tuple[WireAnswer, ...]:
    try:
        return msgspec.json.decode(header, type=Answers).answers
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BrokenAnswer(str(error)) from error


def _wire_answer(answer: Outputs | PolyforgeError) -> WireAnswer:
    if isinstance(answer, PolyforgeError):
        return WireAnswer(problem=_problem_of(answer))
    return WireAnswer(tuple(_without_elements(tensor) for tensor in answer))


def _problem_of(error: PolyforgeError) -> WireProblem:
    code = next((code for code, kind in _ERRORS.items() if isinstance(error, kind)), error.code)
    return WireProblem(code, error.message, error.param)


def _without_elements(tensor: Tensor) -> WireTensor:
    return WireTensor(tensor.name, tensor.datatype, tensor.shape, memoryview(tensor.data).nbytes)


def _bytes_of(data: Buffer) -> memoryview:
    view = memoryview(data)
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def _tensors(wires: Iterable[WireTensor], payload: memoryview, at: int) -> tuple[Outputs, int]:
    tensors: list[Tensor] = []
    for wire in wires:
        end = at + wire.size
        if wire.size < 0 or end > payload.nbytes:
            raise BrokenAnswer(f"{wire.name}: it has fewer bytes than announced")
        tensors.append(Tensor(wire.name, wire.datatype, wire.shape, payload[at:end]))
        at = end
    return tuple(tensors), at


def _as_promised(outputs: Outputs, specs: Mapping[str, TensorSpec]) -> Outputs:
    given = {tensor.name: tensor for tensor in outputs}
    if given.keys() != specs.keys() or len(outputs) != len(specs):
        raise BrokenAnswer(f"outputs {sorted(given)}, where {sorted(specs)} are declared")
    for name, spec in specs.items():
        tensor = given[name]
        if tensor.datatype != spec.datatype or min(tensor.shape, default=0) < 0:
            raise BrokenAnswer(f"{name}: {tensor.datatype} {list(tensor.shape)} is not as declared")
        item = ITEM_BYTES.get(tensor.datatype)
        if item is not None and memoryview(tensor.data).nbytes != tensor.count * item:
            raise BrokenAnswer(f"{name}: its data does not fit its shape")
    return tuple(given[name] for name in specs)
