"""What a kind of job is given to run with: steps that are done once, waits, and what stops it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from polyforge.jobs.endings import ending_of
from polyforge.jobs.notes import Notes
from polyforge.jobs.records import MAX_JSON_BYTES, Progress
from polyforge.jobs.run import Run, StopReason
from polyforge.jobs.running import MAX_STEP_BYTES, JobContext
from polyforge.jobs.working_store import Claim
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import Invalid, TimedOut, Unavailable
from tests.support.journals import MemoryJournal, Shelf
from tests.support.waiting import eventually_async
from tests.unit.jobs.samples import sample_job

Kind = Callable[[JobContext], Awaitable[Any]]


class FakeDesk:
    """A worker with a valid lease, until it has a reason."""

    def __init__(self) -> None:
        self.reason: StopReason | None = None
        self.messages: list[str] = []

    def refusal(self) -> StopReason | None:
        return self.reason

    async def take_message(self, claim: Claim, topic: str, step: str) -> str | None:
        return self.messages.pop(0) if self.messages else None


class Bench:
    """Runs one job again and again."""

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.desk = FakeDesk()
        self.clock = FakeClock()
        self.number = 0
        self.done: list[str] = []

    async def begin(self, **job: Any) -> Run:
        self.number += 1
        journal = MemoryJournal(self.shelf)
        earlier = [f"run:{number}" for number in range(1, self.number)]
        await journal.fence(earlier)
        kept = await journal.kept(earlier)
        claim = Claim(sample_job(state="running", **job), self.number, 0)
        return Run(claim, journal, self.desk, self.clock, kept, Notes(self.clock, 0, Progress()))

    async def go_on(self, run: Run, kind: Kind) -> Any:
        async def body() -> None:
            run.task = asyncio.ensure_future(kind(run))
            await asyncio.wait({run.task})

        await run._journal.run(f"run:{self.number}", body)  # pyright: ignore[reportPrivateUsage]
        assert run.task is not None
        return run.task.result()

    async def run(self, kind: Kind, **job: Any) -> Any:
        return await self.go_on(await self.begin(**job), kind)

    def work(self, name: str, result: Any = None) -> Callable[[], Awaitable[Any]]:
        async def done() -> Any:
            self.done.append(name)
            return result if result is not None else name

        return done


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_completed_step_is_not_done_again(bench: Bench) -> None:
    async def kind(context: JobContext) -> Any:
        first = await context.step("first", bench.work("first", {"n": 1}))
        if bench.number == 1:
            raise Unavailable("not now")
        return first, await context.step("second", bench.work("second"))

    with pytest.raises(Unavailable):
        await bench.run(kind)
    assert await bench.run(kind) == ({"n": 1}, "second")
    assert bench.done == ["first", "second"]


async def test_a_step_that_fails_is_not_kept(bench: Bench) -> None:
    async def fail() -> None:
        bench.done.append("failed")
        raise Unavailable("not now")

    async def kind(context: JobContext) -> Any:
        await context.step("only", fail if bench.number == 1 else bench.work("only"))

    with pytest.raises(Unavailable):
        await bench.run(kind)
    await bench.run(kind)
    assert bench.done == ["failed", "only"]


async def test_steps_at_the_same_time_keep_their_own_results_in_whatever_order(bench: Bench) -> None:
    async def kind(context: JobContext) -> Any:
        names = ["a", "b", "c"] if bench.number == 1 else ["c", "b", "a"]
        found = await asyncio.gather(*[context.step(name, bench.work(name)) for name in names])
        if bench.number == 1:
            raise Unavailable("not now")
        return found

    with pytest.raises(Unavailable):
        await bench.run(kind)
    assert await bench.run(kind) == ["c", "b", "a"]
    assert bench.done == ["a", "b", "c"]


async def test_what_a_step_gives_is_what_a_repeat_is_given(bench: Bench) -> None:
    async def kind(context: JobContext) -> Any:
        return await context.step("pair", bench.work("pair", (1, 2)))

    assert await bench.run(kind) == [1, 2]
    assert await bench.run(kind) == [1, 2]


async def test_a_step_is_tried_as_often_as_it_may_be(bench: Bench) -> None:
    async def fail() -> None:
        bench.done.append("tried")
        raise OSError("no")

    async def kind(context: JobContext) -> Any:
        await context.step("only", fail, retries=2, backoff=0.0)

    run = await bench.begin()
    with pytest.raises(OSError, match="no"):
        await bench.go_on(run, kind)
    assert bench.done == ["tried"] * 3
    assert [line.level for line in run.notes.take()[0]] == ["warning", "warning"]


async def test_an_error_that_trying_does_not_help_is_not_tried_again(bench: Bench) -> None:
    async def fail() -> None:
        bench.done.append("tried")
        raise Invalid("no")

    async def kind(context: JobContext) -> Any:
        await context.step("only", fail, retries=5, backoff=0.0)

    with pytest.raises(Invalid):
        await bench.run(kind)
    assert bench.done == ["tried"]


async def test_a_step_that_takes_too_long_is_broken_off(bench: Bench) -> None:
    async def kind(context: JobContext) -> Any:
        await context.step("long", asyncio.Event().wait, timeout_seconds=0.01)

    with pytest.raises(TimedOut, match="'long' took longer"):
        await bench.run(kind)


async def test_a_result_that_is_too_large_says_where_it_belongs(bench: Bench) -> None:
    async def kind(context: JobContext) -> Any:
        await context.step("large", bench.work("large", "x" * MAX_STEP_BYTES))

    with pytest.raises(Invalid, match="object store"):
        await bench.run(kind)


async def test_a_result_that_is_no_json_is_refused(bench: Bench) -> None:
    async def kind(context: JobContext) -> Any:
        await context.step("odd", bench.work("odd", object()))

    with pytest.raises(Invalid, match="no JSON"):
        await bench.run(kind)


@pytest.mark.parametrize("name", ["", "x" * 151])
async def test_names_have_a_length(bench: Bench, name: str) -> None:
    async def kind(context: JobContext) -> Any:
        await context.step(name, bench.work("any"))

    with pytest.raises(Invalid, match="1 to 150 characters"):
        await bench.run(kind)


async def test_two_steps_cannot_have_one_name(bench: Bench) -> None:
    async def kind(context: JobContext) -> Any:
        await context.step("same", bench.work("same"))
        await context.step("same", bench.work("same"))

    with pytest.raises(Invalid, match="two steps 'same'"):
        await bench.run(kind)


async def test_a_step_cannot_hold_another(bench: Bench) -> None:
    async def kind(context: JobContext) -> Any:
        async def outer() -> None:
            await context.step("inner", bench.work("inner"))

        await context.step("outer", outer)

    with pytest.raises(Invalid, match="cannot hold others"):
        await bench.run(kind)


async def test_the_idempotency_key_stays_the_same(bench: Bench) -> None:
    first, second = await bench.begin(), await bench.begin()
    assert first.idempotency_key("send") == second.idempotency_key("send")
    assert first.idempotency_key("send") != first.idempotency_key("receive")


@pytest.mark.parametrize("reason", ["cancelled", "timeout", "lost", "released"])
async def test_no_step_begins_after_it_was_stopped(bench: Bench, reason: StopReason) -> None:
    async def kind(context: JobContext) -> Any:
        await context.step("first", bench.work("first"))
        bench.desk.reason = reason
        await context.step("second", bench.work("second"))

    run = await bench.begin()
    with pytest.raises(asyncio.CancelledError):
        await bench.go_on(run, kind)
    assert bench.done == ["first"]
    assert run.stopped == reason


async def test_stopping_reaches_a_step_that_goes_on(bench: Bench) -> None:
    begun, ended = asyncio.Event(), list[str]()

    async def long() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cleaned up")

    async def kind(context: JobContext) -> Any:
        await context.step("long", long)

    run = await bench.begin()
    going = asyncio.ensure_future(bench.go_on(run, kind))
    await begun.wait()
    run.stop("cancelled")
    with pytest.raises(asyncio.CancelledError):
        await going
    assert ended == ["cleaned up"]
    assert run.cancelled


async def test_a_run_that_was_taken_over_ends_without_a_trace(bench: Bench) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        begun.set()
        await go_on.wait()

    async def kind(context: JobContext) -> Any:
        await context.step("slow", slow)
        await context.step("next", bench.work("next"))

    run = await bench.begin()
    going = asyncio.ensure_future(bench.go_on(run, kind))
    await begun.wait()
    bench.shelf.fenced.add("run:1")
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await going
    assert run.stopped == "lost"
    assert bench.shelf.runs["run:1"] == []
    assert bench.done == []
    assert ending_of(run, 0.0) is None


async def test_a_message_is_waited_for(bench: Bench) -> None:
    async def kind(context: JobContext) -> Any:
        return await context.wait_for("approval", "answers", code="approval", message="Ada has to approve")

    run = await bench.begin()
    going = asyncio.ensure_future(bench.go_on(run, kind))
    await eventually_async(lambda: run.state[0] == "waiting", "waiting")
    waiting_for = run.state[1]
    assert waiting_for is not None
    assert (waiting_for.code, waiting_for.message) == ("approval", "Ada has to approve")
    bench.desk.messages.append('{"approved": true}')
    run.tell("answers")
    assert await going == {"approved": True}
    assert run.state == ("running", None)
    assert await bench.run(kind) == {"approved": True}, "a repeat is given the same message"


async def test_waiting_ends_when_its_time_is_over_also_for_a_repeat(bench: Bench) -> None:
    async def kind(context: JobContext) -> Any:
        return await context.wait_for("approval", "answers", code="x", message="y", timeout_seconds=60)

    first = await bench.begin()
    going = asyncio.ensure_future(bench.go_on(first, kind))
    await eventually_async(lambda: first.state[0] == "waiting", "waiting")
    first.stop("released")
    with pytest.raises(asyncio.CancelledError):
        await going
    bench.clock.advance(61)
    assert await bench.run(kind) is None


async def test_of_a_sleep_a_repeat_sleeps_what_is_left(bench: Bench) -> None:
    async def kind(context: JobContext) -> Any:
        await context.sleep("pause", 3_600)
        return "awake"

    first = await bench.begin()
    going = asyncio.ensure_future(bench.go_on(first, kind))
    await eventually_async(lambda: first.state[0] == "waiting", "sleeping")
    first.stop("released")
    with pytest.raises(asyncio.CancelledError):
        await going
    bench.clock.advance(3_600)
    assert await bench.run(kind) == "awake"


async def test_a_job_that_does_something_else_meanwhile_is_running(bench: Bench) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        begun.set()
        await go_on.wait()

    async def kind(context: JobContext) -> Any:
        waiting = asyncio.ensure_future(context.wait_for("approval", "answers", code="x", message="y"))
        await context.step("slow", slow)
        return await waiting

    run = await bench.begin()
    going = asyncio.ensure_future(bench.go_on(run, kind))
    await begun.wait()
    assert run.state[0] == "running"
    go_on.set()
    await eventually_async(lambda: run.state[0] == "waiting", "waiting")
    bench.desk.messages.append("{}")
    run.tell("answers")
    assert await going == {}


async def ended(bench: Bench, kind: Kind, **job: Any) -> Any:
    run = await bench.begin(**job)
    await asyncio.gather(bench.go_on(run, kind), return_exceptions=True)
    ending = ending_of(run, 1_000.0)
    assert ending is not None
    return ending


async def give(result: Any) -> Any:
    return result


async def test_a_result_that_is_too_large_fails_the_job(bench: Bench) -> None:
    ending = await ended(bench, lambda _: give("x" * MAX_JSON_BYTES))
    assert ending.state == "failed"
    assert "object store" in ending.values["error"]


async def test_an_error_of_ours_is_told_as_it_is(bench: Bench) -> None:
    async def kind(context: JobContext) -> Any:
        raise Unavailable("the model is away")

    ending = await ended(bench, kind)
    assert ending.state == "failed"
    assert '"the model is away"' in ending.values["error"]
    assert '"unavailable"' in ending.values["error"]


async def test_another_error_is_not_told(bench: Bench) -> None:
    async def kind(context: JobContext) -> Any:
        raise RuntimeError("secret")

    ending = await ended(bench, kind)
    assert ending.state == "failed"
    assert "secret" not in ending.values["error"]
    assert '"internal_error"' in ending.values["error"]


async def test_what_is_worth_it_is_tried_again_later_and_later(bench: Bench) -> None:
    async def kind(context: JobContext) -> Any:
        raise Unavailable("not now")

    first = await ended(bench, kind, max_attempts=3)
    assert (first.state, first.values["attempt"], first.values["run_after"]) == ("queued", 2, 1_030.0)
    second = await ended(bench, kind, max_attempts=3, attempt=2)
    assert (second.state, second.values["attempt"], second.values["run_after"]) == ("queued", 3, 1_060.0)
    third = await ended(bench, kind, max_attempts=3, attempt=3)
    assert third.state == "failed"


async def test_a_job_that_ends_well_although_it_was_to_end_has_succeeded(bench: Bench) -> None:
    async def kind(context: JobContext) -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done all the same"

    run = await bench.begin()
    going = asyncio.ensure_future(bench.go_on(run, kind))
    await eventually_async(lambda: run.task is not None, "the task")
    await asyncio.sleep(0)
    run.stop("cancelled")
    await going
    ending = ending_of(run, 0.0)
    assert ending is not None
    assert ending.state == "succeeded"


async def test_what_only_waits_can_be_let_go_and_goes_on_where_it_was(bench: Bench) -> None:
    async def kind(context: JobContext) -> Any:
        await context.step("first", bench.work("first"))
        return await context.wait_for("a", "answers", code="person", message="Ada", timeout_seconds=3_600)

    run = await bench.begin()
    going = asyncio.ensure_future(bench.go_on(run, kind))
    await eventually_async(lambda: run.resting, "waiting")
    run.seconds = 4.0
    assert run.let_go()
    assert not run.let_go(), "once is enough"
    with pytest.raises(asyncio.CancelledError):
        await going
    ending = ending_of(run, 1_000.0)
    assert ending is not None
    assert ending.rest is not None
    assert (ending.state, ending.event, ending.rest.topics, ending.rest.steps) == (
        "waiting",
        "job.let_go",
        ("answers",),
        ("a",),
    )
    assert (ending.values["worker"], ending.values["strikes"], ending.values["ran_seconds"]) == (None, 0, 4.0)
    assert (ending.values["due_at"], ending.values["topics"]) == (bench.clock.now() + 3_600, '["answers"]')
    bench.desk.messages.append('{"n": 1}')
    assert await bench.run(kind) == {"n": 1}
    assert bench.done == ["first"]


async def test_what_does_more_than_wait_cannot_be_let_go(bench: Bench) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def fail() -> None:
        begun.set()
        raise Unavailable("not now")

    async def slow() -> None:
        begun.set()
        await go_on.wait()

    async def other(context: JobContext, what: str) -> None:
        match what:
            case "step":
                await context.step("slow", slow)
            case "pause":
                await context.step("fails", fail, retries=1, backoff=3_600)
            case "nap":
                begun.set()
                await context.sleep("nap", 1.9)
            case _:
                context.occupied(1)
                await slow()
                context.occupied(-1)

    for what in ("step", "pause", "nap", "outside"):
        begun.clear()
        go_on.clear()

        async def kind(context: JobContext, what: str = what) -> Any:
            async with asyncio.TaskGroup() as group:
                group.create_task(context.wait_for("a", "answers", code="person", message="Ada"))
                await asyncio.sleep(0)
                await other(context, what)

        run = await bench.begin()
        going = asyncio.ensure_future(bench.go_on(run, kind))
        await begun.wait()
        await eventually_async(lambda run=run: run.listens, "the wait")
        await asyncio.sleep(0)
        assert not run.let_go(), what
        if what in ("step", "outside"):
            go_on.set()
            await eventually_async(lambda run=run: run.resting, what)
        run.stop("cancelled")
        await asyncio.gather(going, return_exceptions=True)


async def test_what_fails_while_it_is_let_go_is_begun_again(bench: Bench) -> None:
    async def kind(context: JobContext) -> Any:
        try:
            await context.wait_for("a", "answers", code="person", message="Ada")
        except asyncio.CancelledError:
            raise Unavailable("not now") from None

    run = await bench.begin()
    going = asyncio.ensure_future(bench.go_on(run, kind))
    await eventually_async(lambda: run.resting, "waiting")
    run.let_go()
    with pytest.raises(Unavailable):
        await going
    ending = ending_of(run, 1_000.0)
    assert ending is not None
    assert (ending.state, ending.event, ending.rest) == ("queued", "job.released", None)
