"""Workers over one database, on SQLite and on PostgreSQL, with a journal of steps in memory."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import pytest
from sqlalchemy import select, update

from polyforge.jobs import claiming
from polyforge.jobs import worker as worker_module
from polyforge.jobs.claiming import claim_jobs
from polyforge.jobs.overview import JobOverview
from polyforge.jobs.records import JobFilter, NewJob, NewSchedule
from polyforge.jobs.running import JobContext
from polyforge.jobs.settings import JobSettings
from polyforge.jobs.tables import job_schedules, job_workers
from polyforge.jobs.worker import MAX_STRIKES
from polyforge.kernel.errors import Unavailable
from tests.support.databases import Place
from tests.support.job_house import ME, OTHER, TIMING, House, give, job_house
from tests.support.waiting import DEADLINE, eventually_async


@pytest.fixture
async def house(place: Place) -> AsyncIterator[House]:
    async with job_house(place) as made:
        yield made


async def test_a_job_runs_and_gives_its_result(house: House) -> None:
    async def work(context: JobContext) -> Any:
        first = await context.step("double", lambda: give(context.job.args["n"] * 2))
        return {"result": first}

    await house.worker(work)
    (job,) = await house.start(args={"n": 21})
    done = await house.until(job, "succeeded", "failed")
    assert (done.state, done.result, done.worker) == ("succeeded", {"result": 42}, None)
    assert done.ended_at is not None
    assert (await house.events(job)) == ["job.queued", "job.started", "job.ended"]
    assert house.shelf.runs == {}, "what a job that is done had kept is let go of"


async def test_a_kind_that_no_worker_knows_fails(house: House) -> None:
    await house.worker()
    (job,) = await house.start()
    done = await house.until(job, "failed")
    assert done.error is not None
    assert done.error.code == "unknown_kind"


async def test_each_of_many_jobs_runs_once_over_several_workers(house: House) -> None:
    begun: list[str] = []

    async def work(context: JobContext) -> None:
        begun.append(context.job.id)
        await asyncio.sleep(0.01)

    made = await house.start(40)
    for _ in range(3):
        await house.worker(work)
    for job in made:
        await house.until(job, "succeeded")
    assert sorted(begun) == sorted(job.id for job in made)


async def test_claims_at_the_same_time_never_give_one_job_twice(house: House, place: Place) -> None:
    made = await house.start(30)
    workers = [await house.worker() for _ in range(3)]
    for worker in workers:
        await worker.drain(0)
    databases = [place.database() for _ in workers]
    for database in databases:
        await database.open()
    try:
        found = await asyncio.gather(
            *[
                claim_jobs(database, house.clock, house.settings, worker.executor_id, 30)
                for database, worker in zip(databases, workers, strict=True)
                for _ in range(3)
            ]
        )
    finally:
        for database in databases:
            await database.close()
    claimed = [claim.job.id for claims in found for claim in claims]
    assert len(claimed) == len(set(claimed)) <= len(made)
    assert claimed or all([(await house.job(job)).state != "queued" for job in made])


async def test_jobs_of_one_project_that_wait_leave_room_for_others(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "MAX_OF_PROJECT", 2)
    monkeypatch.setattr(worker_module, "MAX_HELD", 3)

    async def work(context: JobContext) -> None:
        if context.job.args.get("waits"):
            await context.wait_for("answer", "answer", code="person", message="somebody has to say")

    waiting = await house.start(4, args={"waits": True})
    await house.worker(work)
    await house.see(
        lambda: asyncio.gather(*map(house.job, waiting)),
        lambda found: [each.state for each in found].count("waiting") == 2,
    )
    job = await house.service.start(OTHER, NewJob(kind="sample", title="Other"))
    await house.see(lambda: house.service.get(OTHER, job.id), lambda found: found.state == "succeeded")
    assert sorted([(await house.job(each)).state for each in waiting]) == ["queued", "queued", "waiting", "waiting"]
    await house.service.tell(ME, waiting[0].id, "answer", {})
    await house.until(waiting[2], "waiting")


async def test_a_queue_runs_no_more_than_its_limit_over_all_workers(house: House) -> None:
    now, most = 0, 0

    async def work(context: JobContext) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.03)
        now -= 1

    house.settings = JobSettings.model_validate({"poll_seconds": 0.1, "queues": {"narrow": {"running": 2}}})
    made = await house.start(15, queue="narrow")
    for _ in range(3):
        await house.worker(work)
    for job in made:
        await house.until(job, "succeeded")
    assert most == 2


async def test_jobs_that_wait_hold_no_place_in_their_queue(house: House) -> None:
    async def work(context: JobContext) -> Any:
        if context.job.args.get("wait"):
            return await context.wait_for("approval", "answers", code="approval", message="Ada has to approve")
        return None

    house.settings = JobSettings.model_validate({"poll_seconds": 0.1, "queues": {"narrow": {"running": 1}}})
    await house.worker(work)
    (waits,) = await house.start(queue="narrow", args={"wait": True})
    waiting = await house.until(waits, "waiting")
    assert waiting.waiting_for is not None
    assert (waiting.waiting_for.code, waiting.waiting_for.message) == ("approval", "Ada has to approve")
    (other,) = await house.start(queue="narrow")
    await house.until(other, "succeeded")
    await house.service.tell(ME, waits.id, "answers", {"approved": True})
    done = await house.until(waits, "succeeded")
    assert (done.result, done.waiting_for) == ({"approved": True}, None)


async def test_a_message_that_came_before_is_heard(house: House) -> None:
    async def work(context: JobContext) -> Any:
        first = await context.wait_for("first", "answers", code="x", message="y")
        second = await context.wait_for("second", "answers", code="x", message="y")
        return [first, second]

    (job,) = await house.start()
    await house.service.tell(ME, job.id, "answers", {"number": 1})
    await house.service.tell(ME, job.id, "answers", {"number": 2})
    await house.worker(work)
    assert (await house.until(job, "succeeded")).result == [{"number": 1}, {"number": 2}]


async def test_a_running_job_is_cancelled(house: House) -> None:
    seen: list[bool] = []

    async def work(context: JobContext) -> None:
        try:
            await context.step("long", asyncio.Event().wait)
        finally:
            seen.append(context.cancelled)

    await house.worker(work)
    (job,) = await house.start()
    await house.until(job, "running")
    await house.service.cancel(ME, job.id)
    done = await house.until(job, "cancelled")
    assert seen == [True]
    assert done.ended_at is not None


async def test_a_retry_keeps_what_was_completed(house: House) -> None:
    done: list[str] = []

    async def work(context: JobContext) -> Any:
        async def once(name: str) -> str:
            done.append(name)
            if name == "second" and context.job.attempt == 1:
                raise Unavailable("not now")
            return name

        return [await context.step(name, lambda name=name: once(name)) for name in ("first", "second", "third")]

    await house.worker(work)
    (job,) = await house.start()
    failed = await house.until(job, "failed")
    assert failed.error is not None
    assert (failed.error.code, failed.error.message, failed.error.retryable) == ("unavailable", "not now", True)
    assert failed.error.hint
    await house.service.retry(ME, job.id)
    again = await house.until(job, "succeeded")
    assert again.result == ["first", "second", "third"]
    assert done == ["first", "second", "second", "third"]
    assert again.attempt == 2


async def test_a_job_that_takes_too_long_fails(house: House) -> None:
    await house.worker(lambda context: context.step("long", asyncio.Event().wait))
    (job,) = await house.start(timeout_seconds=0.2)
    done = await house.until(job, "failed")
    assert done.error is not None
    assert done.error.code == "timeout"


async def test_progress_and_lines_are_written_while_it_runs(house: House) -> None:
    go_on = asyncio.Event()

    async def work(context: JobContext) -> None:
        context.progress(3, 10, "rows", "reading")
        context.log("info", "began")
        await go_on.wait()
        context.log("warning", "ends")
        context.progress(10, 10, "rows")

    await house.worker(work)
    (job,) = await house.start()
    await house.see(lambda: house.lines(job), bool)
    running = await house.job(job)
    assert (running.progress.done, running.progress.total, running.progress.note) == (3, 10, "reading")
    go_on.set()
    done = await house.until(job, "succeeded")
    assert [(line.seq, line.level, line.text) for line in await house.lines(job)] == [
        (1, "info", "began"),
        (2, "warning", "ends"),
    ]
    assert done.progress.done == 10


async def test_a_log_has_an_end(house: House) -> None:
    async def work(context: JobContext) -> None:
        for number in range(10_500):
            context.log("info", str(number))
            if number % 500 == 0:
                await asyncio.sleep(TIMING.tick * 2)

    await house.worker(work)
    (job,) = await house.start()
    await house.until(job, "succeeded")
    lines = await house.lines(job)
    assert len(lines) <= 10_000
    assert [line.seq for line in lines] == list(range(1, len(lines) + 1))


async def test_what_fails_for_a_while_is_tried_again_by_itself(house: House) -> None:
    async def work(context: JobContext) -> str:
        if context.job.attempt == 1:
            raise Unavailable("not now")
        return "done"

    await house.worker(work)
    (job,) = await house.start(max_attempts=2)
    waiting = await house.see(lambda: house.job(job), lambda found: found.attempt == 2)
    assert (waiting.state, waiting.run_after > waiting.created_at) == ("queued", True)
    assert waiting.waiting_for is not None
    assert waiting.waiting_for.message.startswith("is tried again at")
    await house.set_row(job, run_after=0.0)
    assert (await house.until(job, "succeeded", "failed")).result == "done"


async def test_a_worker_that_drains_leaves_the_rest_to_others(house: House) -> None:
    go_on, done = asyncio.Event(), list[str]()

    async def work(context: JobContext) -> str:
        async def first() -> None:
            done.append("first")
            await go_on.wait()

        async def second() -> None:
            done.append("second")

        await context.step("first", first)
        await context.step("second", second)
        return context.job.id

    old = await house.worker(work)
    (job,) = await house.start()
    await eventually_async(lambda: done, "its first step")
    draining = asyncio.ensure_future(old.drain(DEADLINE))
    await asyncio.sleep(0)
    go_on.set()
    await draining
    await old.close()
    assert done == ["first"]
    left = await house.job(job)
    assert (left.state, left.takeovers) == ("queued", 0)
    await house.worker(work)
    await house.until(job, "succeeded")
    assert done == ["first", "second"]


async def test_a_worker_in_the_place_of_a_dead_one_goes_on_at_once(house: House) -> None:
    stuck, done = asyncio.Event(), list[str]()

    async def work(context: JobContext) -> None:
        await context.step("first", lambda: give(done.append("first")))
        if len(house.workers) == 1:
            await stuck.wait()
        await context.step("second", lambda: give(done.append("second")))

    await house.worker(work, session="one", index=3)
    (job,) = await house.start()
    await eventually_async(lambda: done, "its first step")
    await house.worker(work, index=2, session="one")
    assert (await house.job(job)).takeovers == 0, "a worker beside it takes nothing"
    await house.worker(work, session="one", index=3)
    found = await house.until(job, "succeeded")
    assert found.takeovers == 1
    stuck.set()
    assert done == ["first", "second"]
    assert "job.taken_over" in await house.events(job)
    (line,) = await house.lines(job)
    assert (line.level, "is gone" in line.text) == ("warning", True)


async def test_the_worker_that_was_taken_from_does_nothing_more(house: House) -> None:
    stuck, done, runs = asyncio.Event(), list[str](), count(1)

    async def work(context: JobContext) -> None:
        number = next(runs)

        async def first() -> None:
            done.append(f"first of {number}")
            if number == 1:
                await stuck.wait()

        await context.step("first", first)
        await context.step("second", lambda: give(done.append(f"second of {number}")))

    await house.worker(work, session="one")
    (job,) = await house.start()
    await eventually_async(lambda: done, "its first step")
    await house.worker(work, session="one")
    await house.until(job, "succeeded")
    stuck.set()
    await house.workers[0].close()
    assert done == ["first of 1", "first of 2", "second of 2"]


async def test_a_job_that_workers_die_of_fails(house: House) -> None:
    async def work(context: JobContext) -> None:
        raise AssertionError("it is not begun again")

    (job,) = await house.start()
    await house.set_row(job, run=MAX_STRIKES, strikes=MAX_STRIKES, takeovers=MAX_STRIKES, rank=-1)
    await house.worker(work)
    done = await house.until(job, "failed")
    assert done.error is not None
    assert done.error.code == "worker_lost"


async def test_a_dead_worker_is_buried_once(house: House) -> None:
    (job,) = await house.start()
    async with house.database.write() as session:
        row = {"executor_id": "dead", "machine": "there", "session": "s", "place": 0}
        times = {"started_at": 1.0, "seen_at": 1.0, "lease_until": 2.0}
        await session.change(job_workers.insert().values({**row, **times}))
    await house.set_row(job, state="running", worker="dead", run=1)
    released = await asyncio.gather(*[house.chores().take_over() for _ in range(4)])
    assert sorted(released) == [0, 0, 0, 1]
    left = await house.job(job)
    assert (left.state, left.worker, left.takeovers) == ("queued", None, 1)


async def test_a_schedule_makes_one_job_whoever_looks(house: House) -> None:
    schedule = await house.schedules.create(
        ME, NewSchedule(kind="sample", title="Often", cron="* * * * *", args={"a": 1}, queue="narrow")
    )
    async with house.database.write() as session:
        await session.change(update(job_schedules).values(next_at=house.clock.now() - 3_600))
    made = await asyncio.gather(*[house.chores().run_schedules() for _ in range(4)])
    assert sorted(made) == [0, 0, 0, 1], "times that were missed are made up for once"
    jobs_made, _ = await house.service.page(ME, 10, None, JobFilter(schedule_id=schedule.id))
    (job,) = jobs_made
    assert (job.kind, job.title, job.args, job.queue) == ("sample", "Often", {"a": 1}, "narrow")
    assert job.caller.key_id == ME.key_id
    after = await house.schedules.get(ME, schedule.id)
    assert after.next_at is not None
    assert after.next_at > house.clock.now()
    assert after.last_job_id == job.id
    assert await house.chores().run_schedules() == 0


async def test_a_schedule_runs(house: House) -> None:
    await house.worker(lambda context: give("done"))
    await house.schedules.create(ME, NewSchedule(kind="sample", title="Often", cron="* * * * *"))
    async with house.database.write() as session:
        await session.change(update(job_schedules).values(next_at=house.clock.now() - 1))
    await house.see(lambda: house.service.page(ME, 1, None, JobFilter(states=("succeeded",))), lambda page: page[0])


async def test_old_jobs_are_let_go_of_with_all_that_belongs_to_them(house: House) -> None:
    old, young = await house.start(2)
    for job in (old, young):
        await house.service.cancel(ME, job.id)
    await house.set_row(old, ended_at=house.clock.now() - 31 * 86_400, run=2)
    house.shelf.runs = {f"{old.id}:1": [], f"{old.id}:2": [], f"{young.id}:1": []}
    assert await house.chores().prune() == 1
    assert [job.id for job in (await house.service.page(ME, 10, None, JobFilter()))[0]] == [young.id]
    assert list(house.shelf.runs) == [f"{young.id}:1"]


async def test_a_job_that_its_worker_does_not_run_is_queued_again(house: House) -> None:
    """As when the connection broke while the claim was committed."""
    worker = await house.worker(lambda _: give("done"))
    (job,) = await house.start(run_after=house.clock.now() + 3_600)
    await house.set_row(job, state="running", worker=worker.executor_id, run=1)
    done = await house.until(job, "succeeded")
    assert (done.result, done.takeovers) == ("done", 0)


async def test_words_that_no_database_keeps_stop_nobody(house: House) -> None:
    async def work(context: JobContext) -> str:
        context.progress(1, 2, "ro\0ws", "\ud800")
        context.log("info", "a\0b")
        answer = await context.wait_for("x", "answers", code="c\0", message="\ud800", timeout_seconds=0.2)
        return "waited" if answer is None else "told"

    await house.worker(work)
    (job,) = await house.start()
    done = await house.until(job, "succeeded", "failed")
    assert (done.result, done.progress.unit, done.progress.note) == ("waited", "rows", "?")


async def test_workers_are_seen_while_they_live(house: House) -> None:
    first = await house.worker()
    second = await house.worker()
    overview = JobOverview(house.database, house.clock)
    assert {seen.executor_id for seen in await overview.workers()} == {first.executor_id, second.executor_id}
    await first.close()
    assert {seen.executor_id for seen in await overview.workers()} == {second.executor_id}
    async with house.database.read() as session:
        row = await session.first(select(job_workers))
    assert row is not None
    assert row["lease_until"] > row["seen_at"]
