"""A model in Python, in a process of its own: the class `Model` of a folder's model.py, asked frame by frame.

Runs in whatever interpreter the model wants, so it needs numpy and the standard library alone. What the model raises is
written to standard error, which the host logs; an exception with an attribute `param` is told to the caller.
"""

import importlib.util
import inspect
import json
import struct
import sys
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import numpy as np

from polyforge.isolation.frames import Frame
from polyforge.isolation.program import CannotServe, Program, Replies, Reply

FILE: Final = "model.py"
BATCH_ROWS: Final = 32
"""Rows that are worth one call of `batch`, where the model does not say."""
IDLE_SECONDS: Final = 60.0
"""After which a silent sequence is over, where the model does not say."""
_LENGTH: Final = struct.Struct("<I")
Arrays = dict[str, Any]
Name = int | str
"""Of a sequence."""


class _Broken(Exception):
    """The model does not keep to what it declares."""


class _WrongInput(ValueError):
    """The bytes of an input are not what its shape promises: the caller's mistake."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}: its data does not fit its shape")
        self.param = name


class _Asked(NamedTuple):
    """One request, or why it cannot be read."""

    inputs: Arrays
    parameters: Arrays
    problem: Reply | None = None


class _NotBegun(ValueError):
    """A request of a sequence that this process knows nothing of: the caller has to begin it anew."""

    def __init__(self, name: Name) -> None:
        super().__init__(
            f"sequence {name} is not known: it was not begun, it has ended, or the process that had its state has; "
            "begin it anew with the START flag"
        )
        self.param = "parameters.sequence_start"


class _Sequences:
    """The sequences whose state the model of this process has; its `end_sequence` is told of those that are over."""

    def __init__(self, model: Any) -> None:
        self._end_sequence: Callable[[Name], Any] = getattr(model, "end_sequence", lambda name: None)
        self._begun: set[Name] = set()

    @contextmanager
    def turn(self, parameters: Arrays) -> Generator[None]:
        """One request of a sequence; _NotBegun when the model has no state of it."""
        name: Name = parameters["sequence_id"]
        if parameters.get("sequence_start") is True:
            # What is left of an earlier sequence of this name is not part of it.
            self.end((name,))
            self._begun.add(name)
        elif name not in self._begun:
            raise _NotBegun(name)
        try:
            yield
        finally:
            if parameters.get("sequence_end") is True:
                self.end((name,))

    def end(self, names: Iterable[Name]) -> None:
        """Those of these sequences that were begun are over."""
        for name in self._begun & set(names):
            self._begun.remove(name)
            try:
                self._end_sequence(name)
            except Exception:  # noqa: BLE001  the model's own code; no caller waits for this
                traceback.print_exc()


class Spec:
    """A declared input or output."""

    def __init__(self, name: str, datatype: str, shape: Sequence[int]) -> None:
        self.name = name
        self.datatype = datatype
        self.shape = tuple(shape)

    def facts(self) -> dict[str, Any]:
        """As the host reads it."""
        return {"name": self.name, "datatype": self.datatype, "shape": self.shape}

    def admits(self, shape: Sequence[int]) -> bool:
        """Whether an array of this shape fits."""
        return len(shape) == len(self.shape) and all(w in (-1, g) for w, g in zip(self.shape, shape, strict=True))


class PythonModel:
    """The model of a folder and what it declares."""

    def __init__(self, folder: Path, dtypes: Mapping[str, str]) -> None:
        self._dtypes = dtypes
        kind = _load_class(folder)
        self._inputs = self._declared(kind, "inputs")
        self._outputs = self._declared(kind, "outputs")
        self._model = _guarded("Model()", kind)
        self._methods = {
            name: _with_parameters(method)
            for name in ("predict", "batch", "stream")
            if callable(method := getattr(self._model, name, None))
        }
        if not {"predict", "stream"} & self._methods.keys():
            raise CannotServe(f"{FILE}: class Model has neither `predict` nor `stream`")
        self._sequences = _Sequences(self._model) if getattr(self._model, "stateful", False) else None
        if self._sequences and self._methods.keys() != {"predict"}:
            raise CannotServe(f"{FILE}: a stateful class Model has `predict` alone, neither `batch` nor `stream`")
        self._has_rows = all(spec.shape[:1] == (-1,) for spec in (*self._inputs.values(), *self._outputs.values()))
        if hasattr(kind, "load"):
            _guarded("load", self._model.load)

    def hello(self) -> bytes:
        """What it takes and gives."""
        return _guarded("labels, batch_rows and sequence_idle_seconds", self._hello)

    def _hello(self) -> bytes:
        signature: dict[str, Any] = {
            "platform": "python",
            "inputs": [spec.facts() for spec in self._inputs.values()],
            "outputs": [spec.facts() for spec in self._outputs.values()],
            "batch_rows": self._batch_rows(),
            "labels": getattr(self._model, "labels", {}),
            "streams": "stream" in self._methods,
            "stateful": self._sequences is not None,
            "sequence_idle_seconds": _positive(getattr(self._model, "sequence_idle_seconds", IDLE_SECONDS)),
        }
        return json.dumps({"signature": signature}).encode()

    def answer(self, frame: Frame) -> Replies:
        """What the model answers to an order of the host."""
        order: dict[str, Any] = json.loads(frame.header)
        requests = list(self._requests(order["requests"], frame.payload))
        if order["do"] == "stream":
            return self._stream(requests[0])
        if order["do"] == "run":
            return _joined(self._run(requests))
        return _joined(self._warm_up())

    def _warm_up(self) -> list[Reply]:
        """What is wrong, if anything is."""
        try:
            if hasattr(self._model, "warm_up"):
                self._model.warm_up()
        except Exception as error:  # noqa: BLE001  the model's own code
            return [_failed(error)]
        return []

    def _batch_rows(self) -> int:
        if not self._has_rows:
            return 0
        return int(getattr(self._model, "batch_rows", BATCH_ROWS)) if "batch" in self._methods else 1

    def _run(self, requests: list[_Asked]) -> list[Reply]:
        answers = iter(self._answers([asked for asked in requests if asked.problem is None]))
        return [asked.problem or next(answers) for asked in requests]

    def _answers(self, requests: list[_Asked]) -> list[Reply]:
        if len(requests) > 1 and "batch" in self._methods:
            together = self._together(requests)
            if together is not None:
                return together
        return [self._alone(asked) for asked in requests]

    def _together(self, requests: list[_Asked]) -> list[Reply] | None:
        """None when they cannot be answered together: alone it is found out which one is to blame."""
        try:
            outputs = self._methods["batch"]([asked.inputs for asked in requests], [a.parameters for a in requests])
            if len(outputs) != len(requests):
                raise _Broken(f"`batch` gave {len(outputs)} answers to {len(requests)} requests")
            return [self._packed(given, asked.inputs) for given, asked in zip(outputs, requests, strict=True)]
        except Exception as error:  # noqa: BLE001  the model's own code
            if not _is_told(error):
                traceback.print_exc()
            return None

    def _alone(self, asked: _Asked) -> Reply:
        if "predict" not in self._methods:
            return _problem("not_supported", "this model answers in streams: generate_stream, or ModelStreamInfer")
        try:
            return self._packed(self._predicted(asked), asked.inputs)
        except Exception as error:  # noqa: BLE001  the model's own code
            return _failed(error)

    def _predicted(self, asked: _Asked) -> Any:
        predict = self._methods["predict"]
        if self._sequences is None:
            return predict(asked.inputs, asked.parameters)
        with self._sequences.turn(asked.parameters):
            return predict(asked.inputs, asked.parameters)

    def _stream(self, asked: _Asked) -> Generator[Reply]:
        if asked.problem is not None:
            yield _joined([asked.problem])
            return
        try:
            with closing(_generator(self._methods["stream"](asked.inputs, asked.parameters))) as answers:
                for given in answers:
                    yield _joined([self._packed(given, None)])
        except Exception as error:  # noqa: BLE001  the model's own code
            yield _joined([_failed(error)])

    def _requests(self, wires: list[dict[str, Any]], payload: memoryview) -> Iterator[_Asked]:
        at = 0
        for wire in wires:
            end = at + sum(tensor["size"] for tensor in wire["inputs"])
            yield self._request(wire, payload[at:end])
            at = end

    def _request(self, wire: dict[str, Any], payload: memoryview) -> _Asked:
        if self._sequences is not None:
            self._sequences.end(wire["ended"])
        inputs: Arrays = {}
        at = 0
        for tensor in wire["inputs"]:
            end = at + tensor["size"]
            try:
                inputs[tensor["name"]] = self._unpacked(tensor, payload[at:end])
            except (ValueError, struct.error):
                return _Asked({}, {}, _failed(_WrongInput(tensor["name"])))
            at = end
        return _Asked(inputs, wire["parameters"])

    def _unpacked(self, tensor: dict[str, Any], data: memoryview) -> Any:
        if tensor["datatype"] != "BYTES":
            numbers: Any = np.frombuffer(data, self._dtypes[tensor["datatype"]])
            return numbers.reshape(tensor["shape"])
        elements = list(_elements(bytes(data)))
        array: Any = np.empty(len(elements), object)
        array[:] = elements
        return array.reshape(tensor["shape"])

    def _packed(self, outputs: Any, inputs: Arrays | None) -> Reply:
        """One answer; its rows are those of the request, unless it is one of several."""
        if not isinstance(outputs, dict) or cast(Arrays, outputs).keys() != self._outputs.keys():
            raise _Broken(f"the model must give a dict of {', '.join(self._outputs)}")
        facts: list[dict[str, Any]] = []
        buffers: list[memoryview] = []
        rows = len(next(iter(inputs.values()))) if inputs and self._has_rows else None
        for name, spec in self._outputs.items():
            array, data = self._bytes_of(spec, cast(Arrays, outputs)[name])
            if rows is not None and array.shape[0] != rows:
                raise _Broken(f"output {name} has {array.shape[0]} rows, and the request {rows}")
            facts.append({**spec.facts(), "shape": array.shape, "size": data.nbytes})
            buffers.append(data)
        return json.dumps({"outputs": facts}).encode(), buffers

    def _bytes_of(self, spec: Spec, value: Any) -> tuple[Any, memoryview]:
        array = np.asarray(value, object if spec.datatype == "BYTES" else None)
        if not spec.admits(array.shape):
            raise _Broken(f"output {spec.name} has shape {list(array.shape)}, and {list(spec.shape)} is declared")
        if spec.datatype == "BYTES":
            return array, memoryview(b"".join(_element(item) for item in array.reshape(-1)))
        dtype = np.dtype(self._dtypes[spec.datatype])
        if not np.can_cast(array.dtype, dtype, "same_kind"):
            raise _Broken(f"output {spec.name} has elements of {array.dtype}, and {spec.datatype} is declared")
        whole = np.ascontiguousarray(array, dtype).reshape(-1)
        return array, whole.view(np.uint8).data

    def _declared(self, kind: Any, which: str) -> dict[str, Spec]:
        try:
            specs = {
                str(name): Spec(str(name), datatype, [int(extent) for extent in shape])
                for name, (datatype, shape) in getattr(kind, which).items()
            }
        except (AttributeError, TypeError, ValueError) as error:
            example = '{"x": ("FP32", [-1, 4])}'
            raise CannotServe(f"{FILE}: class Model must declare `{which}`, such as {which} = {example}") from error
        wrong = [spec.name for spec in specs.values() if spec.datatype not in self._dtypes]
        if wrong or not specs:
            names = ", ".join(self._dtypes)
            raise CannotServe(f"{FILE}: {which} {', '.join(wrong)}: at least one, each with a datatype of {names}")
        return specs


def _load_class(folder: Path) -> Any:
    """The class Model; files beside model.py can be imported by it."""
    sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location("model", folder / FILE)
    if spec is None or spec.loader is None:
        raise CannotServe(f"there is no {FILE}")
    module = importlib.util.module_from_spec(spec)
    sys.modules["model"] = module
    _guarded("import", lambda: cast(Any, spec.loader).exec_module(module))
    if not inspect.isclass(getattr(module, "Model", None)):
        raise CannotServe(f"{FILE}: there is no class Model")
    return cast(Any, module).Model


def _guarded(what: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        traceback.print_exc()
        raise CannotServe(f"{FILE}: {what}: {type(error).__name__}: {error}") from error


def _positive(seconds: Any) -> float:
    number = float(seconds)
    if not 0 < number < float("inf"):
        raise ValueError("sequence_idle_seconds must be above 0")
    return number


def _with_parameters(method: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """The method as one that is told the request's parameters, whether it has a place for them or not."""
    if len(inspect.signature(method).parameters) > 1:
        return method
    return lambda inputs, parameters: method(inputs)


def _generator(answers: Any) -> Generator[Any]:
    yield from answers


def _is_told(error: Exception) -> bool:
    return isinstance(getattr(error, "param", None), str)


def _failed(error: Exception) -> Reply:
    if _is_told(error):
        return _problem("invalid_request", str(error), cast(Any, error).param)
    traceback.print_exception(error)
    return _problem("broke", type(error).__name__)


def _problem(code: str, message: str, param: str | None = None) -> Reply:
    return json.dumps({"problem": {"code": code, "message": message, "param": param}}).encode(), []


def _joined(replies: Sequence[Reply]) -> Reply:
    header = b'{"answers":[' + b",".join(header for header, _ in replies) + b"]}"
    return header, [buffer for _, buffers in replies for buffer in buffers]


def _elements(data: bytes) -> Iterator[bytes]:
    """The elements of a BYTES tensor, each after its length; struct.error or ValueError when one is cut off."""
    at = 0
    while at < len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size + length
        if at > len(data):
            raise ValueError("an element is cut off")
        yield data[at - length : at]


def _element(value: Any) -> bytes:
    content = value.encode() if isinstance(value, str) else value
    if not isinstance(content, bytes):
        raise _Broken(f"an element of a BYTES tensor is {type(content).__name__}, and must be str or bytes")
    return _LENGTH.pack(len(content)) + content


def main() -> None:
    """Be the process of the model that the command line describes."""
    program = Program(sys.argv[-1])
    folder, dtypes = Path(program.arguments["folder"]), program.arguments["dtypes"]

    def start() -> tuple[bytes, Callable[[Frame], Replies]]:
        model = PythonModel(folder, dtypes)
        return model.hello(), model.answer

    program.run(start)


if __name__ == "__main__":
    main()
