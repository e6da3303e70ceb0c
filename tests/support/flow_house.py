"""A database with flows and workers that run them: real rows and real jobs, steps in memory."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from polyforge.adapters.objects.memory import MemoryObjects, Settings
from polyforge.database.database import Database
from polyforge.flows.built_in import built_in, runners
from polyforge.flows.keeping.changing import Tools
from polyforge.flows.keeping.contents import Desk
from polyforge.flows.keeping.drafts import Drafts
from polyforge.flows.keeping.records import FlowVersion
from polyforge.flows.keeping.service import FlowService
from polyforge.flows.keeping.versions import Versions
from polyforge.flows.running.approvals import ApprovalService
from polyforge.flows.running.assignees import Assignees
from polyforge.flows.running.ceilings import Budgets
from polyforge.flows.running.contract import Facilities, HttpCalls, NodeRun
from polyforge.flows.running.kind import FlowRunKind, RunTools
from polyforge.flows.running.links import ApprovalLinks
from polyforge.flows.running.pages import RunValues
from polyforge.flows.running.records import FlowRun
from polyforge.flows.running.removing import RunPruning
from polyforge.flows.running.service import RunService
from polyforge.flows.running.settings import RunSettings
from polyforge.jobs.lease import Timing, WorkerPlace
from polyforge.jobs.service import JobService
from polyforge.jobs.settings import JobSettings
from polyforge.jobs.worker import Worker
from polyforge.kernel.clock import Clock, SystemClock
from polyforge.ports.objects import ObjectStore
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.people.callers import Principals
from polyforge.tenancy.standing import Standing
from polyforge.wiring.flow_runs import StoredDocuments
from tests.support.databases import Place
from tests.support.flows import loaded
from tests.support.journals import MemoryJournal, Shelf
from tests.support.recording import MASTER, SEALS, recorder

TIMING = Timing(lease=60.0, renew=0.5, scan=0.2, tick=0.05)


class FlowHouse:
    """The rooms of flows and runs over one database."""

    def __init__(self, place: Place, database: Database, stack: AsyncExitStack, **settings: Any) -> None:
        self._place = place
        self._stack = stack
        self.database = database
        self.clock: Clock = SystemClock()
        self.settings = RunSettings(**settings)
        self.objects: ObjectStore = MemoryObjects(Settings(), Path())
        self.http: HttpCalls | None = None
        self.budgets: Budgets | None = None
        self.shelf = Shelf()
        self.types = built_in()
        self.runners: dict[tuple[str, int], NodeRun] = dict(runners())
        told = recorder(self.clock)
        tools = Tools(database, self.clock, told, Desk(self.types))
        self.flows = FlowService(tools)
        self.drafts = Drafts(tools)
        self.versions = Versions(tools, self.flows)
        self.jobs = JobService(database, self.clock, told, JobSettings())
        self.runs = RunService(
            self.settings, database, self.flows, self.types, self.jobs, RunValues(self.objects), self.clock, told, SEALS
        )
        self.flows.needed_by(self.runs)
        self.standing = Standing(database, self.clock, Principals(database))
        self.approvals = ApprovalService(
            database,
            self.jobs,
            Assignees(database),
            ApprovalLinks(MASTER, self.clock),
            self.standing,
            self.clock,
            told,
            SEALS,
        )
        self.pruning = RunPruning(database, self.objects, self.clock, self.settings.retention_days, SEALS)
        self.workers = 0

    async def flow(self, caller: Caller, value: Mapping[str, Any], slug: str = "sample") -> FlowVersion:
        """A flow with one version."""
        await self.flows.create(caller, document=loaded(value), slug=slug)
        await self.drafts.commit(caller, slug, "first", None)
        return await self.flows.resolve(caller, slug)

    async def worker(self, timing: Timing = TIMING) -> Worker:
        """One that runs, over connections of its own, as another process has them."""
        database = self._place.database()
        await database.open()
        self._stack.push_async_callback(database.close)
        self.workers += 1
        place = WorkerPlace("here", f"session {self.workers}", 0)
        settings = JobSettings(poll_seconds=0.1)
        journal = MemoryJournal(self.shelf)
        worker = Worker(database, journal, [self.kind(database)], self.clock, settings, place, timing)
        await worker.open()
        self._stack.push_async_callback(worker.close)
        return worker

    def kind(self, database: Database) -> FlowRunKind:
        """What runs flows."""
        nothing: Any = None
        facilities = Facilities(
            models=nothing,
            http=self.http or nothing,
            secrets=nothing,
            objects=nothing,
            sandbox=nothing,
            sql=nothing,
            notifier=nothing,
            guardrails=nothing,
            memory=nothing,
        )
        return FlowRunKind(
            RunTools(
                settings=self.settings,
                database=database,
                objects=self.objects,
                documents=StoredDocuments(self.versions),
                types=self.types,
                runners=self.runners,
                facilities=facilities,
                current=self.confirmed,
                clock=self.clock,
                seals=SEALS,
                budgets=self.budgets,
            )
        )

    async def confirmed(self, caller: Caller) -> Caller:
        """Whoever asked, as they stand now."""
        return caller

    async def done(self, caller: Caller, run: FlowRun) -> FlowRun:
        """A run once it is over."""
        found = await self.runs.wait(caller, run.id, 60)
        assert found.finished, found
        return found


@asynccontextmanager
async def flow_house(place: Place, database: Database, **settings: Any) -> AsyncGenerator[FlowHouse]:
    """The rooms, for as long as the block runs."""
    async with AsyncExitStack() as stack:
        yield FlowHouse(place, database, stack, **settings)
