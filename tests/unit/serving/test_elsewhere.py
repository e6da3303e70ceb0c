"""Models that compute in other processes take no thread from those that compute in the host."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from polyforge.ports.model_backend import Outputs, Signature
from polyforge.serving.plan import RUNS_ELSEWHERE, default_plan
from polyforge.serving.repository import HostedModel
from polyforge.serving.scheduler import Scheduler
from polyforge.serving.tuning import measure
from tests.support.waiting import eventually_async
from tests.unit.serving.backends import Adder, numbers_of, request_of

INSTANCES = 3


class Elsewhere(Adder):
    """One that computes in three processes."""

    @property
    def signature(self) -> Signature:
        return msgspec.structs.replace(super().signature, elsewhere=True, instances=INSTANCES, batch_rows=1)


@pytest.fixture
async def scheduler() -> AsyncIterator[Scheduler]:
    scheduler = Scheduler(threads=1, max_queue=100)
    scheduler.open()
    yield scheduler
    await scheduler.close()


def loaded(backend: Adder, name: str) -> HostedModel:
    model = HostedModel(name, backend, cores=1)
    model.load()
    return model


async def never() -> None:
    await asyncio.Event().wait()


async def ask(scheduler: Scheduler, model: HostedModel, number: int) -> list[int]:
    outputs: Outputs = await scheduler.infer(model, request_of(number), rows=1, within=20, gone=never)
    return numbers_of(outputs[0])


async def test_while_they_hang_the_others_answer(scheduler: Scheduler) -> None:
    stuck, near = Elsewhere(), Adder()
    stuck.gate.clear()
    hanging = loaded(stuck, "stuck")
    asked = [asyncio.ensure_future(ask(scheduler, hanging, number)) for number in range(20)]
    model = loaded(near, "near")
    assert [await ask(scheduler, model, number) for number in range(10)] == [[number + 1] for number in range(10)]
    await eventually_async(lambda: len(stuck.batches) == INSTANCES)
    assert not any(each.done() for each in asked)
    stuck.gate.set()
    assert await asyncio.gather(*asked) == [[number + 1] for number in range(20)]
    assert len(stuck.threads) == INSTANCES


async def test_they_answer_while_the_others_compute(scheduler: Scheduler) -> None:
    far, near = Elsewhere(), Adder()
    near.gate.clear()
    busy = asyncio.ensure_future(ask(scheduler, loaded(near, "near"), 1))
    model = loaded(far, "far")
    assert [await ask(scheduler, model, number) for number in range(5)] == [[number + 1] for number in range(5)]
    near.gate.set()
    assert await busy == [2]


def test_as_many_runs_as_processes_are_under_way_whatever_the_cores() -> None:
    signature = Elsewhere().signature
    assert default_plan(signature, 1).instances == INSTANCES
    assert default_plan(msgspec.structs.replace(signature, instances=None), 2).instances == RUNS_ELSEWHERE


def test_they_are_not_measured_with_made_up_requests() -> None:
    backend = Elsewhere()
    assert measure(backend, 2) == default_plan(backend.signature, 2)
    assert not backend.batches
