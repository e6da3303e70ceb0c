"""All SQL of jobs as callers see them: those of one project."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, RowMapping, Select, and_, or_
from sqlalchemy.dialects import postgresql, sqlite

from polyforge.database.scopes import Scope, ScopedReader, ScopedWriter
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.database.settings import Dialect
from polyforge.jobs.records import (
    UNFINISHED,
    AskedBy,
    Job,
    JobError,
    JobFilter,
    LogLine,
    Progress,
    Schedule,
    State,
    WaitingFor,
)
from polyforge.jobs.tables import job_logs, job_messages, job_schedules, jobs

_jobs: Final = jobs.c
BEGUN: Final = -1
"""The rank of what a worker has begun already."""
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


def encoded(value: object) -> str:
    """The JSON of a column."""
    return _encode(value).decode()


class JobStore:
    """The jobs of one project."""

    def __init__(self, session: ReadSession, scope: Scope) -> None:
        self._session = session
        self._scope = scope
        self._rows = ScopedReader(session, scope, jobs)
        self._lines = ScopedReader(session, scope, job_logs)

    async def find(self, job_id: str) -> Job | None:
        """One job as its row says."""
        row = await self._rows.first(refine=lambda query: query.where(_jobs.id == job_id))
        return None if row is None else job_of(row)

    async def page(self, limit: int, before: str | None, which: JobFilter) -> list[Job]:
        """Up to `limit` jobs, the newest first, older than the id `before`."""

        def refine(query: Select[Any]) -> Select[Any]:
            query = query.where(*_conditions(which))
            if before is not None:
                query = query.where(_jobs.id < before)
            return query.order_by(_jobs.id.desc()).limit(limit)

        return [job_of(row) for row in await self._rows.all(refine=refine)]

    async def unfinished(self, kind: str, dedup_key: str) -> Job | None:
        """The unfinished job of a kind with this key."""
        same = and_(_jobs.kind == kind, _jobs.dedup_key == dedup_key, _jobs.state.in_(UNFINISHED))
        row = await self._rows.first(refine=lambda query: query.where(same))
        return None if row is None else job_of(row)

    async def reaches(self, state: State, most: int) -> bool:
        """Whether so many jobs are in a state."""
        last = await self._rows.first(
            _jobs.id, refine=lambda query: query.where(_jobs.state == state).offset(most - 1).limit(1)
        )
        return last is not None

    async def logs(self, job_id: str, after: int, limit: int) -> list[LogLine]:
        """Up to `limit` lines of a job that come after the line `after`."""
        columns = job_logs.c
        lines = await self._lines.all(
            columns.seq,
            columns.at,
            columns.level,
            columns.text,
            refine=lambda query: (
                query.where(columns.job_id == job_id, columns.seq > after).order_by(columns.seq).limit(limit)
            ),
        )
        return [LogLine(**row) for row in lines]

    async def messages(self, job_id: str, most: int) -> int:
        """How many messages of a job nobody took yet, counted up to `most`."""
        columns = job_messages.c
        rows = await ScopedReader(self._session, self._scope, job_messages).all(
            columns.id,
            refine=lambda query: query.where(columns.job_id == job_id, columns.taken_by.is_(None)).limit(most),
        )
        return len(rows)


class JobEditor(JobStore):
    """The same, to be changed."""

    def __init__(self, session: WriteSession, scope: Scope, dialect: Dialect) -> None:
        super().__init__(session, scope)
        self._writer = session
        self._dialect = dialect
        self._editor = ScopedWriter(session, scope, jobs)

    async def add(self, values: Mapping[str, Any]) -> bool:
        """Add a job; False when there is an unfinished one with its key."""
        insert = sqlite.insert if self._dialect == "sqlite" else postgresql.insert
        owned = {**values, "organization_id": self._scope.organization_id, "project_id": self._scope.project_id}
        return await self._writer.change(insert(jobs).values(owned).on_conflict_do_nothing()) == 1

    async def locked(self, job_id: str) -> Job | None:
        """One job, which nobody else changes until the transaction ends."""
        row = await self._rows.first(refine=lambda query: query.where(_jobs.id == job_id).with_for_update())
        return None if row is None else job_of(row)

    async def change(self, job_id: str, values: Mapping[str, Any]) -> None:
        """Set columns of a job."""
        await self._editor.update(_jobs.id == job_id, values)

    async def tell(self, values: Mapping[str, Any]) -> None:
        """Leave a message for a job."""
        await ScopedWriter(self._writer, self._scope, job_messages).insert(values)

    async def wake(self, job_id: str, topic: str, now: float) -> None:
        """Queue a job that waits for a message on a topic and that no worker has."""
        awaited = or_(_jobs.topics.is_(None), _jobs.topics.contains(encoded(topic), autoescape=True))
        resting = and_(_jobs.id == job_id, _jobs.state == "waiting", _jobs.worker.is_(None), awaited)
        await self._editor.update(resting, queued_again(now))


class ScheduleStore:
    """The schedules of one project."""

    def __init__(self, session: ReadSession, scope: Scope) -> None:
        self._rows = ScopedReader(session, scope, job_schedules)

    async def all(self, limit: int) -> list[Schedule]:
        """Up to `limit` schedules by title."""
        columns = job_schedules.c
        rows = await self._rows.all(refine=lambda query: query.order_by(columns.title, columns.id).limit(limit))
        return [schedule_of(row) for row in rows]

    async def find(self, schedule_id: str) -> Schedule | None:
        """One schedule."""
        row = await self._rows.first(refine=lambda query: query.where(job_schedules.c.id == schedule_id))
        return None if row is None else schedule_of(row)


class ScheduleEditor(ScheduleStore):
    """The same, to be changed."""

    def __init__(self, session: WriteSession, scope: Scope) -> None:
        super().__init__(session, scope)
        self._editor = ScopedWriter(session, scope, job_schedules)

    async def add(self, values: Mapping[str, Any]) -> None:
        """Add a schedule."""
        await self._editor.insert(values)

    async def change(self, schedule_id: str, values: Mapping[str, Any]) -> None:
        """Set columns of a schedule."""
        await self._editor.update(job_schedules.c.id == schedule_id, values)

    async def remove(self, schedule_id: str) -> None:
        """Take a schedule away."""
        await self._editor.delete(job_schedules.c.id == schedule_id)


def queued_again(now: float) -> dict[str, Any]:
    """The columns of a job that goes on with whichever worker comes first."""
    return {"state": "queued", "rank": BEGUN, "worker": None, "run_after": now, **NOT_WAITING}


NOT_WAITING: Final[Mapping[str, Any]] = dict.fromkeys(("waiting_code", "waiting_message", "due_at", "topics"))
"""The columns of a job that waits for nothing."""


def _conditions(which: JobFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if which.states:
        found.append(_jobs.state.in_(which.states))
    if which.kinds:
        found.append(_jobs.kind.in_(which.kinds))
    if which.queues:
        found.append(_jobs.queue.in_(which.queues))
    if which.schedule_id is not None:
        found.append(_jobs.schedule_id == which.schedule_id)
    return found


_OWN: Final = frozenset(Job.__struct_fields__) & frozenset(jobs.c.keys())
_OWN_OF_SCHEDULE: Final = frozenset(Schedule.__struct_fields__) & frozenset(job_schedules.c.keys())


def job_of(row: Mapping[str, Any] | RowMapping) -> Job:
    """The job of a row."""
    values: dict[str, Any] = {name: row[name] for name in _OWN}
    values["args"] = msgspec.json.decode(row["args"], type=dict[str, Any])
    values["asked_by"] = msgspec.json.decode(row["asked_by"], type=AskedBy)
    values["progress"] = Progress(*[row[f"progress_{name}"] for name in Progress.__struct_fields__])
    code, result, error = row["waiting_code"], row["result"], row["error"]
    values["waiting_for"] = None if code is None else WaitingFor(code, row["waiting_message"] or "")
    values["result"] = None if result is None else msgspec.json.decode(result)
    values["error"] = None if error is None else msgspec.json.decode(error, type=JobError)
    return Job(**values)


def schedule_of(row: RowMapping) -> Schedule:
    """The schedule of a row."""
    values: dict[str, Any] = {name: row[name] for name in _OWN_OF_SCHEDULE}
    values["args"] = msgspec.json.decode(row["args"], type=dict[str, Any])
    values["asked_by"] = msgspec.json.decode(row["asked_by"], type=AskedBy)
    return Schedule(**values)
