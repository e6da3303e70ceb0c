"""A model backend that tests hold, break and watch: it adds one to every number it is given."""

import struct
import threading
from collections.abc import Sequence

from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.kernel.tensors import Tensor, TensorSpec
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature
from polyforge.serving.repository import HostedModel

POISON = 666


def numbers_of(tensor: Tensor) -> list[int]:
    return list(struct.unpack(f"<{tensor.count}q", tensor.data))


def request_of(*numbers: int) -> ModelRequest:
    return ModelRequest({"x": Tensor("x", "INT64", (len(numbers),), struct.pack(f"<{len(numbers)}q", *numbers))}, {})


class Adder:
    """INT64 `x` [n] to INT64 `y` [n]. While `gate` is closed its runs wait; POISON breaks it; negatives are refused."""

    def __init__(self, *, batch_rows: int = 8, brief_bytes: int = 0, load_error: BaseException | None = None) -> None:
        self._signature = Signature(
            "adder", (TensorSpec("x", "INT64", (-1,)),), (TensorSpec("y", "INT64", (-1,)),), batch_rows, brief_bytes
        )
        self._load_error = load_error
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Semaphore(0)
        self.batches: list[list[list[int]]] = []
        self.threads: set[int] = set()
        self.closed = False

    @property
    def signature(self) -> Signature:
        return self._signature

    def load(self) -> None:
        if self._load_error:
            raise self._load_error

    def warm_up(self) -> None:
        pass

    def run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        inputs = [numbers_of(request.inputs["x"]) for request in batch]
        self.batches.append(inputs)
        self.threads.add(threading.get_ident())
        self.started.release()
        assert self.gate.wait(20)
        if any(POISON in numbers for numbers in inputs):
            raise ValueError("poison")
        return [self._answer(numbers) for numbers in inputs]

    def close(self) -> None:
        self.closed = True

    def _answer(self, numbers: list[int]) -> Outputs | PolyforgeError:
        if any(number < 0 for number in numbers):
            return Invalid("x: must not be negative", param="x")
        return (Tensor("y", "INT64", (len(numbers),), struct.pack(f"<{len(numbers)}q", *(n + 1 for n in numbers))),)


def hosted(backend: Adder, name: str = "adder") -> HostedModel:
    model = HostedModel(name, backend)
    model.load()
    return model
