"""What a model's plan decides: how many run at once, who goes first and with whom, who waits for how long."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from polyforge.kernel.errors import Invalid, TimedOut, Unavailable
from polyforge.kernel.tensors import Parameter
from polyforge.ports.model_backend import ModelRequest
from polyforge.serving.plan import Plan, QueuePolicy
from polyforge.serving.repository import HostedModel
from polyforge.serving.scheduler import Scheduler
from tests.support.waiting import eventually_async
from tests.unit.serving.backends import Adder, hosted, numbers_of, request_of

THREADS = 2
SECOND = 1_000_000


@pytest.fixture
async def scheduler() -> AsyncIterator[Scheduler]:
    scheduler = Scheduler(threads=THREADS, max_queue=100, max_queue_per_model=8, cache_bytes=4000)
    scheduler.open()
    yield scheduler
    await eventually_async(lambda: scheduler.idle, "nothing waits or runs")
    await scheduler.close()


def planned(backend: Adder, name: str = "adder", **plan: Any) -> HostedModel:
    model = hosted(backend, name)
    model.plan = msgspec.structs.replace(model.plan, **plan)
    return model


async def stays() -> None:
    await asyncio.Event().wait()


async def add(scheduler: Scheduler, model: HostedModel, *numbers: int, **parameters: Parameter) -> list[int]:
    request = ModelRequest(request_of(*numbers).inputs, parameters)
    (output,) = await scheduler.infer(model, request, rows=len(numbers), within=20.0, gone=stays)
    return numbers_of(output)


async def send(scheduler: Scheduler, model: HostedModel, *requests: tuple[int, ...], **parameters: Parameter) -> Any:
    """Requests that reach the scheduler in this order; what comes back is awaited together."""
    tasks = [asyncio.create_task(add(scheduler, model, *numbers, **parameters)) for numbers in requests]
    await asyncio.sleep(0)
    return asyncio.gather(*tasks)


async def hold(scheduler: Scheduler, model: HostedModel, backend: Adder, runs: int = THREADS) -> Any:
    """Runs that hold their threads until the gate opens."""
    backend.gate.clear()
    held = await send(scheduler, model, *((number,) for number in range(runs)))
    await eventually_async(lambda: len(backend.batches) == runs, "all instances are busy")
    return held


async def test_a_model_has_no_more_runs_at_once_than_instances_and_leaves_the_rest_to_others(
    scheduler: Scheduler,
) -> None:
    slow, quick = Adder(), Adder()
    one = planned(slow, "one", instances=1)
    held = await hold(scheduler, one, slow, runs=1)
    waiting = await send(scheduler, one, (10,))
    assert scheduler.running(one) == 1
    assert scheduler.waiting(one) == 1
    # A thread is free, and another model may have it.
    assert await add(scheduler, hosted(quick, "quick"), 5) == [6]
    slow.gate.set()
    await asyncio.gather(held, waiting)


async def test_a_plan_may_change_while_requests_wait(scheduler: Scheduler) -> None:
    backend = Adder()
    model = planned(backend, instances=1)
    held = await hold(scheduler, model, backend, runs=1)
    waiting = await send(scheduler, model, (10,))
    model.plan = msgspec.structs.replace(model.plan, instances=2)
    more = await send(scheduler, model, (11,))
    await eventually_async(lambda: len(backend.batches) == 2, "the second instance runs")
    backend.gate.set()
    await asyncio.gather(held, waiting, more)


async def test_a_run_is_filled_with_what_is_most_alike_in_length_to_the_oldest(scheduler: Scheduler) -> None:
    backend = Adder(batch_rows=64)
    model = planned(backend, batch_rows=2, instances=1)
    backend.gate.clear()
    held = await hold(scheduler, model, backend, runs=1)
    tasks = [asyncio.create_task(padded(scheduler, model, size)) for size in (100, 1, 2, 99)]
    await asyncio.sleep(0)
    backend.gate.set()
    await asyncio.gather(held, *tasks)
    assert [[len(row) for row in batch] for batch in backend.batches[1:]] == [[100, 99], [1, 2]]


async def padded(scheduler: Scheduler, model: HostedModel, size: int) -> None:
    """One row of `size` numbers."""
    await scheduler.infer(model, request_of(*range(size)), rows=1, within=20.0, gone=stays)


async def test_a_run_keeps_within_its_padded_bytes(scheduler: Scheduler) -> None:
    backend = Adder(batch_rows=64)
    model = planned(backend, batch_rows=64, batch_bytes=240, instances=1)
    held = await hold(scheduler, model, backend, runs=1)
    tasks = [asyncio.create_task(padded(scheduler, model, size)) for size in (10, 10, 10, 10, 50)]
    await asyncio.sleep(0)
    backend.gate.set()
    await asyncio.gather(held, *tasks)
    # 3 x 80 bytes fit; one that is larger than all that fits runs alone.
    assert [[len(row) for row in batch] for batch in backend.batches[1:]] == [[10, 10, 10], [10], [50]]


async def test_a_preferred_size_is_met_where_enough_wait(scheduler: Scheduler) -> None:
    backend = Adder(batch_rows=8)
    model = planned(backend, batch_rows=8, preferred_rows=(2, 4), instances=1)
    held = await hold(scheduler, model, backend, runs=1)
    waiting = await send(scheduler, model, *((number,) for number in range(7)))
    backend.gate.set()
    await asyncio.gather(held, waiting)
    assert [len(batch) for batch in backend.batches] == [1, 4, 2, 1]


async def test_the_more_urgent_go_first_and_the_default_level_is_of_those_who_do_not_say(scheduler: Scheduler) -> None:
    backend = Adder(batch_rows=1)
    model = planned(backend, levels=3, default_level=2, instances=1)
    held = await hold(scheduler, model, backend, runs=1)
    low = await send(scheduler, model, (30,), priority=3)
    unsaid = await send(scheduler, model, (20,))
    zero = await send(scheduler, model, (21,), priority=0)
    beyond = await send(scheduler, model, (22,), priority=9)
    high = await send(scheduler, model, (10,), (11,), priority=1)
    backend.gate.set()
    await asyncio.gather(held, low, unsaid, zero, beyond, high)
    assert [batch[0][0] for batch in backend.batches[1:]] == [10, 11, 20, 21, 22, 30]


async def test_among_models_the_oldest_goes_first_and_urgency_goes_before_age(scheduler: Scheduler) -> None:
    backend = Adder(batch_rows=1)
    plain = planned(backend, "plain")
    levels = planned(backend, "levels", levels=2, default_level=2)
    held = await hold(scheduler, plain, backend)
    waiting = [
        await send(scheduler, plain, (1,)),
        await send(scheduler, levels, (2,)),
        await send(scheduler, plain, (3,)),
        await send(scheduler, levels, (4,), priority=1),
    ]
    assert scheduler.waiting(plain) == scheduler.waiting(levels) == 2
    backend.gate.set()
    await asyncio.gather(held, *waiting)
    # Two threads: which of two neighbours is noted first is chance.
    order = [batch[0][0] for batch in backend.batches[THREADS:]]
    assert set(order[:2]) == {4, 1}
    assert set(order[2:]) == {2, 3}


async def test_a_caller_may_lower_its_own_priority_and_not_raise_it(scheduler: Scheduler) -> None:
    backend = Adder(batch_rows=1)
    model = planned(backend, levels=9, default_level=3, top_level=3, instances=1)
    held = await hold(scheduler, model, backend, runs=1)
    background = await send(scheduler, model, (30,), priority=7)
    first = await send(scheduler, model, (1,))
    pushing = await send(scheduler, model, (2,), priority=1)
    last = await send(scheduler, model, (3,))
    backend.gate.set()
    await asyncio.gather(held, background, first, pushing, last)
    assert [batch[0][0] for batch in backend.batches[1:]] == [1, 2, 3, 30]


async def test_models_of_another_rank_go_before_and_behind_what_waits_about_as_long(scheduler: Scheduler) -> None:
    backend = Adder(batch_rows=1)
    usual = planned(backend, "usual")
    urgent = planned(backend, "urgent", levels=9, default_level=1, top_level=1, rank=-60)
    patient = planned(backend, "patient", levels=9, default_level=9, top_level=9, rank=60)
    held = await hold(scheduler, usual, backend)
    waiting = [
        await send(scheduler, patient, (4,), (5,)),
        await send(scheduler, usual, (2,), (3,)),
        await send(scheduler, urgent, (0,), (1,)),
    ]
    backend.gate.set()
    await asyncio.gather(held, *waiting)
    order = [batch[0][0] for batch in backend.batches[THREADS:]]
    # Two threads: which of two neighbours is noted first is chance.
    assert [set(order[place : place + 2]) for place in (0, 2, 4)] == [{0, 1}, {2, 3}, {4, 5}]


async def test_without_levels_priorities_mean_nothing(scheduler: Scheduler) -> None:
    backend = Adder(batch_rows=1)
    model = planned(backend, instances=1)
    held = await hold(scheduler, model, backend, runs=1)
    first = await send(scheduler, model, (1,))
    second = await send(scheduler, model, (2,), priority=1)
    backend.gate.set()
    await asyncio.gather(held, first, second)
    assert [batch[0][0] for batch in backend.batches[1:]] == [1, 2]


@pytest.mark.parametrize("parameters", [{"priority": -1}, {"priority": "high"}, {"timeout": True}, {"timeout": 1.5}])
async def test_parameters_that_make_no_sense_are_refused(
    scheduler: Scheduler, parameters: dict[str, Parameter]
) -> None:
    with pytest.raises(Invalid) as refusal:
        await add(scheduler, planned(Adder(), levels=1, default_level=1), 1, **parameters)
    assert refusal.value.param == f"parameters.{next(iter(parameters))}"


async def test_a_model_s_queue_is_bounded_beside_the_host_s(scheduler: Scheduler) -> None:
    backend = Adder()
    full, other = planned(backend, "full"), planned(backend, "other")
    held = await hold(scheduler, full, backend)
    waiting = await send(scheduler, full, *((number,) for number in range(8)))
    with pytest.raises(Unavailable) as refusal:
        await add(scheduler, full, 1)
    assert refusal.value.retry_after
    one = await send(scheduler, other, (1,))
    backend.gate.set()
    await asyncio.gather(held, waiting, one)
    assert (full.statistics.rejected, other.statistics.rejected) == (1, 0)


async def test_a_level_s_queue_is_bounded_by_its_policy(scheduler: Scheduler) -> None:
    backend = Adder()
    model = planned(backend, levels=2, default_level=1, level_policies={2: QueuePolicy(max_queue=1)})
    held = await hold(scheduler, model, backend)
    low = await send(scheduler, model, (1,), priority=2)
    with pytest.raises(Unavailable):
        await add(scheduler, model, 2, priority=2)
    high = await send(scheduler, model, (3,), (4,), priority=1)
    backend.gate.set()
    await asyncio.gather(held, low, high)


async def test_who_has_waited_as_long_as_the_policy_says_is_refused_and_not_computed(scheduler: Scheduler) -> None:
    backend = Adder()
    model = planned(backend, policy=QueuePolicy(timeout_us=2_000))
    held = await hold(scheduler, model, backend)
    with pytest.raises(TimedOut):
        await add(scheduler, model, 77)
    backend.gate.set()
    await held
    assert [[77]] not in backend.batches
    assert model.statistics.timed_out == 1


async def test_a_caller_s_own_time_to_wait_holds_when_the_policy_has_none(scheduler: Scheduler) -> None:
    backend = Adder()
    model = planned(backend)
    held = await hold(scheduler, model, backend)
    with pytest.raises(TimedOut):
        await add(scheduler, model, 77, timeout=2_000)
    backend.gate.set()
    await held


async def test_time_to_wait_is_not_time_to_run(scheduler: Scheduler) -> None:
    backend = Adder()
    backend.gate.clear()
    running = await send(scheduler, hosted(backend), (1,), timeout=1)
    await eventually_async(lambda: backend.batches == [[[1]]], "it runs")
    await asyncio.sleep(0.01)
    backend.gate.set()
    assert await running == [[2]]


@pytest.mark.parametrize(
    ("override", "asked", "answered"), [(False, 1, True), (True, 1, False), (True, 100 * SECOND, True)]
)
async def test_a_caller_may_wait_less_than_the_policy_says_if_it_may_be_overridden(
    scheduler: Scheduler, override: bool, asked: int, answered: bool
) -> None:
    backend = Adder()
    model = planned(backend, policy=QueuePolicy(timeout_us=20 * SECOND, allow_timeout_override=override))
    held = await hold(scheduler, model, backend)
    waiting = await send(scheduler, model, (7,), timeout=asked)
    await asyncio.sleep(0.01)
    backend.gate.set()
    await held
    (answer,) = await asyncio.gather(waiting, return_exceptions=True)
    assert answer == [[8]] if answered else isinstance(answer, TimedOut)


async def test_late_requests_run_behind_the_others_where_the_policy_says_so(scheduler: Scheduler) -> None:
    backend = Adder(batch_rows=1)
    model = planned(backend, instances=1, policy=QueuePolicy(timeout_action="DELAY"))
    held = await hold(scheduler, model, backend, runs=1)
    late = await send(scheduler, model, (1,), (2,), timeout=1)
    in_time = await send(scheduler, model, (3,), (4,))
    backend.gate.set()
    await asyncio.gather(held, late, in_time)
    assert [batch[0][0] for batch in backend.batches[1:]] == [3, 4, 1, 2]


async def test_answers_keep_the_order_of_the_requests_where_the_plan_says_so(scheduler: Scheduler) -> None:
    first, later = Adder(), Adder()
    model = planned(first, keep_order=True, batch_rows=1)
    first.gate.clear()
    answered: list[int] = []

    async def note(number: int) -> None:
        await add(scheduler, model, number)
        answered.append(number)

    one = asyncio.create_task(note(1))
    await eventually_async(lambda: first.batches == [[[1]]], "the first runs")
    model.backend = later
    two = asyncio.create_task(note(2))
    three = asyncio.create_task(note(3))
    await eventually_async(lambda: len(later.batches) == 2, "the later ones are computed")
    assert answered == []
    three.cancel()
    first.gate.set()
    await asyncio.gather(one, two)
    assert answered == [1, 2]


async def test_equal_requests_get_the_kept_answer(scheduler: Scheduler) -> None:
    backend = Adder()
    model = planned(backend, cached=True)
    assert await add(scheduler, model, 1, 2) == [2, 3]
    assert await add(scheduler, model, 1, 2, priority=1, timeout=SECOND) == [2, 3]
    assert await add(scheduler, model, 2, 1) == [3, 2]
    assert await add(scheduler, model, 1, 2, dimensions=4) == [2, 3]
    assert len(backend.batches) == 3
    counters = model.statistics
    assert (counters.cache_hits, counters.cache_misses, counters.succeeded, counters.rows) == (1, 3, 4, 6)
    assert counters.computed == 3


async def test_what_an_unloaded_model_answered_is_given_to_nobody(scheduler: Scheduler) -> None:
    model = planned(Adder(), cached=True)
    await add(scheduler, model, 1)
    await scheduler.unload(model)
    backend = Adder()
    model.backend = backend
    await add(scheduler, model, 1)
    assert backend.batches == [[[1]]]


async def test_errors_are_not_kept(scheduler: Scheduler) -> None:
    model = planned(Adder(), cached=True)
    for _ in range(2):
        with pytest.raises(Invalid):
            await add(scheduler, model, -1)
    assert model.statistics.cache_hits == 0


async def test_runs_are_counted_by_their_rows(scheduler: Scheduler) -> None:
    backend = Adder(batch_rows=4)
    model = planned(backend, instances=1)
    held = await hold(scheduler, model, backend, runs=1)
    waiting = await send(scheduler, model, (1, 2), (3,), (4,))
    backend.gate.set()
    await asyncio.gather(held, waiting)
    batches = model.statistics.batches
    assert {rows: batch.runs for rows, batch in batches.items()} == {1: 1, 4: 1}
    assert all(batch.compute_ns > 0 for batch in batches.values())


def test_a_plan_without_anything_said_lets_every_thread_run() -> None:
    assert Plan().instances == 0
