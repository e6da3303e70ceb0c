"""A database with jobs, and as many workers over it as a test wants: real rows, steps in memory."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy import RowMapping, select, update

from polyforge.database.events.store import SystemEvents
from polyforge.jobs.chores import Chores
from polyforge.jobs.lease import Timing, WorkerPlace
from polyforge.jobs.records import Job, LogLine, NewJob
from polyforge.jobs.running import JobContext
from polyforge.jobs.schedules import ScheduleService
from polyforge.jobs.service import JobService
from polyforge.jobs.settings import JobSettings
from polyforge.jobs.tables import jobs
from polyforge.jobs.worker import Worker
from polyforge.kernel.clock import SystemClock
from tests.support.databases import Place
from tests.support.journals import MemoryJournal, Shelf
from tests.support.principals import install_default
from tests.support.recording import recorder
from tests.support.waiting import DEADLINE, PAUSE
from tests.unit.tenancy.samples import caller

T = TypeVar("T")
ME = caller("jobs:write")
OTHER = caller("jobs:write", project_id="0000000000000000000000000X")
TIMING = Timing(lease=60.0, renew=0.5, scan=0.2, tick=0.05)
"""No test waits for a lease to run out: what tests that is among the faults."""
Work = Callable[[JobContext], Awaitable[Any]]


class Sample:
    """A kind whose jobs do what a test says."""

    def __init__(self, work: Work, name: str = "sample") -> None:
        self.name = name
        self._work = work

    async def run(self, context: JobContext) -> Any:
        return await self._work(context)


class House:
    """A database with a service, and as many workers as a test wants."""

    def __init__(self, place: Place, stack: AsyncExitStack) -> None:
        self._place = place
        self._stack = stack
        self.clock = SystemClock()
        self.shelf = Shelf()
        self.settings = JobSettings(poll_seconds=0.1)
        self.database = place.database()
        self.workers: list[Worker] = []

    async def open(self) -> None:
        await self.database.open()
        self._stack.push_async_callback(self.database.close)
        await install_default(self.database, self.clock)

    @property
    def service(self) -> JobService:
        return JobService(self.database, self.clock, recorder(self.clock), self.settings)

    @property
    def schedules(self) -> ScheduleService:
        return ScheduleService(self.database, self.clock, recorder(self.clock), self.service)

    def chores(self) -> Chores:
        return Chores(self.database, MemoryJournal(self.shelf), self.clock, self.settings)

    async def worker(self, *work: Work, index: int = 0, session: str = "", timing: Timing = TIMING) -> Worker:
        """One that runs, over connections of its own, as another process has them."""
        database = self._place.database()
        await database.open()
        self._stack.push_async_callback(database.close)
        worker = Worker(
            database,
            MemoryJournal(self.shelf),
            [Sample(each) for each in work],
            self.clock,
            self.settings,
            WorkerPlace("here", session or f"session {len(self.workers)}", index),
            timing,
        )
        await worker.open()
        self._stack.push_async_callback(worker.close)
        self.workers.append(worker)
        return worker

    async def start(self, count: int = 1, **changes: Any) -> list[Job]:
        values: dict[str, Any] = {"kind": "sample", "title": "Sample", **changes}
        return [await self.service.start(ME, NewJob(**values)) for _ in range(count)]

    async def job(self, job: Job) -> Job:
        return await self.service.get(ME, job.id)

    async def until(self, job: Job, *states: str) -> Job:
        return await self.see(lambda: self.job(job), lambda found: found.state in states)

    async def see(self, look: Callable[[], Awaitable[T]], enough: Callable[[T], object]) -> T:
        """What `look` finds once that is enough."""
        async with asyncio.timeout(DEADLINE):
            while not enough(found := await look()):  # noqa: ASYNC110  what it waits for is in the database
                await asyncio.sleep(PAUSE)
        return found

    async def lines(self, job: Job) -> list[LogLine]:
        return list(await self.service.logs(ME, job.id, 0, 20_000))

    async def events(self, job: Job) -> list[str]:
        async with self.database.read() as session:
            return [event.kind for event in await SystemEvents(session).after(0) if event.resource_id == job.id]

    async def set_row(self, job: Job, **values: Any) -> None:
        async with self.database.write() as session:
            await session.change(update(jobs).where(jobs.c.id == job.id).values(values))

    async def row(self, job: Job) -> RowMapping:
        async with self.database.read() as session:
            found = await session.first(select(jobs).where(jobs.c.id == job.id))
        assert found is not None
        return found


@asynccontextmanager
async def job_house(place: Place) -> AsyncGenerator[House]:
    """The rooms, for as long as the block runs."""
    async with AsyncExitStack() as stack:
        made = House(place, stack)
        await made.open()
        yield made


async def give(result: Any) -> Any:
    """It."""
    return result
