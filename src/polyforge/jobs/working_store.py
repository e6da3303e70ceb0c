"""All SQL of jobs as workers and operators see them: those of every tenant."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, RowMapping, and_, case, delete, func, insert, or_, select, update

from polyforge.database.counting import take_number
from polyforge.database.events.log import append_event
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.database.settings import Dialect
from polyforge.jobs.queues import RATE_SECONDS, Candidate
from polyforge.jobs.records import Job, LogLine, QueueCount, Schedule, WorkerSeen
from polyforge.jobs.store import NOT_WAITING, job_of, queued_again, schedule_of
from polyforge.jobs.tables import job_logs, job_messages, job_schedules, job_workers, jobs
from polyforge.kernel.clock import Clock

LOCK: Final = "job_claims"
"""Claims go one after the other, so that limits over all workers hold."""
_HELD: Final = ("running", "waiting")
_PAGE: Final = 200
_jobs: Final = jobs.c
_workers: Final = job_workers.c
_schedules: Final = job_schedules.c
_messages: Final = job_messages.c


async def lease_time(session: ReadSession, dialect: Dialect, clock: Clock) -> float:
    """The time that leases go by: the database's where several machines share one, because theirs differ."""
    if dialect == "sqlite":
        return clock.now()
    return float(await session.scalar(select(func.extract("epoch", func.clock_timestamp()))))


class Standing(msgspec.Struct, frozen=True):
    """What stands between queued jobs and their running, over the whole installation."""

    workers: int
    """Workers whose lease is valid."""
    running: Mapping[tuple[str, str], int]
    """Running jobs by queue and project."""
    started: Mapping[str, int]
    """Jobs that started within the last minute, by queue."""


class Claim(msgspec.Struct, frozen=True):
    """A job that a worker has, for this run of it."""

    job: Job
    run: int
    strikes: int
    seconds: float = 0.0
    """For how long this attempt ran before it was let go."""


class JobReader:
    """Reads over everything."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def standing(self, now: float, lease_now: float) -> Standing:
        """What stands between queued jobs and their running."""
        workers = await self._session.scalar(
            select(func.count()).select_from(job_workers).where(_workers.lease_until > lease_now)
        )
        count = func.count().label("count")
        running = (
            select(_jobs.queue, _jobs.project_id, count)
            .where(_jobs.state == "running")
            .group_by(_jobs.queue, _jobs.project_id)
        )
        started = select(_jobs.queue, count).where(_jobs.started_at > now - RATE_SECONDS).group_by(_jobs.queue)
        return Standing(
            workers or 0,
            {(row["queue"], row["project_id"]): row["count"] for row in await self._session.all(running)},
            {row["queue"]: row["count"] for row in await self._session.all(started)},
        )

    async def ahead(self, job_id: str) -> int:
        """How many jobs of its queue go before a queued one, those whose time has not come left out."""
        own = jobs.alias("own")
        earlier = or_(
            _jobs.rank < own.c.rank,
            and_(_jobs.rank == own.c.rank, _jobs.run_after < own.c.run_after),
            and_(_jobs.rank == own.c.rank, _jobs.run_after == own.c.run_after, _jobs.id < own.c.id),
        )
        query = (
            select(func.count())
            .select_from(jobs.join(own, own.c.id == job_id))
            .where(_jobs.queue == own.c.queue, _jobs.state == "queued", earlier)
        )
        return await self._session.scalar(query) or 0

    async def is_due(self, now: float) -> bool:
        """Whether any job waits for a worker."""
        queued = select(_jobs.id).where(_jobs.state == "queued", _jobs.run_after <= now).limit(1)
        if await self._session.first(queued) is not None:
            return True
        return await self._session.first(select(_jobs.id).where(_jobs.due_at <= now).limit(1)) is not None

    async def candidates(self, now: float, most: int) -> list[Candidate]:
        """The jobs that are due, at most `most` of each project in each queue: the first of each."""
        place = (
            func.row_number()
            .over(partition_by=(_jobs.queue, _jobs.project_id), order_by=(_jobs.rank, _jobs.run_after, _jobs.id))
            .label("place")
        )
        due = (
            select(_jobs.id, _jobs.queue, _jobs.project_id, _jobs.rank, _jobs.run_after, place)
            .where(_jobs.state == "queued", _jobs.run_after <= now)
            .subquery("due")
        )
        columns = due.c
        query = select(columns.id, columns.queue, columns.project_id, columns.rank, columns.run_after)
        rows = await self._session.all(query.where(columns.place <= most))
        return [Candidate(**row) for row in rows]

    async def counts(self) -> list[QueueCount]:
        """Unfinished jobs by queue and state."""
        query = (
            select(_jobs.queue, _jobs.state, func.count().label("count"), func.min(_jobs.created_at).label("oldest_at"))
            .where(_jobs.state.in_(("queued", *_HELD)))
            .group_by(_jobs.queue, _jobs.state)
            .order_by(_jobs.queue, _jobs.state)
        )
        return [QueueCount(**row) for row in await self._session.all(query)]

    async def workers(self, seen_after: float) -> list[WorkerSeen]:
        """Workers that were seen since then, the latest start first."""
        held = (
            select(_jobs.worker, func.count().label("running"))
            .where(_jobs.state.in_(_HELD))
            .group_by(_jobs.worker)
            .subquery("held")
        )
        query = (
            select(job_workers, func.coalesce(held.c.running, 0).label("running"))
            .select_from(job_workers.outerjoin(held, held.c.worker == _workers.executor_id))
            .where(_workers.seen_at > seen_after)
            .order_by(_workers.started_at.desc())
        )
        return [_worker_of(row) for row in await self._session.all(query)]

    async def dead(self, now: float) -> list[str]:
        """Workers whose lease ran out."""
        query = select(_workers.executor_id).where(_workers.lease_until <= now).limit(_PAGE)
        return [row["executor_id"] for row in await self._session.all(query)]

    async def held(self, executor_id: str) -> set[tuple[str, int]]:
        """The jobs that a worker has, each with its run."""
        rows = await self._session.all(select(_jobs.id, _jobs.run).where(_held_by(executor_id)))
        return {(row["id"], row["run"]) for row in rows}

    async def cancelled(self, executor_id: str) -> list[str]:
        """The jobs of a worker that somebody wants to end."""
        query = select(_jobs.id).where(_held_by(executor_id), _jobs.cancel_requested)
        return [row["id"] for row in await self._session.all(query)]

    async def told(self, executor_id: str) -> list[tuple[str, str]]:
        """The jobs of a worker that there are messages for, with their topics."""
        query = (
            select(_messages.job_id, _messages.topic)
            .distinct()
            .select_from(job_messages.join(jobs, _jobs.id == _messages.job_id))
            .where(_held_by(executor_id), _messages.taken_by.is_(None))
            .limit(_PAGE)
        )
        return [(row["job_id"], row["topic"]) for row in await self._session.all(query)]

    async def last_line(self, job_id: str) -> int:
        """The number of the last line of a job's log; 0 before the first."""
        return await self._session.scalar(select(func.max(job_logs.c.seq)).where(job_logs.c.job_id == job_id)) or 0

    async def due_schedules(self, now: float) -> list[Schedule]:
        """Schedules whose time has come, the longest overdue first."""
        query = select(job_schedules).where(_schedules.next_at <= now).order_by(_schedules.next_at).limit(_PAGE)
        return [schedule_of(row) for row in await self._session.all(query)]

    async def outdated(self, before: float, limit: int) -> list[tuple[str, int]]:
        """Jobs that ended before then, the oldest first, with how often they were begun."""
        query = select(_jobs.id, _jobs.run).where(_jobs.ended_at < before).order_by(_jobs.ended_at).limit(limit)
        return [(row["id"], row["run"]) for row in await self._session.all(query)]


class JobKeeper(JobReader):
    """The same, and what workers change."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._writer = session

    async def lock_claims(self) -> None:
        """Wait until no other worker claims, and keep it so until this transaction ends."""
        await take_number(self._writer, LOCK)

    async def wake(self, now: float) -> None:
        """Queue jobs that no worker has and whose time has come, those first that are due for longest."""
        due = select(_jobs.id).where(_jobs.due_at <= now).order_by(_jobs.due_at).limit(_PAGE)
        rows = await self._writer.all(due.with_for_update(skip_locked=True))
        if rows:
            ids = [row["id"] for row in rows]
            await self._writer.change(update(jobs).where(_jobs.id.in_(ids)).values(queued_again(now)))

    async def claim(self, job_ids: Sequence[str], executor_id: str, now: float) -> list[Claim]:
        """Have these jobs, those that are still queued; in the order of the ids that were given."""
        claimed: list[Claim] = []
        for job_id in job_ids:
            row = await self._writer.first(_free(job_id))
            if row is None:
                continue
            run: int = row["run"] + 1
            values = {
                "state": "running",
                "worker": executor_id,
                "run": run,
                "started_at": now if row["started_at"] is None else row["started_at"],
                **NOT_WAITING,
            }
            await self._writer.change(update(jobs).where(_jobs.id == job_id).values(values))
            claimed.append(Claim(job_of({**row, **values}), run, row["strikes"], row["ran_seconds"] or 0.0))
        return claimed

    async def change(self, claim: Claim, executor_id: str, values: Mapping[str, Any]) -> bool:
        """Set columns of a job that a worker has; False when it has it no longer."""
        same = and_(_jobs.id == claim.job.id, _jobs.run == claim.run, _held_by(executor_id))
        return await self._writer.change(update(jobs).where(same).values(values)) == 1

    async def still_held(self, claims: Iterable[Claim], executor_id: str) -> set[str]:
        """Those of the jobs that the worker still has, and keeps until this transaction ends."""
        runs = {claim.job.id: claim.run for claim in claims}
        query = select(_jobs.id, _jobs.run).where(_jobs.id.in_(list(runs)), _held_by(executor_id))
        rows = await self._writer.all(query.with_for_update())
        return {row["id"] for row in rows if row["run"] == runs[row["id"]]}

    async def add_lines(self, claim: Claim, lines: Sequence[LogLine]) -> None:
        """Add lines to the log of a job, but for those that are there: nobody knows what a broken commit did."""
        if not lines:
            return
        own, last = {"job_id": claim.job.id, **_tenant(claim.job)}, await self.last_line(claim.job.id)
        new = [{**own, **msgspec.structs.asdict(line)} for line in lines if line.seq > last]
        for start in range(0, len(new), _PAGE):
            await self._writer.change(insert(job_logs).values(new[start : start + _PAGE]))

    async def take_message(self, job_id: str, topic: str, step: str) -> str | None:
        """The oldest message on a topic that nobody has, or that this step has already; it has it from now on."""
        mine = and_(_messages.job_id == job_id, _messages.topic == topic)
        own = select(_messages.message).where(mine, _messages.taken_by == step).limit(1)
        if (kept := await self._writer.first(own)) is not None:
            return kept["message"]
        free = select(_messages.id, _messages.message).where(mine, _messages.taken_by.is_(None))
        row = await self._writer.first(free.order_by(_messages.id).limit(1).with_for_update())
        if row is None:
            return None
        await self._writer.change(update(job_messages).where(_messages.id == row["id"]).values(taken_by=step))
        return row["message"]

    async def is_called(self, job_id: str, topics: Sequence[str], steps: Sequence[str]) -> bool:
        """Whether there is a message on one of these topics that nobody has, or that one of these steps has."""
        for start in range(0, len(topics), _PAGE):
            some = _messages.topic.in_(topics[start : start + _PAGE])
            query = select(_messages.taken_by).where(_messages.job_id == job_id, some)
            if any(row["taken_by"] is None or row["taken_by"] in steps for row in await self._writer.all(query)):
                return True
        return False

    async def is_to_end(self, job_id: str) -> bool:
        """Whether somebody wants a job to end."""
        return bool(await self._writer.scalar(select(_jobs.cancel_requested).where(_jobs.id == job_id)))

    async def note(self, job: Job, kind: str, now: float, **data: Any) -> None:
        """Tell of a change on the stream `jobs`; last in the transaction."""
        await note(self._writer, job, kind, now, **data)

    # Workers

    async def enrol(self, worker: WorkerSeen) -> None:
        """A worker begins, with a lease."""
        values = msgspec.structs.asdict(worker)
        del values["running"]
        values["place"] = values.pop("index")
        await self._writer.change(insert(job_workers).values(values))

    async def renew(self, executor_id: str, now: float, until: float) -> bool:
        """Renew a lease; False when it ran out, and others may have taken over."""
        own = and_(_workers.executor_id == executor_id, _workers.lease_until > now)
        return await self._writer.change(update(job_workers).where(own).values(seen_at=now, lease_until=until)) == 1

    async def predecessors(self, machine: str, session: str, place: int, executor_id: str) -> list[str]:
        """Workers that were started in the same place before, and are therefore gone."""
        query = select(_workers.executor_id).where(
            _workers.machine == machine,
            _workers.session == session,
            _workers.place == place,
            _workers.executor_id != executor_id,
        )
        return [row["executor_id"] for row in await self._session.all(query)]

    async def has_lease(self, executor_id: str, now: float) -> bool:
        """Whether a worker's lease is valid; it is not taken from it until this transaction ends."""
        query = select(_workers.lease_until).where(_workers.executor_id == executor_id).with_for_update()
        row = await self._writer.first(query)
        return row is not None and row["lease_until"] > now

    async def dismiss(self, executor_id: str, now: float | None = None) -> bool:
        """Strike a worker off; with `now` only if its lease has run out by then. False when somebody else did."""
        own = _workers.executor_id == executor_id
        if now is not None:
            own = and_(own, _workers.lease_until <= now)
        return await self._writer.change(delete(job_workers).where(own)) == 1

    async def release(self, executor_id: str, now: float, *, died: bool) -> list[Job]:
        """Queue what a worker had, before everything else; it has nothing then. It did not die of what only waited."""
        rows = await self._writer.all(select(jobs).where(_held_by(executor_id)).with_for_update())
        values = queued_again(now)
        if died:
            strikes = case((_jobs.state == "running", _jobs.strikes + 1), else_=_jobs.strikes)
            values |= {"takeovers": _jobs.takeovers + 1, "strikes": strikes}
        await self._writer.change(update(jobs).where(_held_by(executor_id)).values(values))
        return [job_of(row) for row in rows]

    async def put_back(self, executor_id: str, job_id: str, run: int, now: float) -> bool:
        """Queue one job that a worker has; False when it has it no longer."""
        same = and_(_jobs.id == job_id, _jobs.run == run, _held_by(executor_id))
        return await self._writer.change(update(jobs).where(same).values(queued_again(now))) == 1

    # Schedules

    async def fire(self, schedule: Schedule, next_at: float | None, job: Mapping[str, Any], now: float) -> bool:
        """Make the job of a schedule and set its next time; False when another worker did."""
        same = and_(_schedules.id == schedule.id, _schedules.next_at == schedule.next_at)
        values = {"next_at": next_at, "last_at": now, "last_job_id": job["id"]}
        if not await self._writer.change(update(job_schedules).where(same).values(values)):
            return False
        await self._writer.change(insert(jobs).values(job))
        return True

    async def stop_schedule(self, schedule: Schedule) -> None:
        """Switch off a schedule that cannot be read."""
        same = and_(_schedules.id == schedule.id, _schedules.next_at == schedule.next_at)
        await self._writer.change(update(job_schedules).where(same).values(next_at=None, enabled=False))

    # Old ones

    async def remove(self, job_ids: Sequence[str]) -> None:
        """Let go of finished jobs with their logs and messages."""
        for table, column in ((job_logs, job_logs.c.job_id), (job_messages, _messages.job_id), (jobs, _jobs.id)):
            await self._writer.change(delete(table).where(column.in_(job_ids)))


async def note(session: WriteSession, job: Job, kind: str, now: float, **data: Any) -> None:
    """Tell of what happened to a job on the stream `jobs`; last in the transaction."""
    await append_event(
        session,
        "jobs",
        kind,
        job.id,
        at=now,
        organization_id=job.organization_id,
        project_id=job.project_id,
        data={"kind": job.kind, "queue": job.queue, **data},
    )


def _free(job_id: str) -> Any:
    query = select(jobs).where(_jobs.id == job_id, _jobs.state == "queued")
    return query.with_for_update(skip_locked=True)


def _held_by(executor_id: str) -> ColumnElement[bool]:
    return and_(_jobs.worker == executor_id, _jobs.state.in_(_HELD))


def _tenant(job: Job) -> dict[str, str]:
    return {"organization_id": job.organization_id, "project_id": job.project_id}


def _worker_of(row: RowMapping) -> WorkerSeen:
    values = dict(row)
    values["index"] = values.pop("place")
    return WorkerSeen(**values)
