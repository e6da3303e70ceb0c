"""Jobs as a process sees them: what callers do with them, and in a worker what runs them and what it counts."""

import asyncio
from collections.abc import AsyncIterable, Iterable
from contextlib import suppress
from typing import Any, Final

from polyforge.batch.files.records import Wish
from polyforge.batch.files.service import FileService
from polyforge.database.database import Database
from polyforge.database.events.tail import EventTail
from polyforge.dialects.openai_files import file_id
from polyforge.jobs.log_streams import LogStreams
from polyforge.jobs.overview import JobOverview
from polyforge.jobs.running import JobContext, JobKind
from polyforge.jobs.schedules import ScheduleService
from polyforge.jobs.service import JobService
from polyforge.jobs.settings import JobSettings
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import PolyforgeError
from polyforge.operations.exports.jobs import RequestExport
from polyforge.operations.exports.records import FILE_DAYS, check_repeated
from polyforge.operations.exports.records import KIND as REQUEST_EXPORT
from polyforge.telemetry.families import JOB_OLDEST, JOB_RUNS, JOBS, Family
from polyforge.telemetry.metrics import Gauge, Metrics
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.history.service import HistoryService
from polyforge.tenancy.ledger_rows import DAY_SECONDS
from polyforge.tenancy.standing import Standing
from polyforge.wiring.usage import make_writer

SCHEDULED: Final = {REQUEST_EXPORT: check_repeated}
"""The kinds of jobs that callers may have made again and again, with what looks at their arguments."""
MEASURE_SECONDS: Final = 5.0
MACHINE: Final = "models/machine"
"""Where in the data folder the name of the machine is kept."""


class JobPlatform:
    """The rooms of jobs. To be built before the tail of events is opened."""

    def __init__(
        self, settings: JobSettings, database: Database, clock: Clock, recorder: Recorder, tail: EventTail
    ) -> None:
        self.service = JobService(database, clock, recorder, settings)
        self.schedules = ScheduleService(database, clock, recorder, self.service)
        self.overview = JobOverview(database, clock)
        self.logs = LogStreams(self.service, tail, clock)


def request_export(history: HistoryService, standing: Standing, files: FileService) -> RequestExport:
    """What writes requests into files, as such a job does it."""

    async def wish() -> Wish:
        return Wish("user_data", FILE_DAYS * DAY_SECONDS)

    async def keep(caller: Caller, name: str, content: AsyncIterable[bytes]) -> tuple[str, int]:
        file = await files.keep(caller, name, content, wish)
        return file_id(file.id), file.size

    return RequestExport(history, standing, make_writer, keep)


class CountedKind:
    """A kind whose runs are counted by how they ended."""

    def __init__(self, kind: JobKind, metrics: Metrics) -> None:
        self._kind = kind
        self._metrics = metrics

    @property
    def name(self) -> str:
        """The kind's own."""
        return self._kind.name

    async def run(self, context: JobContext) -> Any:
        """Do it."""
        outcome = "failed"
        try:
            result = await self._kind.run(context)
            outcome = "succeeded"
        except asyncio.CancelledError:
            # Either somebody cancelled the job, or it goes on later: the worker ends, or it only waits.
            outcome = "cancelled" if context.cancelled else "left"
            raise
        finally:
            self._metrics.counter(JOB_RUNS, self.name, outcome).add()
        return result


def counted(kinds: Iterable[JobKind], metrics: Metrics) -> list[JobKind]:
    """Kinds whose runs are counted."""
    return [CountedKind(kind, metrics) for kind in kinds]


class JobGauges:
    """How many jobs there are, measured now and then by a worker, because nobody may wait for that when scraping."""

    def __init__(self, overview: JobOverview, metrics: Metrics, clock: Clock) -> None:
        self._overview = overview
        self._metrics = metrics
        self._clock = clock
        self._known: dict[tuple[str, ...], Gauge] = {}

    async def run(self) -> None:
        """Measure for as long as the process lives."""
        while True:
            # While the database is away, which others tell of, the numbers stay what they were.
            with suppress(PolyforgeError):
                await self.measure()
            await asyncio.sleep(MEASURE_SECONDS)

    async def measure(self) -> None:
        """Count once; what is no longer there counts as none."""
        now, found = self._clock.now(), dict[tuple[str, ...], float]()
        for each in await self._overview.counts():
            found[JOBS.name, each.queue, each.state] = float(each.count)
            if each.state == "queued":
                found[JOB_OLDEST.name, each.queue] = max(0.0, now - each.oldest_at)
        for name in {*self._known, *found}:
            self._gauge(name).set(found.get(name, 0.0))

    def _gauge(self, name: tuple[str, ...]) -> Gauge:
        family: Family = JOBS if name[0] == JOBS.name else JOB_OLDEST
        if name not in self._known:
            self._known[name] = self._metrics.gauge(family, *name[1:])
        return self._known[name]
