"""Large requests in parts: they are cut where it pays, and put together again row by row."""

import asyncio
import struct
import threading
import time
from collections.abc import Sequence

import msgspec
import pytest

from polyforge.kernel.errors import Cancelled, Invalid, PolyforgeError, TimedOut
from polyforge.kernel.tensors import Tensor, TensorSpec, pack_strings, unpack_strings
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature
from polyforge.serving.plan import Plan
from polyforge.serving.repository import HostedModel
from polyforge.serving.scheduler import BackendBroke, Scheduler
from polyforge.serving.splitting import rejoined, split
from tests.support.waiting import eventually_async

NUMBERS = Signature(
    "numbers", (TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1, 2)),), 8, independent_rows=True
)
TEXTS = Signature(
    "texts", (TensorSpec("t", "BYTES", (-1,)), TensorSpec("k", "INT32", (-1,))), (TensorSpec("y", "FP32", (-1, 2)),), 8
)


def numbers(rows: int) -> ModelRequest:
    values = [float(value) for value in range(2 * rows)]
    return ModelRequest({"x": Tensor("x", "FP32", (rows, 2), struct.pack(f"<{2 * rows}f", *values))}, {"k": 1})


def texts(*values: bytes) -> ModelRequest:
    places = struct.pack(f"<{len(values)}i", *range(len(values)))
    return ModelRequest(
        {
            "t": Tensor("t", "BYTES", (len(values),), pack_strings(values)),
            "k": Tensor("k", "INT32", (len(values),), places),
        },
        {},
    )


def test_numbers_are_cut_in_order_without_being_copied() -> None:
    request = numbers(20)
    parts = split(request, 20, NUMBERS, Plan(batch_rows=8))
    assert [part.rows for part in parts] == [8, 8, 4]
    assert [part.request.inputs["x"].shape for part in parts] == [(8, 2), (8, 2), (4, 2)]
    assert all(part.request.parameters == {"k": 1} for part in parts)
    assert b"".join(bytes(part.request.inputs["x"].data) for part in parts) == request.inputs["x"].data
    assert all(isinstance(part.request.inputs["x"].data, memoryview) for part in parts)


def test_texts_are_cut_by_length_with_what_belongs_to_them() -> None:
    values = [b"x" * (50 * (place % 3) + 1) for place in range(12)]
    parts = split(texts(*values), 12, TEXTS, Plan(batch_rows=4))
    assert [part.rows for part in parts] == [4, 4, 4]
    for part in parts:
        cut = unpack_strings(part.request.inputs["t"].data, part.rows)
        places = struct.unpack(f"<{part.rows}i", bytes(part.request.inputs["k"].data))
        assert len({len(text) for text in cut}) == 1
        assert [values[place] for place in places] == cut


def test_long_texts_come_in_smaller_parts_than_short_ones() -> None:
    values = [b"s"] * 16 + [b"l" * 1000] * 16
    parts = split(texts(*values), 32, TEXTS, Plan(batch_rows=16, batch_bytes=6000))
    assert [part.rows for part in parts] == [16, 5, 5, 5, 1]


@pytest.mark.parametrize(
    ("signature", "rows"),
    [
        (NUMBERS, 8),
        (Signature("s", NUMBERS.inputs, NUMBERS.outputs, batch_rows=1), 100),
        (Signature("s", NUMBERS.inputs, NUMBERS.outputs, batch_rows=0, independent_rows=True), 100),
        (Signature("s", NUMBERS.inputs, (TensorSpec("y", "FP32", (-1, -1)),), batch_rows=8), 100),
        (Signature("s", NUMBERS.inputs, NUMBERS.outputs, batch_rows=8, stateful=True), 100),
        (Signature("s", NUMBERS.inputs, NUMBERS.outputs, batch_rows=8, brief_bytes=1000), 100),
    ],
    ids=("small", "dependent rows", "no rows", "answers of any shape", "keeps state", "brief"),
)
def test_what_must_or_may_as_well_stay_whole_does(signature: Signature, rows: int) -> None:
    request = numbers(rows)
    (part,) = split(request, rows, signature, Plan(batch_rows=8))
    assert part.request is request
    assert part.rows == rows


def test_answers_come_together_in_the_order_of_the_rows() -> None:
    values = [b"x" * (7 * place % 11) + b"%d" % place for place in range(11)]
    parts = split(texts(*values), 11, TEXTS, Plan(batch_rows=4))
    answers = [(Tensor("o", "BYTES", (part.rows,), part.request.inputs["t"].data),) for part in parts]
    (joined,) = rejoined(parts, answers)
    assert joined.shape == (11,)
    assert unpack_strings(joined.data, 11) == values


def test_answers_that_do_not_fit_together_are_refused() -> None:
    parts = split(numbers(20), 20, NUMBERS, Plan(batch_rows=8))
    answers = [(Tensor("y", "FP32", (8, 2), bytes(64)),)] * 3
    with pytest.raises(ValueError, match="for 4 rows"):
        rejoined(parts, answers)


class Doubler:
    """FP32 `x` [n, 2] to twice that; waits while `gate` is closed; negatives are refused, 666 gives too few rows."""

    def __init__(self, signature: Signature = NUMBERS) -> None:
        self.signature = signature
        self.gate = threading.Event()
        self.gate.set()
        self.rows: list[int] = []

    def load(self) -> None: ...

    def warm_up(self) -> None: ...

    def close(self) -> None: ...

    def run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        self.rows.append(sum(request.inputs["x"].shape[0] for request in batch))
        assert self.gate.wait(20)
        return [self._answer(request.inputs["x"]) for request in batch]

    def _answer(self, x: Tensor) -> Outputs | PolyforgeError:
        values = struct.unpack(f"<{x.count}f", x.data)
        if any(value < 0 for value in values):
            return Invalid("negative", param="x")
        rows = x.shape[0] - (666.0 in values)
        twice = [2 * value for value in values[: 2 * rows]]
        return (Tensor("y", "FP32", (rows, 2), struct.pack(f"<{2 * rows}f", *twice)),)


async def stays() -> None:
    await asyncio.Event().wait()


def scheduled(backend: Doubler) -> tuple[Scheduler, HostedModel]:
    scheduler = Scheduler(threads=2, max_queue=2)
    scheduler.open()
    model = HostedModel("doubler", backend)
    model.load()
    return scheduler, model


async def test_parts_of_a_request_run_beside_each_other_and_count_as_one() -> None:
    backend = Doubler()
    scheduler, model = scheduled(backend)
    backend.gate.clear()
    asked = asyncio.create_task(scheduler.infer(model, numbers(100), rows=100, within=20, gone=stays))
    await eventually_async(lambda: len(backend.rows) == 2, "two parts run")
    assert scheduler.waiting(model) == 1
    backend.gate.set()
    (answer,) = await asked
    assert struct.unpack("<200f", answer.data) == tuple(2.0 * value for value in range(200))
    counters = model.statistics
    assert (counters.succeeded, counters.computed, counters.rows, counters.runs) == (1, 1, 100, 13)
    assert scheduler.idle
    await scheduler.close()


async def test_the_rest_of_a_request_is_not_computed_when_a_part_fails() -> None:
    backend = Doubler()
    scheduler, model = scheduled(backend)
    backend.gate.clear()
    wrong = ModelRequest({"x": Tensor("x", "FP32", (100, 2), struct.pack("<f", -1.0) + bytes(796))}, {})
    asked = asyncio.create_task(scheduler.infer(model, wrong, rows=100, within=20, gone=stays))
    await eventually_async(lambda: len(backend.rows) == 2, "two parts run")
    backend.gate.set()
    with pytest.raises(Invalid):
        await asked
    await eventually_async(lambda: scheduler.idle, "nothing waits or runs")
    assert len(backend.rows) < 13
    assert model.statistics.failed == 1
    await scheduler.close()


async def test_the_rest_of_a_request_is_not_computed_when_its_caller_leaves() -> None:
    backend = Doubler()
    scheduler, model = scheduled(backend)
    backend.gate.clear()
    left = asyncio.Event()

    async def gone() -> None:
        await left.wait()

    asked = asyncio.create_task(scheduler.infer(model, numbers(100), rows=100, within=20, gone=gone))
    await eventually_async(lambda: len(backend.rows) == 2, "two parts run")
    left.set()
    with pytest.raises(Cancelled):
        await asked
    assert scheduler.waiting(model) == 0
    backend.gate.set()
    await eventually_async(lambda: scheduler.idle, "nothing waits or runs")
    assert len(backend.rows) == 2
    await scheduler.close()


async def test_an_engine_that_loses_rows_is_told_from_a_wrong_request() -> None:
    scheduler, model = scheduled(Doubler())
    values = [666.0 if place == 50 else 1.0 for place in range(200)]
    request = ModelRequest({"x": Tensor("x", "FP32", (100, 2), struct.pack("<200f", *values))}, {})
    with pytest.raises(BackendBroke):
        await scheduler.infer(model, request, rows=100, within=20, gone=stays)
    await scheduler.close()


async def test_parts_that_waited_too_long_go_together() -> None:
    broken: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
    backend = Doubler()
    scheduler = Scheduler(threads=1, max_queue=2)
    scheduler.open()
    model = HostedModel("doubler", backend)
    model.load()
    backend.gate.clear()
    held = asyncio.create_task(scheduler.infer(model, numbers(1), rows=1, within=20, gone=stays))
    late = ModelRequest(numbers(24).inputs, {"timeout": 30_000})
    asked = asyncio.create_task(scheduler.infer(model, late, rows=24, within=20, gone=stays))
    await asyncio.sleep(0)
    assert scheduler.waiting(model) == 1
    # All three parts would fit into the next run, which is chosen before the loop looks at its timers.
    model.plan = msgspec.structs.replace(model.plan, batch_rows=64)
    backend.gate.set()
    time.sleep(0.05)  # noqa: ASYNC251
    await held
    with pytest.raises(TimedOut):
        await asked
    assert scheduler.idle
    assert backend.rows == [1]
    assert broken == []
    await scheduler.close()
