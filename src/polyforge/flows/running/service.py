"""Runs on behalf of callers: begun, followed, ended, begun again."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from polyforge.database.database import Database
from polyforge.flows.document import Json
from polyforge.flows.keeping.store import FlowEditor
from polyforge.flows.nodetypes import NodeTypes
from polyforge.flows.plan import compile_plan
from polyforge.flows.problems import refuse
from polyforge.flows.running.ceilings import Budgets, check_room
from polyforge.flows.running.contract import FlowVersion, FlowVersions
from polyforge.flows.running.interface import check_inputs
from polyforge.flows.running.leaving import end_as_its_job
from polyforge.flows.running.pages import RunValues, scope_of
from polyforge.flows.running.pinning import pin
from polyforge.flows.running.records import (
    KIND,
    LAST,
    QUEUE,
    RUN_PREFIX,
    UNFINISHED,
    FlowRun,
    RunEvent,
    Site,
    StoredOutputs,
    Trigger,
)
from polyforge.flows.running.sealing import Seals
from polyforge.flows.running.settings import RunSettings
from polyforge.flows.running.store import RunEditor, RunFilter, RunStore
from polyforge.flows.validating import check
from polyforge.jobs.records import Job, NewJob
from polyforge.jobs.service import JobService
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict, IdempotencyKeyReused, Invalid, NotFound, RateLimited, Unavailable
from polyforge.kernel.ids import new_ulid
from polyforge.kernel.money import Micros
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.people.paging import is_id
from polyforge.tenancy.policy import authorize

EVENT_PAGE: Final = 100
"""Each event has up to 64 kB of outputs."""
PERMISSION: Final = "flows:run"
_DAY_SECONDS: Final = 86_400
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
_MAX_KEY: Final = 200
_MOST_CHECKED: Final = 1_000
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


class RunService:
    """Each run is a row and a job, made in one transaction."""

    def __init__(
        self,
        settings: RunSettings,
        database: Database,
        versions: FlowVersions,
        types: NodeTypes,
        jobs: JobService,
        values: RunValues,
        clock: Clock,
        recorder: Recorder,
        seals: Seals,
        budgets: Budgets | None = None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._versions = versions
        self._types = types
        self._jobs = jobs
        self._values = values
        self._clock = clock
        self._recorder = recorder
        self._seals = seals
        self._budgets = budgets
        self._checked: dict[str, None] = {}

    async def start(
        self,
        caller: Caller,
        version: FlowVersion,
        inputs: Mapping[str, Json],
        *,
        trigger: Trigger = Trigger(),  # noqa: B008  it is frozen
        idempotency_key: str | None = None,
        max_cost: Micros | None = None,
        parent: FlowRun | None = None,
        targets: Sequence[str] | None = None,
        reference: str | None = None,
    ) -> FlowRun:
        """A run of a stored version. Invalid for inputs that do not fit it, and for a version that cannot run here.

        With a key it is begun once: whoever repeats it gets that run, IdempotencyKeyReused where they ask another.
        `reference` is how the caller names the version; what it means may change before they repeat it.
        RateLimited when too many runs of the project are unfinished, BudgetSpent when what it may cost cannot be held.
        """
        authorize(caller, PERMISSION)
        check_inputs(version.document.interface, inputs)
        self._check_size(inputs)
        named = reference or f"{version.flow_id}@{version.version}"
        key, request = _key(caller, trigger, idempotency_key), _request(trigger, named, inputs, max_cost, targets)
        if key is not None and (known := await self._keyed(caller, key, request)) is not None:
            return known
        await check_room(self._budgets, caller, max_cost)
        if version.version not in self._checked:
            await asyncio.to_thread(self._check_runs, version)
        pins = await pin(self._versions, caller, version)
        run_id = f"{RUN_PREFIX}{new_ulid()}"
        values = {
            "id": run_id,
            "flow_id": version.flow_id,
            "flow_name": version.flow_name,
            "version": version.version,
            "plan": pins.plan,
            "pinned": pins.pinned,
            "state": "queued",
            "inputs": dict(inputs),
            "cost_micros": 0,
            "max_cost_micros": max_cost,
            "trigger_kind": trigger.kind,
            "trigger_id": trigger.id,
            "trigger_outputs": dict(trigger.outputs),
            "asked_by_id": caller.key_id,
            "asked_by_name": caller.key_name,
            "user_id": caller.user_id,
            "parent_id": None if parent is None else parent.id,
            "targets": None if targets is None else list(targets),
            "idempotency_key": key,
            "request": request,
            "last_seq": 0,
            "created_at": self._clock.now(),
        }
        return await self._made(caller, values, key, request)

    async def begun_before(
        self,
        caller: Caller,
        reference: str,
        inputs: Mapping[str, Json],
        *,
        idempotency_key: str | None,
        trigger: Trigger = Trigger(),  # noqa: B008  it is frozen
        max_cost: Micros | None = None,
    ) -> FlowRun | None:
        """The run that `start` made with a key before, whatever the reference means by now; None without one."""
        authorize(caller, PERMISSION)
        key = _key(caller, trigger, idempotency_key)
        if key is None:
            return None
        return await self._keyed(caller, key, _request(trigger, reference, inputs, max_cost, None))

    async def _made(self, caller: Caller, values: dict[str, Any], key: str | None, request: str) -> FlowRun:
        scope, run_id = scope_of(caller), values["id"]
        new = NewJob(kind=KIND, title=f"run of {values['flow_name']}"[:100], args={"run": run_id}, queue=QUEUE)
        async with self._database.write(scope) as session:
            editor = RunEditor(session, scope, self._seals)
            # Looked at again, since this transaction is the one that counts.
            if key is not None and (found := await editor.keyed(key)) is not None:
                return _same(found, request)
            await self._check_places(editor)
            await _hold(FlowEditor(session, scope), values)
            subject = _subject(run_id, caller)
            told = {"flow": values["flow_id"], "version": values["version"], "trigger": values["trigger_kind"]}
            await self._recorder.noted(session, caller, "flow_run.started", subject, told)
            job = await self._jobs.submit(session, caller, new)
            await editor.add({**values, "job_id": job.id})
        return await self.get(caller, run_id)

    async def get(self, caller: Caller, run_id: str) -> FlowRun:
        """One run as it is now; NotFound for one that the caller's project does not have."""
        scope = scope_of(caller)
        async with self._database.read(scope) as session:
            run = await _existing(RunStore(session, scope, self._seals), run_id)
            job = None if run.finished else await self._jobs.find_within(session, caller, run.job_id)
        return run if job is None else await self._as_its_job(caller, run, job)

    async def page(
        self, caller: Caller, limit: int, cursor: str | None, which: RunFilter
    ) -> tuple[list[FlowRun], str | None]:
        """Up to `limit` runs, newest first, and the cursor of the next page, None after the last."""
        if cursor is not None and not is_run_id(cursor):
            raise Invalid("the cursor is not one that a list gave", param="cursor")
        scope = scope_of(caller)
        async with self._database.read(scope) as session:
            found = await RunStore(session, scope, self._seals).page(limit + 1, cursor, which)
        return found[:limit], found[limit - 1].id if len(found) > limit else None

    async def wait(self, caller: Caller, run_id: str, seconds: float) -> FlowRun:
        """A run once it is over, or as it is after so long."""
        until, pause = self._clock.monotonic() + seconds, _FIRST_PAUSE
        while True:
            left = until - self._clock.monotonic()
            try:
                run = await self.get(caller, run_id)
            except Unavailable:
                # It goes on whether or not the database has time for those who look.
                if left <= 0:
                    raise
            else:
                if run.finished or left <= 0:
                    return run
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    async def history(self, caller: Caller, run_id: str, after: int, limit: int) -> Sequence[RunEvent]:
        """Up to `limit` events of a run that come after the event `after`; NotFound without the run."""
        await self._find(caller, run_id)
        scope = scope_of(caller)
        async with self._database.read(scope) as session:
            return await RunStore(session, scope, self._seals).events(run_id, after, limit)

    async def events(self, caller: Caller, run_id: str, after: int) -> AsyncGenerator[RunEvent]:
        """What happened in a run after the event `after`, and what happens, until it is over."""
        pause = _FIRST_PAUSE
        while True:
            # The run first: a finished one says nothing after that.
            run = await self.get(caller, run_id)
            found = await self.history(caller, run_id, after, EVENT_PAGE)
            for event in found:
                yield event
                after = event.seq
            if len(found) == EVENT_PAGE:
                continue
            if run.finished:
                return
            pause = _FIRST_PAUSE if found else min(pause * 1.5, _LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def outputs(self, caller: Caller, run: FlowRun) -> Mapping[str, Json] | None:
        """What came of a run, wherever that lies; None unless it succeeded."""
        if not isinstance(run.outputs, StoredOutputs):
            return run.outputs
        site = Site(run.id, run.flow_id, run.flow_name, caller)
        return msgspec.json.decode(await self._values.load(site, run.outputs.sha256), type=dict[str, Any])

    async def value(self, caller: Caller, run_id: str, name: str) -> bytes:
        """The long outputs of one node of a run, as its event names them; NotFound otherwise."""
        run = await self._find(caller, run_id)
        if not _is_hash(name):
            raise NotFound(f"the run has nothing under {name[:70]!r}")
        return await self._values.load(Site(run.id, run.flow_id, run.flow_name, caller), name)

    async def cancel(self, caller: Caller, run_id: str) -> FlowRun:
        """End a run: at once while it is queued, else as soon as its worker sees it. Conflict for a finished one."""
        run = await self.get(caller, run_id)
        if run.finished:
            raise Conflict(f"the run is {run.state} already: there is nothing to cancel")
        scope = scope_of(caller)
        async with self._database.write(scope) as session:
            await self._recorder.noted(session, caller, "flow_run.cancelled", _subject(run_id, caller), {})
        await self._jobs.cancel(caller, run.job_id)
        return await self.get(caller, run_id)

    async def rerun(
        self,
        caller: Caller,
        run_id: str,
        *,
        targets: Sequence[str] | None = None,
        inputs: Mapping[str, Json] | None = None,
        version: FlowVersion | None = None,
        max_cost: Micros | None = None,
    ) -> FlowRun:
        """Run again what a finished run ran: all of it, or with `targets` only those nodes and what comes after.

        What was changed since, by other inputs or in another version, runs again as well; the rest is taken over.
        """
        run = await self.get(caller, run_id)
        if not run.finished:
            raise Conflict(f"the run is {run.state}; wait until it is over, or cancel it")
        version = version or await self._versions.resolve(caller, f"{run.flow_id}@{run.version}")
        if version.flow_id != run.flow_id:
            raise Invalid("a run is repeated with a version of the same flow", param="version")
        for target in targets or ():
            if target not in version.document.nodes and target not in version.document.groups:
                raise Invalid(f"there is no node {target[:64]!r} in that version", param="targets")
        given = run.inputs if inputs is None else inputs
        trigger = replace(run.trigger, kind="rerun") if not run.trigger.outputs else run.trigger
        most = run.max_cost_micros if max_cost is None else max_cost
        return await self.start(caller, version, given, trigger=trigger, max_cost=most, parent=run, targets=targets)

    async def why(self, caller: Caller, flow_id: str, version: str | None) -> str | None:
        """What keeps a version from being taken away: runs that take it and are not over."""
        return None if version is None else await self._taken(caller, flow_id, version)

    async def why_any(self, caller: Caller, flow_id: str) -> str | None:
        """What keeps a flow from being removed: runs that take any version of it and are not over."""
        return await self._taken(caller, flow_id, None)

    async def _taken(self, caller: Caller, flow_id: str, version: str | None) -> str | None:
        scope = scope_of(caller)
        async with self._database.read(scope) as session:
            run_id = await RunStore(session, scope, self._seals).taking(flow_id, version)
        return None if run_id is None else f"the run {run_id} takes it and is not over; wait for it, or cancel it"

    async def _find(self, caller: Caller, run_id: str) -> FlowRun:
        scope = scope_of(caller)
        async with self._database.read(scope) as session:
            return await _existing(RunStore(session, scope, self._seals), run_id)

    async def _keyed(self, caller: Caller, key: str, request: str) -> FlowRun | None:
        scope = scope_of(caller)
        async with self._database.read(scope) as session:
            found = await RunStore(session, scope, self._seals).keyed(key)
        return None if found is None else await self.get(caller, _same(found, request).id)

    async def _as_its_job(self, caller: Caller, run: FlowRun, job: Job) -> FlowRun:
        """A run whose job ended without it is over too, and its row says so from now on."""
        if job.state in UNFINISHED:
            return replace(run, state=job.state)
        if job.state != "succeeded":
            ended, keep = job.ended_at or self._clock.now(), self._settings.retention_days * _DAY_SECONDS
            scope = scope_of(caller)
            async with self._database.write(scope) as session:
                await end_as_its_job(RunEditor(session, scope, self._seals), run.id, job.state, ended, job.error, keep)
        return await self._find(caller, run.id)

    def _check_runs(self, version: FlowVersion) -> None:
        """Invalid where the version cannot run here; the node is named. Each is looked at once: it may take seconds."""
        checked = check(version.document, self._types)
        refuse(checked.problems)
        compile_plan(checked)
        if len(self._checked) >= _MOST_CHECKED:
            self._checked.clear()
        self._checked[version.version] = None

    async def _check_places(self, store: RunStore) -> None:
        settings = self._settings
        if await store.reaches(("queued", "running"), settings.max_unfinished):
            message = f"{settings.max_unfinished} runs of this project are queued or running, which is the most"
            raise RateLimited(message, retry_after=30.0)
        if await store.reaches(("waiting",), settings.max_waiting):
            message = f"{settings.max_waiting} runs of this project wait for somebody or for a time, which is the most"
            raise RateLimited(f"{message}: decide what they ask, or cancel some", retry_after=600.0)

    def _check_size(self, inputs: Mapping[str, Json]) -> None:
        if len(_encode(inputs)) > self._settings.max_input_bytes:
            most = self._settings.max_input_bytes
            raise Invalid(f"the inputs have more than {most} bytes; upload a file and give its id", param="inputs")


async def _existing(store: RunStore, run_id: str) -> FlowRun:
    found = await store.find(run_id) if is_run_id(run_id) else None
    if found is None:
        raise NotFound(f"there is no run {run_id[:40]!r}")
    return found


def is_run_id(text: str) -> bool:
    """Whether a text can be the id of a run."""
    return text.startswith(RUN_PREFIX) and is_id(text[len(RUN_PREFIX) :])


def is_last(event: RunEvent) -> bool:
    """Whether nothing comes after an event."""
    return event.type in LAST


def _key(caller: Caller, trigger: Trigger, key: str | None) -> str | None:
    """A key as it is kept: nobody meets another's. Those of a trigger are its own, whoever it acts as by now."""
    if key is None:
        return None
    if not 0 < len(key) <= _MAX_KEY:
        raise Invalid(f"a key has 1 to {_MAX_KEY} characters", param="idempotency-key")
    return hashlib.sha256(_encode([trigger.id or caller.key_id, trigger.kind, key])).hexdigest()


def _request(
    trigger: Trigger,
    reference: str,
    inputs: Mapping[str, Json],
    max_cost: Micros | None,
    targets: Sequence[str] | None,
) -> str:
    """What is asked for with a key. A trigger asks once with each, so changes to it make no other request of it."""
    asked = [reference, inputs, max_cost, targets] if trigger.id is None else [trigger.id]
    return hashlib.sha256(_encode(asked)).hexdigest()


def _same(found: tuple[FlowRun, str], request: str) -> FlowRun:
    run, asked = found
    if asked != request:
        raise IdempotencyKeyReused("this key came with another run before; use a new one", param="idempotency-key")
    return run


async def _hold(flows: FlowEditor, values: Mapping[str, Any]) -> None:
    """Have the versions that a run takes stay until it is there; NotFound for one that was removed meanwhile."""
    called = (target for targets in values["pinned"].values() for target in targets.values())
    wanted = {(values["flow_id"], values["version"]), *(tuple(target) for target in called)}
    for flow_id, version in sorted(wanted - await flows.hold(wanted)):
        raise NotFound(f"version {version[:12]} of the flow {flow_id} was removed just now; run another version")


def _is_hash(text: str) -> bool:
    return len(text) == 64 and not set(text) - set("0123456789abcdef")  # noqa: PLR2004


def _subject(run_id: str, caller: Caller) -> Subject:
    return Subject("flow_run", run_id, caller.organization_id, caller.project_id)
