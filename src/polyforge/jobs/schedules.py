"""Schedules on behalf of callers."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.database.sessions import WriteSession
from polyforge.jobs.cron import next_time
from polyforge.jobs.making import check_work
from polyforge.jobs.records import AskedBy, Job, NewJob, NewSchedule, Schedule
from polyforge.jobs.service import JobService
from polyforge.jobs.store import ScheduleEditor, ScheduleStore, encoded
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict, Invalid
from polyforge.kernel.ids import new_ulid
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.people.paging import check_id, not_found

MAX_SCHEDULES: Final = 1_000
"""Of one project."""
_CHANGEABLE: Final = frozenset({"title", "args", "queue", "priority", "cron", "timezone", "enabled"})


class ScheduleService:
    """What callers do with the schedules of their project."""

    def __init__(self, database: Database, clock: Clock, recorder: Recorder, jobs: JobService) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder
        self._jobs = jobs

    async def all(self, caller: Caller) -> Sequence[Schedule]:
        """Every schedule of the project, by title; there are at most MAX_SCHEDULES."""
        scope = _scope(caller)
        async with self._database.read(scope) as session:
            return await ScheduleStore(session, scope).all(MAX_SCHEDULES)

    async def get(self, caller: Caller, schedule_id: str) -> Schedule:
        """One schedule; NotFound otherwise."""
        scope = _scope(caller)
        async with self._database.read(scope) as session:
            return await _existing(ScheduleStore(session, scope), schedule_id)

    async def create(self, caller: Caller, new: NewSchedule) -> Schedule:
        """Add a schedule, whose jobs act as this caller; Invalid names the field that it cannot have."""
        async with self._database.write(_scope(caller)) as session:
            return await self.create_within(session, caller, new, new_ulid())

    async def create_within(self, session: WriteSession, caller: Caller, new: NewSchedule, id_: str) -> Schedule:
        """The same in the caller's transaction, under this id."""
        check_work(new.kind, new.title, new.args, new.queue, new.priority)
        scope, now = _scope(caller), self._clock.now()
        first = next_time(new.cron, new.timezone, now)
        values = {
            "id": id_,
            "kind": new.kind,
            "title": new.title,
            "args": encoded(new.args),
            "queue": new.queue,
            "priority": new.priority,
            "cron": new.cron,
            "timezone": new.timezone,
            "enabled": new.enabled,
            "asked_by": encoded(AskedBy.of(caller)),
            "next_at": first if new.enabled else None,
            "created_at": now,
            "changed_at": now,
        }
        editor = ScheduleEditor(session, scope)
        if len(await editor.all(MAX_SCHEDULES)) >= MAX_SCHEDULES:
            raise Conflict(f"the project has {MAX_SCHEDULES} schedules, which is the most; remove some")
        await editor.add(values)
        made = await _existing(editor, id_)
        await self._recorder.changed(
            session, caller, "jobs", "job_schedule.created", _subject(made), None, _facts(made)
        )
        return made

    async def change(self, caller: Caller, schedule_id: str, changes: Mapping[str, Any]) -> Schedule:
        """Change title, args, queue, priority, cron, timezone or enabled; its jobs act as this caller from now on."""
        async with self._database.write(_scope(caller)) as session:
            return await self.change_within(session, caller, schedule_id, changes)

    async def change_within(
        self, session: WriteSession, caller: Caller, schedule_id: str, changes: Mapping[str, Any]
    ) -> Schedule:
        """The same in the caller's transaction."""
        if unknown := sorted(set(changes) - _CHANGEABLE):
            raise Invalid(f"{unknown[0]} of a schedule cannot be changed", param=unknown[0])
        editor = ScheduleEditor(session, _scope(caller))
        before = await _existing(editor, schedule_id)
        await editor.change(schedule_id, self._changed(caller, before, changes, self._clock.now()))
        after = await _existing(editor, schedule_id)
        await self._recorder.changed(
            session, caller, "jobs", "job_schedule.changed", _subject(after), _facts(before), _facts(after)
        )
        return after

    async def remove(self, caller: Caller, schedule_id: str) -> None:
        """Take a schedule away; jobs that it made stay."""
        async with self._database.write(_scope(caller)) as session:
            await self.remove_within(session, caller, schedule_id)

    async def remove_within(self, session: WriteSession, caller: Caller, schedule_id: str) -> None:
        """The same in the caller's transaction."""
        editor = ScheduleEditor(session, _scope(caller))
        before = await _existing(editor, schedule_id)
        await editor.remove(schedule_id)
        await self._recorder.changed(
            session, caller, "jobs", "job_schedule.removed", _subject(before), _facts(before), None
        )

    async def run_now(self, caller: Caller, schedule_id: str) -> Job:
        """Make its job now, besides its times; it acts as this caller."""
        found = await self.get(caller, schedule_id)
        new = NewJob(kind=found.kind, title=found.title, args=found.args, queue=found.queue, priority=found.priority)
        return await self._jobs.start(caller, new, schedule_id=found.id)

    def _changed(self, caller: Caller, before: Schedule, changes: Mapping[str, Any], now: float) -> dict[str, Any]:
        wanted = {name: changes.get(name, getattr(before, name)) for name in _CHANGEABLE}
        check_work(before.kind, wanted["title"], wanted["args"], wanted["queue"], wanted["priority"])
        first = next_time(wanted["cron"], wanted["timezone"], now)
        return {
            **wanted,
            "args": encoded(wanted["args"]),
            "asked_by": encoded(AskedBy.of(caller)),
            "next_at": first if wanted["enabled"] else None,
            "changed_at": now,
        }


async def _existing(store: ScheduleStore, schedule_id: str) -> Schedule:
    check_id(schedule_id, "schedule")
    found = await store.find(schedule_id)
    if found is None:
        raise not_found("schedule", schedule_id)
    return found


def _facts(schedule: Schedule) -> dict[str, Any]:
    names = ("kind", "title", "queue", "priority", "cron", "timezone", "enabled")
    return {name: getattr(schedule, name) for name in names}


def _subject(schedule: Schedule) -> Subject:
    return Subject("job_schedule", schedule.id, schedule.organization_id, schedule.project_id)


def _scope(caller: Caller) -> Scope:
    return Scope(caller.organization_id, caller.project_id)
