"""The kind of job that runs flows: one run is one job, and what it did is in its events and its row."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from polyforge.database.database import Database
from polyforge.flows.document import Document, Json
from polyforge.flows.nodetypes import NodeTypes
from polyforge.flows.plan import Plan, compile_plan
from polyforge.flows.running.calls import Money
from polyforge.flows.running.ceilings import Budgets, Ceiling
from polyforge.flows.running.contract import Facilities, Runners
from polyforge.flows.running.executor import Execution
from polyforge.flows.running.frames import Done
from polyforge.flows.running.notes import RunNotes
from polyforge.flows.running.pages import RunApprovals, RunPages, RunResults, RunValues, scope_of
from polyforge.flows.running.records import (
    KIND,
    MAX_INLINE,
    FlowRun,
    NodeFailed,
    RunError,
    Site,
    StoredOutputs,
)
from polyforge.flows.running.rerun import stale, taken_over
from polyforge.flows.running.scene import Order, Tools
from polyforge.flows.running.sealing import Seals
from polyforge.flows.running.settings import RunSettings
from polyforge.flows.running.store import RunEditor, RunStore
from polyforge.flows.running.tables import flow_runs
from polyforge.flows.validating import check
from polyforge.jobs.running import JobContext
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Denied, NotFound, PolyforgeError, Unauthenticated, Unavailable
from polyforge.ports.objects import ObjectStore
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.policy import authorize

PERMISSION: Final = "flows:run"
_DAY_SECONDS: Final = 86_400
_CONFIRMED_SECONDS: Final = 5.0
_END_SECONDS: Final = 5.0
_RETRIES: Final = 5
_encode: Final = msgspec.json.Encoder().encode
Current = Callable[[Caller], Awaitable[Caller]]


class Documents(Protocol):
    """Where stored versions are read, those of flows that were put away meanwhile too."""

    async def document(self, caller: Caller, flow_id: str, version: str) -> Document:
        """What a version holds; NotFound otherwise."""
        ...


class RunTools(msgspec.Struct, frozen=True):
    """What runs of flows are made with."""

    settings: RunSettings
    database: Database
    objects: ObjectStore
    documents: Documents
    types: NodeTypes
    runners: Runners
    facilities: Facilities
    current: Current
    clock: Clock
    seals: Seals
    budgets: Budgets | None = None
    """Where what runs may cost is held; None: nowhere."""
    ended: Callable[[str], None] = lambda outcome: None
    """Told how each run ended."""
    seen: Callable[[str, float], None] = lambda kind, seconds: None
    """Told how long each node took, by its type."""


class FlowRunKind:
    """Runs flows."""

    name = KIND

    def __init__(self, tools: RunTools) -> None:
        self._tools = tools
        self._pages = RunPages(tools.database, tools.seals)

    async def run(self, context: JobContext) -> Any:
        """Run one to its end, or as far as it gets."""
        return await _Attempt(self._tools, self._pages, context).run()


class _Attempt:
    """One attempt at a run."""

    def __init__(self, tools: RunTools, pages: RunPages, context: JobContext) -> None:
        self._tools = tools
        self._pages = pages
        self._context = context
        self._caller = context.job.caller
        self._scope = scope_of(self._caller)
        self._id: str = context.job.args["run"]
        self._values = RunValues(tools.objects)
        self._confirmed: tuple[float, Caller] | None = None

    async def run(self) -> Any:
        """All of it."""
        run = await self._begin()
        notes = await self._notes(run)
        writing = asyncio.create_task(notes.run(), name=f"events of {run.id}")
        try:
            outputs = await self._outputs(run, notes)
            result = await self._context.step("end", lambda: self._succeed(run, notes, outputs), retries=_RETRIES)
        except asyncio.CancelledError:
            await asyncio.shield(self._broken_off(notes))
            raise
        except Exception as error:
            await self._fail(notes, error)
            raise
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        self._tools.ended("succeeded")
        return result

    async def _begin(self) -> FlowRun:
        """The run, which goes on from now on, where it failed before too."""
        not_over = flow_runs.c.state != "succeeded"
        async with self._tools.database.write(self._scope) as session:
            editor = RunEditor(session, self._scope, self._tools.seals)
            run = await editor.find(self._id)
            if run is None:
                raise NotFound(f"there is no run {self._id!r} any more")
            values: dict[str, Any] = {"state": "running", "error": None, "ended_at": None, "expires_at": None}
            if run.started_at is None:
                values["started_at"] = self._tools.clock.now()
            await editor.change(run.id, values, not_over)
            await editor.reopen(run.id)
        return run

    async def _notes(self, run: FlowRun) -> RunNotes:
        async with self._tools.database.read(self._scope) as session:
            said = await RunStore(session, self._scope, self._tools.seals).said(run.id)
        pages = self._pages.of(self._scope, run.id)
        notes = RunNotes(pages, self._tools.clock, said, self._tools.settings.max_events)
        notes.cost = run.cost_micros
        notes.event("run.started")
        return notes

    async def _outputs(self, run: FlowRun, notes: RunNotes) -> dict[str, Json]:
        ceiling = Ceiling(self._tools.budgets, self._now)
        money = Money(run.max_cost_micros, run.cost_micros, ceiling)
        execution = Execution(await self._order(run), self._run_tools(), self._context, notes, money, self._now)
        try:
            return await execution.run()
        finally:
            ceiling.release()

    def _run_tools(self) -> Tools:
        tools = self._tools
        return Tools(
            types=tools.types,
            runners=tools.runners,
            facilities=tools.facilities,
            approvals=RunApprovals(tools.database, tools.clock, tools.seals),
            values=self._values,
            results=RunResults(tools.database, tools.clock, tools.settings.result_days, tools.seals),
            clock=tools.clock,
            at_once=tools.settings.nodes_at_once,
            seen=tools.seen,
        )

    async def _order(self, run: FlowRun) -> Order:
        document = await self._document(run.flow_id, run.version)
        plans = {run.version: await self._plan(document)}
        for targets in run.pinned.values():
            for flow_id, version in targets.values():
                if version not in plans:
                    plans[version] = await self._plan(await self._document(flow_id, version))
        parent = None if run.parent_id is None else await self._parent(run.parent_id)
        taken = dict[str, Done]() if parent is None else await self._taken(run, document, parent)
        site = self._site(run.id, run)
        earlier = None if parent is None else self._site(parent.id, parent)
        return Order(site, plans, run.pinned, run.version, run.inputs, run.trigger, taken, earlier)

    def _site(self, run_id: str, run: FlowRun) -> Site:
        return Site(run_id, run.flow_id, run.flow_name, self._caller)

    async def _document(self, flow_id: str, version: str) -> Document:
        return await self._tools.documents.document(self._caller, flow_id, version)

    async def _plan(self, document: Document) -> Plan:
        return await asyncio.to_thread(lambda: compile_plan(check(document, self._tools.types)))

    async def _parent(self, run_id: str) -> FlowRun | None:
        async with self._tools.database.read(self._scope) as session:
            return await RunStore(session, self._scope, self._tools.seals).find(run_id)

    async def _taken(self, run: FlowRun, document: Document, parent: FlowRun) -> Mapping[str, Done]:
        """What counts of an earlier run; nothing where that is gone meanwhile, or everything is to run again."""
        if run.targets is None:
            return {}
        try:
            before = await self._document(parent.flow_id, parent.version)
        except NotFound:
            return {}
        again = await asyncio.to_thread(stale, before, document, parent.inputs, run.inputs, run.targets)
        async with self._tools.database.read(self._scope) as session:
            results = await RunStore(session, self._scope, self._tools.seals).results(parent.id)
        again |= {name for name, node in document.nodes.items() if _calls_another(node.type, run, parent)}
        return taken_over(results, again)

    async def _now(self) -> Caller:
        """Whoever asked for the run, as they stand now."""
        at = self._tools.clock.monotonic()
        if self._confirmed is not None and at - self._confirmed[0] < _CONFIRMED_SECONDS:
            return self._confirmed[1]
        try:
            caller = await self._tools.current(self._caller)
            authorize(caller, PERMISSION)
        except (Denied, NotFound, Unauthenticated) as error:
            hint = "somebody who may run flows has to run it again"
            message = f"whoever began the run may not run flows any more: {error.message}"
            raise NodeFailed(RunError("access_revoked", message, hint=hint), fatal=True) from error
        self._confirmed = (at, caller)
        return caller

    # Ends

    async def _succeed(self, run: FlowRun, notes: RunNotes, outputs: Mapping[str, Json]) -> Any:
        data, kept = _encode(outputs), dict[str, Any](outputs)
        if len(data) > MAX_INLINE or "$stored" in outputs:
            name = await self._values.keep(self._site(run.id, run), data)
            kept = msgspec.to_builtins(StoredOutputs(name, len(data)))
        notes.end("run.succeeded", {**self._over("succeeded"), "outputs": kept}, outputs=list(outputs))
        if not await notes.flush():
            raise Unavailable("what came of the run cannot be written for now")
        return {"state": "succeeded", "outputs": list(outputs)}

    async def _fail(self, notes: RunNotes, error: Exception) -> None:
        message = "the run failed unexpectedly; the log of the worker says why"
        told = RunError.of(error) if isinstance(error, PolyforgeError) else RunError("internal_error", message)
        values = {**self._over("failed"), "error": msgspec.to_builtins(told)}
        notes.end("run.failed", values, **msgspec.to_builtins(told))
        await self._flush(notes)
        self._tools.ended("failed")

    async def _broken_off(self, notes: RunNotes) -> None:
        """Somebody cancelled it, or another worker goes on with it."""
        if self._context.cancelled:
            notes.end("run.cancelled", self._over("cancelled"))
            self._tools.ended("cancelled")
        await self._flush(notes)

    async def _flush(self, notes: RunNotes) -> None:
        """Write the last events; what cannot be written now is not waited for."""
        try:
            async with asyncio.timeout(_END_SECONDS):
                await notes.flush()
        except TimeoutError:
            return

    def _over(self, state: str) -> dict[str, Any]:
        now = self._tools.clock.now()
        keep = self._tools.settings.retention_days * _DAY_SECONDS
        return {"state": state, "ended_at": now, "expires_at": now + keep}


def _calls_another(kind: str, run: FlowRun, parent: FlowRun) -> bool:
    """Whether a node calls a flow whose version may differ from the one that the earlier run called."""
    return kind == "flow.call" and run.pinned != parent.pinned
