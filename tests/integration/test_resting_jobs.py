"""Jobs that only wait are let go by their worker, and begun again when they are called; on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from polyforge.database.scopes import Scope
from polyforge.jobs import service as service_module
from polyforge.jobs.endings import MOST_TOPICS
from polyforge.jobs.lease import Timing
from polyforge.jobs.overview import JobOverview
from polyforge.jobs.records import Job
from polyforge.jobs.running import JobContext
from polyforge.jobs.worker import Worker
from polyforge.kernel.errors import Conflict
from tests.support.databases import Place
from tests.support.job_house import ME, TIMING, House, give, job_house
from tests.support.waiting import eventually_async

SOON = Timing(lease=60.0, renew=0.5, scan=0.2, tick=0.05, hold=0.1)
"""What waits is let go at once."""


@pytest.fixture
async def house(place: Place) -> AsyncIterator[House]:
    async with job_house(place) as made:
        yield made


class Asking:
    """Jobs that take a step, wait for an answer, and take another step."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.broken_off = asyncio.Event()

    async def __call__(self, context: JobContext) -> Any:
        await context.step("first", lambda: give(self.done.append("first")))
        try:
            answer = await context.wait_for("answer", "answers", code="person", message="Ada has to say")
        except asyncio.CancelledError:
            self.broken_off.set()
            raise
        await context.step("second", lambda: give(self.done.append("second")))
        return answer


async def let_go(house: House, job: Job) -> Job:
    """A job once no worker has it, although it is not over."""
    return await house.see(lambda: house.job(job), lambda found: found.let_go)


async def test_a_job_that_only_waits_is_let_go_and_goes_on_when_it_is_told(house: House) -> None:
    asking = Asking()
    worker = await house.worker(asking, timing=SOON)
    (job,) = await house.start(dedup_key="one")
    waiting = await let_go(house, job)
    assert waiting.waiting_for is not None
    assert (waiting.waiting_for.code, waiting.waiting_for.message) == ("person", "Ada has to say")
    assert [seen.running for seen in await JobOverview(house.database, house.clock).workers()] == [0]
    assert (await house.start(dedup_key="one"))[0].id == job.id, "it is not over"
    await worker.close()
    await house.service.tell(ME, job.id, "answers", {"n": 1})
    called = await house.job(job)
    assert called.state == "queued"
    assert called.waiting_for is not None
    assert called.waiting_for.code == "no_worker"
    await house.worker(asking)
    done = await house.until(job, "succeeded", "failed")
    assert (done.result, done.attempt, done.takeovers, done.waiting_for) == ({"n": 1}, 1, 0, None)
    assert asking.done == ["first", "second"]
    row = await house.row(job)
    assert (row["run"], row["strikes"], row["due_at"], row["topics"]) == (2, 0, None, None)
    told = [kind for kind in await house.events(job) if kind != "job.progressed"]
    assert told == ["job.queued", "job.started", "job.let_go", "job.started", "job.ended"]


async def test_a_message_on_another_topic_leaves_it_where_it_is(house: House) -> None:
    asking = Asking()
    await house.worker(asking, timing=SOON)
    (job,) = await house.start()
    await let_go(house, job)
    await house.service.tell(ME, job.id, "others", {})
    assert (await house.job(job)).let_go
    await house.service.tell(ME, job.id, "answers", {"n": 1})
    assert (await house.until(job, "succeeded")).result == {"n": 1}


async def test_a_message_that_others_have_had_calls_nobody(house: House) -> None:
    async def work(context: JobContext) -> Any:
        first = await context.wait_for("first", "answers", code="person", message="Ada")
        return [first, await context.wait_for("second", "answers", code="person", message="Ada")]

    await house.worker(work, timing=SOON)
    (job,) = await house.start()
    await let_go(house, job)
    await house.service.tell(ME, job.id, "answers", {"n": 1})
    await house.see(lambda: house.row(job), lambda row: row["run"] == 2 and row["worker"] is None)
    assert (await house.job(job)).state == "waiting"
    await house.service.tell(ME, job.id, "answers", {"n": 2})
    assert (await house.until(job, "succeeded")).result == [{"n": 1}, {"n": 2}]


async def test_a_message_that_comes_while_it_is_broken_off_is_heard(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_end = Worker._write_end  # pyright: ignore[reportPrivateUsage]
    told: list[str] = []

    async def tell_before(self: Worker, claim: Any, *more: Any) -> bool:
        if not told:
            told.append(claim.job.id)
            await house.service.tell(ME, claim.job.id, "answers", {"n": 1})
        return await write_end(self, claim, *more)

    monkeypatch.setattr(Worker, "_write_end", tell_before)
    asking = Asking()
    await house.worker(asking, timing=SOON)
    (job,) = await house.start()
    assert (await house.until(job, "succeeded")).result == {"n": 1}
    assert asking.done == ["first", "second"]
    assert "job.let_go" not in await house.events(job)


async def test_a_message_whose_transaction_goes_on_meanwhile_is_heard(house: House) -> None:
    """It has the row, so that letting go of the job waits for it, and finds the message."""
    asking = Asking()
    (job,) = await house.start()
    await house.worker(asking, timing=SOON)
    await eventually_async(lambda: asking.done, "its first step")
    async with house.database.write(Scope(ME.organization_id, ME.project_id)) as session:
        await house.service.tell_within(session, ME, job.id, "answers", {"n": 1})
        await asyncio.wait({asyncio.ensure_future(asking.broken_off.wait())}, timeout=1.0)
    assert (await house.until(job, "succeeded")).result == {"n": 1}


async def test_a_message_that_a_step_had_taken_and_not_kept_is_heard(house: House) -> None:
    """As when a run is broken off between having a message and keeping it."""
    asking = Asking()
    worker = await house.worker(asking, timing=SOON)
    take = worker.take_message

    async def take_and_stop(claim: Any, topic: str, step: str) -> str | None:
        found = await take(claim, topic, step)
        if found is not None and claim.run == 1:
            await asyncio.Event().wait()
        return found

    setattr(worker, "take_message", take_and_stop)  # noqa: B010  it is the worker's own
    (job,) = await house.start()
    await house.service.tell(ME, job.id, "answers", {"n": 1})
    assert (await house.until(job, "succeeded")).result == {"n": 1}
    assert asking.done == ["first", "second"]


async def test_no_message_is_lost_whenever_it_comes(house: House) -> None:
    """Jobs are told while two workers let go of them."""
    asking = Asking()
    made = await house.start(40)
    for _ in range(2):
        await house.worker(asking, timing=SOON)

    async def tell(number: int, job: Job) -> None:
        await asyncio.sleep(number * 0.02)
        await house.service.tell(ME, job.id, "answers", {"n": number})

    await asyncio.gather(*[tell(number, job) for number, job in enumerate(made)])
    for number, job in enumerate(made):
        assert (await house.until(job, "succeeded", "failed")).result == {"n": number}
    assert (asking.done.count("first"), asking.done.count("second")) == (40, 40)


async def test_a_job_that_nobody_has_is_cancelled_at_once(house: House) -> None:
    worker = await house.worker(Asking(), timing=SOON)
    (job,) = await house.start()
    await let_go(house, job)
    await worker.close()
    cancelled = await house.service.cancel(ME, job.id)
    assert (cancelled.state, cancelled.waiting_for) == ("cancelled", None)
    assert cancelled.ended_at is not None
    with pytest.raises(Conflict, match="cancelled already"):
        await house.service.tell(ME, job.id, "answers", {})
    assert (await house.row(job))["due_at"] is None


async def test_a_job_that_is_cancelled_while_it_is_broken_off_is_over(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_end = Worker._write_end  # pyright: ignore[reportPrivateUsage]

    async def cancel_before(self: Worker, claim: Any, *more: Any) -> bool:
        await house.service.cancel(ME, claim.job.id)
        return await write_end(self, claim, *more)

    monkeypatch.setattr(Worker, "_write_end", cancel_before)
    await house.worker(Asking(), timing=SOON)
    (job,) = await house.start()
    done = await house.until(job, "cancelled")
    assert done.ended_at is not None
    assert (await house.row(job))["run"] == 1


async def test_a_clock_that_was_due_while_no_worker_lived_is_honoured(house: House) -> None:
    woken: list[float] = []

    async def work(context: JobContext) -> None:
        await context.sleep("pause", 3.0)
        woken.append(house.clock.now())

    worker = await house.worker(work, timing=SOON)
    (job,) = await house.start()
    sleeping = await let_go(house, job)
    assert sleeping.waiting_for is not None
    assert sleeping.waiting_for.code == "sleep"
    await worker.close()
    due = (await house.row(job))["due_at"]
    await eventually_async(lambda: house.clock.now() >= due, "the end of the pause")
    assert (await house.job(job)).let_go
    await house.worker(work)
    assert (await house.until(job, "succeeded")).takeovers == 0
    assert woken[0] >= due


async def test_a_wait_ends_when_its_time_is_over_also_where_nobody_has_the_job(house: House) -> None:
    async def work(context: JobContext) -> Any:
        answer = await context.wait_for("a", "answers", code="person", message="Ada", timeout_seconds=1.0)
        return "nobody" if answer is None else answer

    await house.worker(work, timing=SOON)
    (job,) = await house.start()
    await let_go(house, job)
    assert (await house.until(job, "succeeded")).result == "nobody"


async def test_what_does_something_else_as_well_is_held(house: House) -> None:
    go_on = asyncio.Event()

    async def work(context: JobContext) -> Any:
        async with asyncio.TaskGroup() as group:
            group.create_task(context.wait_for("answer", "answers", code="person", message="Ada"))
            await context.step("long", go_on.wait)
        return "done"

    await house.worker(work, timing=SOON)
    (busy,) = await house.start()
    (idle,) = await house.start()
    await house.until(busy, "running")
    go_on.set()
    await let_go(house, idle)
    await let_go(house, busy)
    for job in (busy, idle):
        await house.service.tell(ME, job.id, "answers", {})
        assert (await house.until(job, "succeeded")).takeovers == 0


async def test_letting_go_counts_neither_as_a_death_nor_as_a_new_time_limit(house: House) -> None:
    async def work(context: JobContext) -> None:
        await context.step("first", lambda: asyncio.sleep(0.3))
        await context.wait_for("answer", "answers", code="person", message="Ada has to say")
        await context.step("long", asyncio.Event().wait)

    (job,) = await house.start(timeout_seconds=100.0)
    await house.set_row(job, strikes=3, run=3)
    house.shelf.runs[f"{job.id}:3"] = []
    await house.worker(work, timing=SOON)
    await let_go(house, job)
    row = await house.row(job)
    assert (row["strikes"], row["run"]) == (0, 4)
    assert row["ran_seconds"] > 0
    await house.set_row(job, ran_seconds=1_000.0)
    await house.service.tell(ME, job.id, "answers", {})
    done = await house.until(job, "failed")
    assert done.error is not None
    assert done.error.code == "timeout"


async def test_workers_that_die_while_a_job_waits_did_not_die_of_it(house: House) -> None:
    asking = Asking()
    waits, works = (await house.start())[0], (await house.start(args={"works": True}))[0]

    async def work(context: JobContext) -> Any:
        return await (asyncio.Event().wait() if context.job.args.get("works") else asking(context))

    await house.worker(work, session="one")
    await house.until(waits, "waiting")
    await house.until(works, "running")
    await house.worker(session="one")
    rows = [await house.row(job) for job in (waits, works)]
    assert [(row["takeovers"], row["strikes"]) for row in rows] == [(1, 0), (1, 1)]


async def test_a_worker_that_drains_lets_go_of_what_waits(house: House) -> None:
    asking = Asking()
    worker = await house.worker(asking)
    (job,) = await house.start()
    await house.until(job, "waiting")
    await worker.drain(5)
    assert (await house.job(job)).let_go
    await worker.close()
    await house.worker(asking)
    await house.service.tell(ME, job.id, "answers", {"n": 1})
    assert (await house.until(job, "succeeded")).result == {"n": 1}
    assert asking.done == ["first", "second"]


async def test_many_that_wait_leave_room_for_one_that_runs(house: House) -> None:
    """Long before they would be let go for the time that they have waited."""
    asking = Asking()

    async def work(context: JobContext) -> Any:
        return await asking(context) if context.job.args.get("asks") else "ran"

    made = await house.start(300, args={"asks": True})
    await house.worker(work, timing=TIMING)
    (job,) = await house.start()
    assert (await house.until(job, "succeeded")).result == "ran"
    await house.see(lambda: waiting(house), lambda found: found == 300)
    (later,) = await house.start()
    assert (await house.until(later, "succeeded")).result == "ran"
    for each in made[:3]:
        await house.service.tell(ME, each.id, "answers", {"n": 1})
    for each in made[:3]:
        assert (await house.until(each, "succeeded")).result == {"n": 1}


async def waiting(house: House) -> int:
    counts = await JobOverview(house.database, house.clock).counts()
    return sum(each.count for each in counts if each.state == "waiting")


async def test_a_job_that_waits_for_very_much_is_called_by_any_message(house: House) -> None:
    heard: list[int] = []

    async def wait(context: JobContext, number: int) -> None:
        await context.wait_for(f"wait {number}", f"topic {number}", code="person", message="Ada has to say")
        heard.append(number)

    async def work(context: JobContext) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(MOST_TOPICS + 1):
                group.create_task(wait(context, number))

    await house.worker(work, timing=SOON)
    (job,) = await house.start()
    await let_go(house, job)
    assert (await house.row(job))["topics"] is None
    await house.service.tell(ME, job.id, "topic 7", {})
    await eventually_async(lambda: heard == [7], "what it was told")


async def test_so_many_jobs_of_a_project_may_wait(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "MAX_WAITING", 1)
    await house.worker(Asking(), timing=SOON)
    (job,) = await house.start()
    await let_go(house, job)
    with pytest.raises(Conflict, match="1 jobs of this project wait"):
        await house.start()
    await house.service.cancel(ME, job.id)
    await house.start()
