"""Jobs and schedules on behalf of callers, on SQLite and on PostgreSQL."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from polyforge.database.database import Database
from polyforge.database.events.store import Audience, SystemEvents
from polyforge.jobs.overview import JobOverview
from polyforge.jobs.queues import Queue
from polyforge.jobs.records import Job, JobFilter, NewJob, NewSchedule
from polyforge.jobs.schedules import ScheduleService
from polyforge.jobs.service import MAX_MESSAGES, JobService
from polyforge.jobs.settings import JobSettings
from polyforge.jobs.tables import job_logs, job_messages, jobs
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import Conflict, Invalid, NotFound
from polyforge.kernel.ids import new_ulid
from polyforge.tenancy.audit.tables import audit_events
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID
from tests.support.principals import install_default
from tests.support.recording import recorder
from tests.unit.tenancy.samples import caller

OTHER_PROJECT = "0000000000000000000000009P"
ME = caller("jobs:write", "inference")
STRANGER = caller("*", project_id=OTHER_PROJECT)
EVERYTHING = JobFilter()
SETTINGS = JobSettings.model_validate({"queues": {"narrow": {"running": 1}}})


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def service(database: Database, clock: FakeClock) -> JobService:
    await install_default(database, clock)
    return JobService(database, clock, recorder(clock), SETTINGS)


@pytest.fixture
def schedules(database: Database, clock: FakeClock, service: JobService) -> ScheduleService:
    return ScheduleService(database, clock, recorder(clock), service)


def new(**changes: Any) -> NewJob:
    values: dict[str, Any] = {"kind": "sample", "title": "Sample", **changes}
    return NewJob(**values)


async def set_row(database: Database, job: Job, **values: Any) -> None:
    async with database.write() as session:
        await session.change(update(jobs).where(jobs.c.id == job.id).values(values))


async def heard(database: Database) -> list[str]:
    async with database.read() as session:
        found = await SystemEvents(session).after(0)
    return [event.kind for event in found if event.stream == "jobs"]


async def audited(database: Database) -> list[str]:
    async with database.read() as session:
        return [row["action"] for row in await session.all(select(audit_events.c.action))]


async def test_a_job_is_shown_as_it_was_asked_for(service: JobService, clock: FakeClock) -> None:
    made = await service.start(ME, new(args={"file": "file-1"}, queue="batch", priority=2, max_attempts=3))
    found = await service.get(ME, made.id)
    assert found.id.startswith("job_")
    assert (found.kind, found.title, found.queue, found.priority) == ("sample", "Sample", "batch", 2)
    assert (found.args, found.state, found.attempt, found.max_attempts) == ({"file": "file-1"}, "queued", 1, 3)
    assert found.created_at == clock.now()
    assert found.waiting_for is not None
    assert found.waiting_for.code == "no_worker"


async def test_a_job_acts_as_its_caller_and_may_no_more(service: JobService) -> None:
    narrow = await service.start(ME, new(scopes=frozenset({"inference", "keys:write"})))
    wide = await service.start(ME, new())
    assert (await service.get(ME, narrow.id)).caller.scopes == {"inference"}
    acting = (await service.get(ME, wide.id)).caller
    assert (acting.key_id, acting.project_id, acting.scopes) == (ME.key_id, ME.project_id, ME.scopes)


async def test_a_job_is_there_only_if_its_transaction_commits(service: JobService, database: Database) -> None:
    async def fail_later_on() -> None:
        async with database.write() as session:
            await service.submit(session, ME, new())
            raise RuntimeError("it fails later on")

    with pytest.raises(RuntimeError):
        await fail_later_on()
    assert (await service.page(ME, 10, None, EVERYTHING))[0] == []
    assert await heard(database) == []


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"kind": "No Name"}, "kind"),
        ({"title": " "}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"title": "a\0b"}, "title"),
        ({"dedup_key": "\ud800"}, "dedup_key"),
        ({"queue": "No Name"}, "queue"),
        ({"priority": 10}, "priority"),
        ({"args": {"content": "x" * 65_536}}, "args"),
        ({"args": {"text": "\ud800"}}, "args"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"dedup_key": ""}, "dedup_key"),
        ({"timeout_seconds": 0.0}, "timeout_seconds"),
    ],
)
async def test_what_a_job_cannot_be_names_the_field(service: JobService, changes: dict[str, Any], param: str) -> None:
    with pytest.raises(Invalid) as caught:
        await service.start(ME, new(**changes))
    assert caught.value.param == param


async def test_the_same_job_is_made_once_while_it_is_unfinished(service: JobService, database: Database) -> None:
    made = await asyncio.gather(*[service.start(ME, new(dedup_key="one")) for _ in range(5)])
    assert len({job.id for job in made}) == 1
    assert len(await heard(database)) == 1
    await service.cancel(ME, made[0].id)
    assert (await service.start(ME, new(dedup_key="one"))).id != made[0].id


async def test_other_projects_kinds_and_keys_are_other_jobs(service: JobService) -> None:
    made = [
        await service.start(ME, new(dedup_key="one")),
        await service.start(ME, new(dedup_key="two")),
        await service.start(ME, new(dedup_key="one", kind="other")),
        await service.start(STRANGER, new(dedup_key="one")),
    ]
    assert len({job.id for job in made}) == 4


async def test_jobs_of_others_are_not_there(service: JobService) -> None:
    made = await service.start(ME, new())
    for call in (
        service.get(STRANGER, made.id),
        service.cancel(STRANGER, made.id),
        service.retry(STRANGER, made.id),
        service.logs(STRANGER, made.id, 0, 10),
        service.tell(STRANGER, made.id, "topic", {}),
        service.get(ME, "job_" + "0" * 26),
        service.get(ME, "nothing"),
    ):
        with pytest.raises(NotFound):
            await call
    assert (await service.page(STRANGER, 10, None, EVERYTHING))[0] == []


async def test_pages_go_from_the_newest_to_the_oldest(service: JobService) -> None:
    made = [(await service.start(ME, new())).id for _ in range(5)]
    first, cursor = await service.page(ME, 3, None, EVERYTHING)
    second, end = await service.page(ME, 3, cursor, EVERYTHING)
    assert [job.id for job in first + second] == made[::-1]
    assert end is None
    with pytest.raises(Invalid):
        await service.page(ME, 3, "nonsense", EVERYTHING)


async def test_a_list_shows_only_what_is_asked_for(service: JobService) -> None:
    kept = await service.start(ME, new(kind="special", queue="batch"))
    other = await service.start(ME, new())
    await service.cancel(ME, other.id)
    for which in (JobFilter(states=("queued",)), JobFilter(kinds=("special",)), JobFilter(queues=("batch", "x"))):
        assert [job.id for job in (await service.page(ME, 10, None, which))[0]] == [kept.id]


async def test_a_queued_job_is_cancelled_at_once(service: JobService, database: Database) -> None:
    made = await service.start(ME, new())
    ended = await service.cancel(ME, made.id)
    assert (ended.state, ended.finished, ended.ended_at) == ("cancelled", True, made.created_at)
    with pytest.raises(Conflict):
        await service.cancel(ME, made.id)
    assert await heard(database) == ["job.queued", "job.cancelled"]
    assert await audited(database) == ["job.cancelled"]


async def test_a_running_job_is_asked_to_end(service: JobService, database: Database) -> None:
    made = await service.start(ME, new())
    await set_row(database, made, state="running", worker="w")
    asked = await service.cancel(ME, made.id)
    assert (asked.state, asked.cancel_requested) == ("running", True)


async def test_a_failed_job_is_tried_again_with_a_new_attempt(service: JobService, database: Database) -> None:
    made = await service.start(ME, new())
    await set_row(database, made, state="failed", ended_at=1.0, strikes=5, error='{"code": "x", "message": "y"}')
    again = await service.retry(ME, made.id)
    assert (again.state, again.attempt, again.max_attempts, again.error) == ("queued", 2, 2, None)
    assert again.ended_at is None
    with pytest.raises(Conflict):
        await service.retry(ME, made.id)
    assert await audited(database) == ["job.retried"]


async def test_a_job_is_not_tried_again_beside_one_that_does_the_same(service: JobService) -> None:
    made = await service.start(ME, new(dedup_key="one"))
    await service.cancel(ME, made.id)
    await service.start(ME, new(dedup_key="one"))
    with pytest.raises(Conflict):
        await service.retry(ME, made.id)


async def test_lines_of_a_log_come_in_pages(service: JobService, database: Database) -> None:
    made = await service.start(ME, new())
    owner = {"job_id": made.id, "organization_id": made.organization_id, "project_id": made.project_id}
    async with database.write() as session:
        lines = [{**owner, "seq": seq, "at": 1.0, "level": "info", "text": str(seq)} for seq in range(1, 6)]
        await session.change(insert(job_logs).values(lines))
    first = await service.logs(ME, made.id, 0, 3)
    rest = await service.logs(ME, made.id, first[-1].seq, 3)
    assert [line.text for line in [*first, *rest]] == ["1", "2", "3", "4", "5"]


async def test_messages_are_kept_for_a_job_that_is_not_over(service: JobService, database: Database) -> None:
    made = await service.start(ME, new())
    for number in range(MAX_MESSAGES):
        await service.tell(ME, made.id, "answers", {"number": number})
    with pytest.raises(Conflict):
        await service.tell(ME, made.id, "answers", {})
    with pytest.raises(Invalid):
        await service.tell(ME, made.id, "x" * 65, {})
    with pytest.raises(Invalid):
        await service.tell(ME, made.id, "answers", {"text": "x" * 65_536})
    await service.cancel(ME, made.id)
    with pytest.raises(Conflict):
        await service.tell(ME, made.id, "answers", {})
    async with database.read() as session:
        assert len(await session.all(select(job_messages.c.id))) == MAX_MESSAGES


async def test_a_job_of_later_says_when(service: JobService, clock: FakeClock) -> None:
    made = await service.start(ME, new(run_after=clock.now() + 60))
    waiting_for = (await service.get(ME, made.id)).waiting_for
    assert waiting_for is not None
    assert waiting_for.code == "time"


async def test_a_list_says_of_each_what_it_waits_for(
    service: JobService, database: Database, clock: FakeClock, kind: str
) -> None:
    running = await service.start(ME, new(queue="narrow"))
    await set_row(database, running, state="running", worker="w", started_at=clock.now())
    waiting = [await service.start(ME, new(queue="narrow")) for _ in range(2)]
    if kind == "postgresql":  # Leases go by the clock of the database there, and no worker has one.
        assert {(await service.get(ME, job.id)).waiting_for for job in waiting} != {None}
        return
    await add_worker(database, clock)
    shown = {job.id: job.waiting_for for job in (await service.page(ME, 10, None, EVERYTHING))[0]}
    assert shown[running.id] is None
    told = [shown[job.id] for job in waiting]
    assert [each.message for each in told if each] == [
        "the queue 'narrow' runs 1 at a time; it is next",
        "the queue 'narrow' runs 1 at a time; 1 before this one",
    ]


async def add_worker(database: Database, clock: FakeClock) -> None:
    from_now = {"started_at": clock.now(), "seen_at": clock.now(), "lease_until": clock.now() + 15}
    row = {"executor_id": new_ulid(), "machine": "here", "session": "s", "place": 0, **from_now}
    async with database.write() as session:
        await session.change(insert(jobs.metadata.tables["job_workers"]).values(row))


async def test_operators_see_how_much_waits(service: JobService, database: Database, clock: FakeClock) -> None:
    first = await service.start(ME, new())
    await service.start(STRANGER, new())
    await set_row(database, await service.start(ME, new(queue="narrow")), state="running", worker="w")
    found = {(each.queue, each.state): each for each in await JobOverview(database, clock).counts()}
    assert {key: each.count for key, each in found.items()} == {("default", "queued"): 2, ("narrow", "running"): 1}
    assert found["default", "queued"].oldest_at == first.created_at


def test_the_limits_of_a_queue_come_from_the_settings() -> None:
    assert SETTINGS.queue("narrow") == Queue("narrow", running=1)


def daily(**changes: Any) -> NewSchedule:
    values: dict[str, Any] = {"kind": "sample", "title": "Daily", "cron": "0 6 * * *", **changes}
    return NewSchedule(**values)


async def test_a_schedule_is_shown_as_it_was_made(schedules: ScheduleService, clock: FakeClock) -> None:
    made = await schedules.create(ME, daily(args={"a": 1}, timezone="Europe/Berlin"))
    found = await schedules.get(ME, made.id)
    assert (found.title, found.args, found.cron, found.timezone) == ("Daily", {"a": 1}, "0 6 * * *", "Europe/Berlin")
    assert found.next_at is not None
    assert clock.now() < found.next_at <= clock.now() + 86_400
    assert await schedules.all(ME) == [found]


async def test_schedules_of_others_are_not_there(schedules: ScheduleService) -> None:
    made = await schedules.create(ME, daily())
    for call in (
        schedules.get(STRANGER, made.id),
        schedules.change(STRANGER, made.id, {"enabled": False}),
        schedules.remove(STRANGER, made.id),
        schedules.run_now(STRANGER, made.id),
    ):
        with pytest.raises(NotFound):
            await call
    assert await schedules.all(STRANGER) == []


async def test_a_changed_schedule_has_another_next_time(schedules: ScheduleService) -> None:
    made = await schedules.create(ME, daily())
    changed = await schedules.change(ME, made.id, {"cron": "* * * * *"})
    assert changed.next_at is not None
    assert made.next_at is not None
    assert changed.next_at < made.next_at
    off = await schedules.change(ME, made.id, {"enabled": False})
    assert (off.enabled, off.next_at) == (False, None)
    with pytest.raises(Invalid):
        await schedules.change(ME, made.id, {"kind": "other"})
    with pytest.raises(Invalid):
        await schedules.change(ME, made.id, {"cron": "nonsense"})


async def test_its_jobs_act_as_who_changed_it_last(schedules: ScheduleService) -> None:
    made = await schedules.create(ME, daily())
    other: Caller = caller("jobs:write")
    assert (await schedules.change(other, made.id, {"title": "Other"})).asked_by.id == other.key_id


async def test_a_removed_schedule_is_gone_and_its_jobs_are_not(
    schedules: ScheduleService, service: JobService, database: Database
) -> None:
    made = await schedules.create(ME, daily())
    job = await schedules.run_now(ME, made.id)
    await schedules.remove(ME, made.id)
    with pytest.raises(NotFound):
        await schedules.get(ME, made.id)
    found = await service.get(ME, job.id)
    assert (found.schedule_id, found.title) == (made.id, "Daily")
    assert await audited(database) == ["job_schedule.created", "job_schedule.removed"]
    assert (await service.page(ME, 10, None, JobFilter(schedule_id=made.id)))[0][0].id == job.id


async def test_who_may_read_the_project_hears_of_its_jobs(service: JobService, database: Database) -> None:
    await service.start(ME, new())
    await service.start(STRANGER, new())
    async with database.read() as session:
        mine = await SystemEvents(session).between(0, 1_000, Audience(DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID))
    assert [event.kind for event in mine if event.stream == "jobs"] == ["job.queued"]
