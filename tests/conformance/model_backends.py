"""What every model backend must do, whatever it computes: one suite, run against each adapter."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import cast

import numpy as np
import pytest

from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.kernel.tensors import ITEM_BYTES, Tensor
from polyforge.ports.model_backend import ModelBackend, ModelRequest, Outputs, SpreadingBackend

_FLOATS = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
LEAST_COSINE = 0.9999


def outputs_of(answer: Outputs | PolyforgeError) -> dict[str, Tensor]:
    """The tensors of an answer by name; fails when it is an error."""
    assert not isinstance(answer, PolyforgeError), answer.message
    return {tensor.name: tensor for tensor in answer}


def same(left: Tensor, right: Tensor) -> bool:
    """Whether two tensors are equal; for floats, whether every row points the same way."""
    if (left.datatype, left.shape) != (right.datatype, right.shape):
        return False
    if left.datatype not in _FLOATS:
        return bytes(left.data) == bytes(right.data)
    a, b = (np.frombuffer(bytes(each.data), _FLOATS[left.datatype]).reshape(left.shape) for each in (left, right))
    sizes = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return bool(np.all((a * b).sum(axis=-1) >= LEAST_COSINE * sizes - 1e-9))


class ModelBackendSuite:
    """Subclass it with the fixtures `make` (gives a new backend), `requests` (good ones) and `wrong` (a bad one)."""

    @pytest.fixture
    def loaded(self, make: Callable[[], ModelBackend]) -> ModelBackend:
        backend = make()
        backend.load()
        return backend

    def test_warm_up_asks_nothing_of_the_caller(self, loaded: ModelBackend) -> None:
        loaded.warm_up()

    def test_answers_are_as_the_signature_says(self, loaded: ModelBackend, requests: list[ModelRequest]) -> None:
        specs = {spec.name: spec for spec in loaded.signature.outputs}
        for request in requests:
            outputs = outputs_of(loaded.run([request])[0])
            assert outputs.keys() == specs.keys()
            rows = next(iter(request.inputs.values())).shape[0]
            for name, tensor in outputs.items():
                # A parameter may ask for another shape, such as fewer dimensions.
                assert request.parameters or specs[name].admits(tensor)
                assert tensor.datatype == specs[name].datatype
                assert tensor.shape[0] == rows
                if tensor.datatype != "BYTES":
                    assert memoryview(tensor.data).nbytes == tensor.count * ITEM_BYTES[tensor.datatype]

    def test_an_answer_does_not_depend_on_its_batch(self, loaded: ModelBackend, requests: list[ModelRequest]) -> None:
        alone = [outputs_of(loaded.run([request])[0]) for request in requests]
        together = [outputs_of(answer) for answer in loaded.run(requests)]
        for one, other in zip(alone, together, strict=True):
            assert all(same(one[name], other[name]) for name in one)

    def test_a_wrong_request_leaves_its_neighbours_alone(
        self, loaded: ModelBackend, requests: list[ModelRequest], wrong: ModelRequest
    ) -> None:
        first, refused, last = loaded.run([requests[0], wrong, requests[-1]])
        assert isinstance(refused, Invalid)
        assert refused.param
        for answer, request in ((first, requests[0]), (last, requests[-1])):
            alone = outputs_of(loaded.run([request])[0])
            assert all(same(alone[name], tensor) for name, tensor in outputs_of(answer).items())

    def test_threads_do_not_disturb_each_other(self, loaded: ModelBackend, requests: list[ModelRequest]) -> None:
        alone = [outputs_of(loaded.run([request])[0]) for request in requests]
        places = [place for place in range(len(requests)) for _ in range(20)]
        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda place: loaded.run([requests[place]])[0], places))
        for place, answer in zip(places, answers, strict=True):
            assert all(same(alone[place][name], tensor) for name, tensor in outputs_of(answer).items())

    def test_a_model_can_be_loaded_closed_and_loaded_again(
        self, make: Callable[[], ModelBackend], requests: list[ModelRequest]
    ) -> None:
        first = make()
        first.load()
        before = outputs_of(first.run(requests[:1])[0])
        first.close()
        second = make()
        second.load()
        assert all(same(before[name], tensor) for name, tensor in outputs_of(second.run(requests[:1])[0]).items())

    def test_an_answer_does_not_depend_on_how_many_threads_compute_it(
        self, loaded: ModelBackend, requests: list[ModelRequest]
    ) -> None:
        if not loaded.signature.spreads:
            # It has one way to compute, which the tests above have seen.
            return
        one = [outputs_of(loaded.run([request])[0]) for request in requests]
        asked: list[bool] = []
        is_alone = cycle([True, False])

        def alone() -> bool:
            asked.append(next(is_alone))
            return asked[-1]

        cast(SpreadingBackend, loaded).spread(2, alone)
        for request, expected in zip(requests * 2, one * 2, strict=True):
            answer = outputs_of(loaded.run([request])[0])
            assert all(same(expected[name], tensor) for name, tensor in answer.items())
        assert {True, False} <= set(asked)
        asked.clear()
        cast(SpreadingBackend, loaded).spread(1, alone)
        outputs_of(loaded.run(requests[:1])[0])
        assert not asked, "with one thread there is nothing to ask"

    def test_nothing_to_run_is_no_error(self, loaded: ModelBackend) -> None:
        assert loaded.run([]) == []
