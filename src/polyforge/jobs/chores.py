"""What any one of the workers does now and then: schedules, dead workers, old jobs."""

from collections.abc import Mapping
from typing import Any, Final

from polyforge.database.database import Database
from polyforge.jobs.cron import next_time
from polyforge.jobs.journal import StepJournal
from polyforge.jobs.making import first_row
from polyforge.jobs.records import Schedule
from polyforge.jobs.releasing import release
from polyforge.jobs.settings import JobSettings
from polyforge.jobs.store import encoded, job_of
from polyforge.jobs.working_store import JobKeeper, JobReader, lease_time
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Invalid
from polyforge.telemetry.logs import get_logger

PRUNE_SECONDS: Final = 600.0
PAGE: Final = 100
DAY: Final = 86_400.0

_log = get_logger(__name__)


class Chores:
    """Each worker looks; a conditional change says which of them does it."""

    def __init__(self, database: Database, journal: StepJournal, clock: Clock, settings: JobSettings) -> None:
        self._database = database
        self._journal = journal
        self._clock = clock
        self._settings = settings
        self._scanned_at = clock.monotonic()
        self._pruned_at = clock.monotonic()

    async def turn(self, scan_seconds: float) -> None:
        """Do what it is time for."""
        now = self._clock.monotonic()
        await self.run_schedules()
        if now >= self._scanned_at + scan_seconds:
            self._scanned_at = now
            await self.take_over()
        if now >= self._pruned_at + PRUNE_SECONDS:
            full = await self.prune() == PAGE
            self._pruned_at = now - PRUNE_SECONDS if full else now

    async def run_schedules(self) -> int:
        """Make the jobs of the schedules whose time has come, one each however many times were missed; how many."""
        now = self._clock.now()
        async with self._database.read() as session:
            due = await JobReader(session).due_schedules(now)
        return sum([await self._run_schedule(schedule, now) for schedule in due])

    async def take_over(self) -> int:
        """Release what dead workers had, so that those that live can claim it; how many jobs."""
        async with self._database.read() as session:
            now = await lease_time(session, self._database.dialect, self._clock)
            dead = await JobReader(session).dead(now)
        return sum([await self._bury(executor_id) for executor_id in dead])

    async def prune(self) -> int:
        """Let go of some of the jobs that ended long ago; how many."""
        before = self._clock.now() - self._settings.keep_days * DAY
        async with self._database.read() as session:
            old = await JobReader(session).outdated(before, PAGE)
        if old:
            await self._journal.forget([f"{job_id}:{number}" for job_id, runs in old for number in range(1, runs + 1)])
            async with self._database.write() as session:
                await JobKeeper(session).remove([job_id for job_id, _ in old])
        return len(old)

    async def _run_schedule(self, schedule: Schedule, now: float) -> bool:
        try:
            next_at = next_time(schedule.cron, schedule.timezone, now)
        except Invalid as error:
            _log.warning("a schedule is switched off: it has no next time", schedule=schedule.id, reason=error.message)
            async with self._database.write() as session:
                await JobKeeper(session).stop_schedule(schedule)
            return False
        row = _row_of(schedule, now)
        async with self._database.write() as session:
            keeper = JobKeeper(session)
            made = await keeper.fire(schedule, next_at, row, now)
            if made:
                await keeper.note(job_of({**_WITHOUT, **row}), "job.queued", now, state="queued", schedule=schedule.id)
        return made

    async def _bury(self, executor_id: str) -> int:
        async with self._database.write() as session:
            keeper = JobKeeper(session)
            now = await lease_time(session, self._database.dialect, self._clock)
            if not await keeper.dismiss(executor_id, now):
                return 0
            released = await release(keeper, executor_id, self._clock.now(), died=True)
        _log.warning("a worker died; what it had is taken over", worker=executor_id, jobs=released)
        return released


_WITHOUT: Final[Mapping[str, Any]] = dict.fromkeys(
    (
        *("dedup_key", "timeout_seconds", "started_at", "ended_at", "worker", "progress_total"),
        *("waiting_code", "waiting_message", "result", "error"),
    )
)
"""The columns of a new job that have nothing in them."""


def _row_of(schedule: Schedule, now: float) -> dict[str, Any]:
    args, asked_by = encoded(schedule.args), encoded(schedule.asked_by)
    row = first_row(schedule.kind, schedule.title, args, schedule.queue, schedule.priority, asked_by, now)
    tenant = {"organization_id": schedule.organization_id, "project_id": schedule.project_id}
    return row | tenant | {"schedule_id": schedule.id}
