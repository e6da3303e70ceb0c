"""The scheduler: every answer belongs to its request, the queue is bounded, and what nobody wants is not computed."""

import asyncio
import gc
import random
import sys
import threading
from collections.abc import AsyncIterator

import pytest

from polyforge.kernel.errors import Cancelled, Invalid, TimedOut, Unavailable
from polyforge.serving.repository import HostedModel
from polyforge.serving.scheduler import BackendBroke, Scheduler
from tests.support.waiting import eventually_async
from tests.unit.serving.backends import POISON, Adder, hosted, numbers_of, request_of

THREADS = 2


@pytest.fixture
async def scheduler() -> AsyncIterator[Scheduler]:
    scheduler = Scheduler(threads=THREADS, max_queue=4)
    scheduler.open()
    yield scheduler
    await scheduler.close()


async def stays() -> None:
    await asyncio.Event().wait()


async def add(scheduler: Scheduler, model: HostedModel, *numbers: int, within: float = 20.0) -> list[int]:
    (output,) = await scheduler.infer(model, request_of(*numbers), rows=len(numbers), within=within, gone=stays)
    return numbers_of(output)


async def occupy(scheduler: Scheduler, model: HostedModel, backend: Adder) -> list[asyncio.Task[list[int]]]:
    """Requests that hold every thread until the gate opens."""
    backend.gate.clear()
    tasks = [asyncio.create_task(add(scheduler, model, number)) for number in range(THREADS)]
    await eventually_async(lambda: len(backend.batches) == THREADS, "all threads are busy")
    return tasks


async def test_an_idle_thread_takes_a_request_at_once_and_alone(scheduler: Scheduler) -> None:
    backend = Adder()
    tasks = await occupy(scheduler, hosted(backend), backend)
    backend.gate.set()
    assert await asyncio.gather(*tasks) == [[1], [2]]
    assert backend.batches == [[[0]], [[1]]]


async def test_waiting_requests_of_a_model_run_together_up_to_its_rows(scheduler: Scheduler) -> None:
    backend = Adder(batch_rows=4)
    model = hosted(backend)
    held = await occupy(scheduler, model, backend)
    waiting = [asyncio.create_task(add(scheduler, model, *numbers)) for numbers in ((10, 11), (12,), (13, 14), (15,))]
    await eventually_async(lambda: scheduler.waiting(model) == 4, "all wait")
    backend.gate.set()
    assert await asyncio.gather(*held, *waiting) == [[1], [2], [11, 12], [13], [14, 15], [16]]
    assert sorted(backend.batches[THREADS:]) == [[[10, 11], [12]], [[13, 14], [15]]]
    assert model.statistics.runs == 4
    assert model.statistics.rows == 8


async def test_a_model_that_does_not_batch_runs_every_request_alone(scheduler: Scheduler) -> None:
    backend = Adder(batch_rows=1)
    model = hosted(backend)
    held = await occupy(scheduler, model, backend)
    waiting = [asyncio.create_task(add(scheduler, model, number)) for number in (10, 11, 12)]
    await asyncio.sleep(0)
    backend.gate.set()
    await asyncio.gather(*held, *waiting)
    assert all(len(batch) == 1 for batch in backend.batches)


async def test_different_models_never_share_a_run(scheduler: Scheduler) -> None:
    first, second = Adder(), Adder()
    one, other = hosted(first, "one"), hosted(second, "other")
    held = await occupy(scheduler, one, first)
    waiting = [asyncio.create_task(add(scheduler, model, 10)) for model in (one, other, one, other)]
    await asyncio.sleep(0)
    first.gate.set()
    await asyncio.gather(*held, *waiting)
    assert sum(len(batch) for batch in second.batches) == 2


async def test_a_full_queue_refuses_with_a_time_to_come_back(scheduler: Scheduler) -> None:
    backend = Adder()
    model = hosted(backend)
    held = await occupy(scheduler, model, backend)
    waiting = [asyncio.create_task(add(scheduler, model, number)) for number in range(4)]
    await eventually_async(lambda: scheduler.waiting(model) == 4, "the queue is full")
    with pytest.raises(Unavailable) as refusal:
        await add(scheduler, model, 99)
    assert refusal.value.retry_after
    assert model.statistics.rejected == 1
    backend.gate.set()
    await asyncio.gather(*held, *waiting)
    assert await add(scheduler, model, 5) == [6]


async def test_what_its_caller_left_is_not_computed_and_makes_room(scheduler: Scheduler) -> None:
    backend = Adder()
    model = hosted(backend)
    held = await occupy(scheduler, model, backend)
    hang_up = asyncio.Event()

    async def gone() -> None:
        await hang_up.wait()

    left = asyncio.create_task(scheduler.infer(model, request_of(77), rows=1, within=20, gone=gone))
    stopped = asyncio.create_task(add(scheduler, model, 78))
    await eventually_async(lambda: scheduler.waiting(model) == 2, "both wait")
    hang_up.set()
    with pytest.raises(Cancelled):
        await left
    stopped.cancel()
    await asyncio.gather(stopped, return_exceptions=True)
    assert scheduler.waiting(model) == 0
    assert model.statistics.cancelled == 1
    backend.gate.set()
    await asyncio.gather(*held)
    assert [[77]] not in backend.batches
    assert [[78]] not in backend.batches


async def test_what_waits_past_its_time_is_refused_and_not_computed(scheduler: Scheduler) -> None:
    backend = Adder()
    model = hosted(backend)
    held = await occupy(scheduler, model, backend)
    with pytest.raises(TimedOut):
        await add(scheduler, model, 77, within=0.01)
    backend.gate.set()
    await asyncio.gather(*held)
    assert [[77]] not in backend.batches


async def test_a_request_that_breaks_the_backend_harms_no_other_in_its_batch(scheduler: Scheduler) -> None:
    backend = Adder()
    model = hosted(backend)
    held = await occupy(scheduler, model, backend)
    waiting = [asyncio.create_task(add(scheduler, model, number)) for number in (10, POISON, -1, 12)]
    await eventually_async(lambda: scheduler.waiting(model) == 4, "all wait")
    backend.gate.set()
    await asyncio.gather(*held)
    first, broken, refused, last = await asyncio.gather(*waiting, return_exceptions=True)
    assert (first, last) == ([11], [13])
    assert isinstance(broken, BackendBroke)
    assert isinstance(broken.__cause__, ValueError)
    assert isinstance(refused, Invalid)
    assert (model.statistics.succeeded, model.statistics.failed) == (4, 2)


async def test_brief_requests_run_in_place_even_while_threads_are_busy(scheduler: Scheduler) -> None:
    slow, brief = Adder(), Adder(brief_bytes=16)
    held = await occupy(scheduler, hosted(slow, "slow"), slow)
    model = hosted(brief, "brief")
    assert await add(scheduler, model, 1, 2) == [2, 3]
    assert brief.threads == {threading.get_ident()}
    longer = asyncio.create_task(add(scheduler, model, 1, 2, 3))
    await eventually_async(lambda: scheduler.waiting(model) == 1, "the longer one waits")
    slow.gate.set()
    assert await longer == [2, 3, 4]
    await asyncio.gather(*held)


async def test_answers_are_never_mixed_up() -> None:
    scheduler = Scheduler(threads=3, max_queue=1000)
    scheduler.open()
    rng = random.Random(7)
    models = [
        hosted(Adder(batch_rows=rows, brief_bytes=brief), f"m{rows}") for rows, brief in ((1, 0), (5, 0), (64, 16))
    ]

    async def one(start: int) -> None:
        numbers = [start * 100 + place for place in range(rng.randint(0, 9))]
        task = asyncio.create_task(add(scheduler, rng.choice(models), *numbers))
        if rng.random() < 0.2:
            await asyncio.sleep(rng.random() / 100)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return
        assert await task == [number + 1 for number in numbers]

    await asyncio.gather(*(one(start) for start in range(600)))
    assert all(scheduler.waiting(model) == 0 for model in models)
    await scheduler.close()


async def test_closing_finishes_what_runs_and_refuses_the_rest() -> None:
    scheduler = Scheduler(threads=THREADS, max_queue=4)
    scheduler.open()
    backend = Adder()
    model = hosted(backend)
    held = await occupy(scheduler, model, backend)
    waiting = asyncio.create_task(add(scheduler, model, 10))
    await eventually_async(lambda: scheduler.waiting(model) == 1, "one waits")
    closing = asyncio.create_task(scheduler.close())
    with pytest.raises(Unavailable):
        await waiting
    assert not closing.done()
    backend.gate.set()
    await closing
    assert await asyncio.gather(*held) == [[1], [2]]
    with pytest.raises(Unavailable):
        await add(scheduler, model, 1)


async def test_what_was_sent_is_let_go_of_with_the_answer(scheduler: Scheduler) -> None:
    model = hosted(Adder())
    request = request_of(*range(100))
    held = request.inputs["x"].data
    before = sys.getrefcount(held)
    gc.disable()
    try:
        await scheduler.infer(model, request, rows=100, within=20.0, gone=stays)
        await eventually_async(lambda: sys.getrefcount(held) <= before, "nothing holds it any more")
    finally:
        gc.enable()
