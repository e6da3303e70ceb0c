"""Runs of flows in memory: what runs a plan is real, and so are its steps; what it stands on is made up."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from polyforge.flows.built_in import built_in
from polyforge.flows.canonical import version_id
from polyforge.flows.plan import Plan, compile_plan
from polyforge.flows.running.calls import Money
from polyforge.flows.running.ceilings import Budgets, Ceiling
from polyforge.flows.running.contract import Facilities, NodeCall, Outputs, Runners
from polyforge.flows.running.executor import Execution
from polyforge.flows.running.frames import Done
from polyforge.flows.running.notes import Page, RunNotes, Said
from polyforge.flows.running.records import Decision, Question, RunEvent, Site, Trigger
from polyforge.flows.running.scene import Order, Tools
from polyforge.flows.validating import check
from polyforge.jobs.notes import Notes
from polyforge.jobs.records import Progress
from polyforge.jobs.run import Run, StopReason
from polyforge.jobs.running import JobContext
from polyforge.jobs.working_store import Claim
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import NotFound
from polyforge.tenancy.callers import Caller
from tests.support.flows import loaded
from tests.support.journals import MemoryJournal, Shelf
from tests.unit.jobs.samples import sample_job
from tests.unit.tenancy.samples import caller

Json = Any
Node = Callable[[NodeCall], Awaitable[Outputs]]
ME = caller("flows:run", "inference")


class MemoryPages:
    """Events as a database keeps them."""

    def __init__(self) -> None:
        self.rows: dict[int, RunEvent] = {}
        self.last = 0
        self.states: list[str] = []
        self.cost = 0

    async def write(self, page: Page) -> Sequence[int]:
        """Add events and take some away."""
        for seq in page.removed:
            del self.rows[seq]
        seqs: list[int] = []
        for event in page.events:
            self.last += 1
            seqs.append(self.last)
            payload = msgspec.json.decode(event.payload)
            self.rows[self.last] = RunEvent(self.last, event.at, event.type, event.node, event.path, payload)
        self.states.append(page.state)
        self.cost = page.cost
        return seqs

    def said(self) -> Said:
        """What a run that goes on knows of them."""
        once = frozenset((row.type, row.node, row.path) for row in self.rows.values())
        tokens: dict[tuple[str, str], tuple[int, ...]] = {}
        for row in self.rows.values():
            if row.type == "node.token":
                place = (row.node, row.path)
                tokens[place] = (*tokens.get(place, ()), row.seq)
        return Said(len(self.rows), once, tokens)

    def of(self, type_: str) -> list[tuple[str, str]]:
        """Where things of one type happened, in order."""
        return [(row.node, row.path) for row in self.rows.values() if row.type == type_]


class MemoryApprovals:
    """Questions and what somebody says to them."""

    def __init__(self) -> None:
        self.asked: dict[tuple[str, str], str] = {}
        self.questions: dict[str, Question] = {}
        self.decisions: dict[str, Decision] = {}

    async def ask(self, site: Site, question: Question) -> str:
        """Have something decided."""
        found = self.asked.setdefault((question.node, question.path), f"appr_{len(self.asked)}")
        self.questions.setdefault(found, question)
        return found

    async def close(self, site: Site, approval_id: str) -> Decision:
        """What came of it."""
        return self.decisions.setdefault(approval_id, Decision("expired"))


class MemoryValues:
    """Long outputs."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def keep(self, site: Site, data: bytes) -> str:
        """Keep bytes."""
        name = f"{site.run_id}/{len(data)}-{hash(data)}"
        self.kept[name] = data
        return name

    async def load(self, site: Site, name: str) -> bytes:
        """The bytes."""
        if name not in self.kept:
            raise NotFound("gone")
        return self.kept[name]


class MemoryResults:
    """Results for later runs."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Json]] = {}

    async def find(self, caller: Caller, key: str) -> dict[str, Json] | None:
        """The outputs under a key."""
        return self.kept.get(key)

    async def keep(self, caller: Caller, key: str, outputs: Mapping[str, Json]) -> None:
        """Keep outputs."""
        self.kept[key] = dict(outputs)


class FakeDesk:
    """A worker with a valid lease, and messages for its jobs."""

    def __init__(self) -> None:
        self.messages: dict[str, list[str]] = {}

    def refusal(self) -> StopReason | None:
        """Steps may always begin."""
        return None

    async def take_message(self, claim: Claim, topic: str, step: str) -> str | None:
        """The next message on a topic."""
        waiting = self.messages.get(topic, [])
        return waiting.pop(0) if waiting else None


class KillingJournal(MemoryJournal):
    """Ends the run after so many steps: before one is kept, or right after."""

    def __init__(self, shelf: Shelf, at: int, *, after: bool) -> None:
        super().__init__(shelf)
        self.left = at
        self.after = after
        self.killed = False
        self.end: Callable[[], object] = lambda: None

    async def step(self, name: str, work: Callable[[], Awaitable[bytes]]) -> bytes:
        """Do `work`, and be killed when it is time."""
        if self.killed:
            await asyncio.Event().wait()

        async def killed() -> bytes:
            result = await work()
            self.left -= 1
            if self.left <= 0 and not self.after:
                await self._kill()
            return result

        result = await super().step(name, killed)
        if self.left <= 0 and self.after:
            await self._kill()
        return result

    async def _kill(self) -> None:
        self.killed = True
        self.end()
        await asyncio.Event().wait()


class FlowBench:
    """Runs one flow, again and again over the same kept steps, as workers do that take it over from each other."""

    def __init__(self, value: Json, runners: Mapping[str, Node] | Runners, **inputs: Json) -> None:
        self.version, plan = planned(value)
        self.plans = {self.version: plan}
        self.pinned: dict[str, dict[str, tuple[str, str]]] = {}
        self.inputs = inputs
        self.trigger = Trigger()
        self.taken: dict[str, Done] = {}
        self.most: int | None = None
        self.budgets: Budgets | None = None
        self.runners: Runners = {(each, 1) if isinstance(each, str) else each: run for each, run in runners.items()}
        self.shelf = Shelf()
        self.clock = FakeClock()
        self.desk = FakeDesk()
        self.pages = MemoryPages()
        self.approvals = MemoryApprovals()
        self.values = MemoryValues()
        self.results = MemoryResults()
        self.number = 0
        self.at_once = 16
        self.done: Counter[str] = Counter()
        self.current: Run | None = None
        self.who: Callable[[], Awaitable[Caller]] = _me

    def tell(self, topic: str) -> None:
        """Leave a message for the run that goes on."""
        assert self.current is not None
        self.desk.messages.setdefault(topic, []).append("{}")
        self.current.tell(topic)

    def add(self, value: Json, *references: str, flow_id: str = "flow_sub") -> str:
        """Another flow that takes part, under references to it in the flow that is run."""
        version, plan = planned(value)
        self.plans[version] = plan
        for reference in references:
            for each in list(self.plans):
                self.pinned.setdefault(each, {})[reference] = (flow_id, version)
        return version

    async def run(self, journal: MemoryJournal | None = None) -> dict[str, Json]:
        """One attempt."""
        self.number += 1
        journal = journal or MemoryJournal(self.shelf)
        earlier = [f"run:{number}" for number in range(1, self.number)]
        await journal.fence(earlier)
        kept = await journal.kept(earlier)
        claim = Claim(sample_job(state="running"), self.number, 0)
        self.current = run = Run(claim, journal, self.desk, self.clock, kept, Notes(self.clock, 0, Progress()))
        notes = RunNotes(self.pages, self.clock, self.pages.said(), 10_000)
        notes.cost = self.pages.cost
        result: list[dict[str, Json]] = []

        async def body() -> None:
            run.task = asyncio.ensure_future(self._attempt(run, notes))
            if isinstance(journal, KillingJournal):
                journal.end = run.task.cancel
            await asyncio.wait({run.task})

        await journal.run(f"run:{self.number}", body)
        assert run.task is not None
        if not (isinstance(journal, KillingJournal) and journal.killed):
            await notes.flush()
        result.append(run.task.result())
        return result[0]

    async def _attempt(self, context: JobContext, notes: RunNotes) -> dict[str, Json]:
        site = Site("run_1", "flow_1", "Test", ME)
        order = Order(site, self.plans, self.pinned, self.version, self.inputs, self.trigger, self.taken, site)
        ceiling = Ceiling(self.budgets, self.who)
        money = Money(self.most, self.pages.cost, ceiling)
        writing = asyncio.create_task(notes.run())
        try:
            return await Execution(order, self._tools(), context, notes, money, self.who).run()
        finally:
            ceiling.release()
            writing.cancel()

    def _tools(self) -> Tools:
        facilities: Any = None
        return Tools(
            types=built_in(),
            runners=self.runners,
            facilities=facilities if facilities is not None else _nothing(),
            approvals=self.approvals,
            values=self.values,
            results=self.results,
            clock=self.clock,
            at_once=self.at_once,
            backoff=0.001,
        )


async def _me() -> Caller:
    return ME


def _nothing() -> Facilities:
    nothing: Any = None
    return Facilities(
        models=nothing,
        http=nothing,
        secrets=nothing,
        objects=nothing,
        sandbox=nothing,
        sql=nothing,
        notifier=nothing,
        guardrails=nothing,
        memory=nothing,
    )


def planned(value: Json) -> tuple[str, Plan]:
    """The version and the plan of a flow."""
    document = loaded(value)
    return version_id(document), compile_plan(check(document, built_in()))
