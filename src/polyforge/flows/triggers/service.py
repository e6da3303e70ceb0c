"""Triggers on behalf of callers: made, looked at, changed, taken away."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec.structs import asdict, replace

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.database.sessions import WriteSession
from polyforge.flows.document import Document
from polyforge.flows.keeping.records import is_version_prefix
from polyforge.flows.running.contract import FlowVersion, FlowVersions, SecretReader
from polyforge.flows.running.interface import check_inputs
from polyforge.flows.triggers.records import (
    JOB_KIND,
    MAX_INPUT_BYTES,
    MAX_TRIGGERS,
    MOST_PER_MINUTE,
    TRIGGER_PREFIX,
    USUAL_PER_MINUTE,
    Firing,
    FlowTrigger,
    Wanted,
)
from polyforge.flows.triggers.signing import check_secret
from polyforge.flows.triggers.store import TriggerEditor, TriggerStore
from polyforge.jobs.cron import next_time
from polyforge.jobs.making import check_json, check_work
from polyforge.jobs.records import PRIORITY, AskedBy, NewSchedule, Schedule
from polyforge.jobs.schedules import MAX_SCHEDULES, ScheduleService
from polyforge.jobs.store import ScheduleStore, encoded
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict, Invalid, NotFound
from polyforge.kernel.ids import new_ulid
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.people.paging import check_cursor, is_id, not_found, page_of
from polyforge.tenancy.policy import authorize

RUN: Final = "flows:run"
SCHEDULE_NODE: Final = "trigger.schedule"
WEBHOOK_NODE: Final = "trigger.webhook"
CHANGEABLE: Final = frozenset(
    {"title", "flow", "inputs", "enabled", "cron", "timezone", "auth", "secret", "per_minute"}
)
_QUEUE: Final = "default"
_OF_SCHEDULES: Final = ("cron", "timezone")
_OF_WEBHOOKS: Final = ("auth", "secret", "per_minute")


class TriggerService:
    """What callers do with the triggers of their project."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        recorder: Recorder,
        schedules: ScheduleService,
        versions: FlowVersions,
        secrets: SecretReader,
    ) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder
        self._schedules = schedules
        self._versions = versions
        self._secrets = secrets

    async def all(self, caller: Caller, flow_id: str | None = None) -> Sequence[FlowTrigger]:
        """Every trigger of the project, or of one flow, the newest first; there are at most MAX_TRIGGERS."""
        scope = scope_of(caller)
        async with self._database.read(scope) as session:
            found = await TriggerStore(session, scope).all(MAX_TRIGGERS, flow_id)
            schedules = await ScheduleStore(session, scope).all(MAX_SCHEDULES)
        known = {each.id: each for each in schedules}
        return [_timed(each, known.get(each.schedule_id or "")) for each in found]

    async def get(self, caller: Caller, trigger_id: str) -> FlowTrigger:
        """One trigger; NotFound otherwise."""
        scope = scope_of(caller)
        async with self._database.read(scope) as session:
            found = await existing(TriggerStore(session, scope), trigger_id)
            schedule = None
            if found.schedule_id is not None:
                schedule = await ScheduleStore(session, scope).find(found.schedule_id)
        return _timed(found, schedule)

    async def firings(
        self, caller: Caller, trigger_id: str, limit: int, cursor: str | None
    ) -> tuple[list[Firing], str | None]:
        """Up to `limit` times that a trigger fired, the newest first, and the cursor of the next page."""
        check_cursor(cursor)
        scope = scope_of(caller)
        async with self._database.read(scope) as session:
            store = TriggerStore(session, scope)
            await existing(store, trigger_id)
            return page_of(await store.firings(trigger_id, limit + 1, cursor), limit)

    async def why(self, caller: Caller, flow_id: str, version: str | None) -> str | None:
        """Why a flow, or a version of one, cannot be taken away; None where no trigger needs it."""
        for each in await self.all(caller, flow_id):
            wanted = each.flow.partition("@")[2]
            if version is None or (is_version_prefix(wanted) and version.startswith(wanted)):
                return f"the trigger {each.title!r} begins runs of it; remove that trigger first ({each.id})"
        return None

    async def why_any(self, caller: Caller, flow_id: str) -> str | None:
        """Why a flow cannot be removed for ever; None where no trigger needs it."""
        return await self.why(caller, flow_id, None)

    async def create(self, caller: Caller, wanted: Wanted) -> FlowTrigger:
        """Have a trigger, whose runs act as this caller; Invalid names the field that it cannot have."""
        wanted, version = await self._settled(caller, wanted)
        scope, now, id_ = scope_of(caller), self._clock.now(), TRIGGER_PREFIX + new_ulid()
        schedule_id = new_ulid() if wanted.kind == "schedule" else None
        row = {**_row(caller, wanted, version, now), "id": id_, "schedule_id": schedule_id, "created_at": now}
        async with self._database.write(scope) as session:
            editor = TriggerEditor(session, scope)
            if len(await editor.all(MAX_TRIGGERS)) >= MAX_TRIGGERS:
                raise Conflict(f"the project has {MAX_TRIGGERS} triggers, which is the most; remove some")
            await editor.add(row)
            if schedule_id is not None:
                await self._schedules.create_within(session, caller, _schedule(wanted, id_), schedule_id)
            made = await existing(editor, id_)
            await self._record(session, caller, "created", made, None, facts(made))
        return await self.get(caller, id_)

    async def change(self, caller: Caller, trigger_id: str, changes: Mapping[str, Any]) -> FlowTrigger:
        """Set some of CHANGEABLE; its runs act as this caller from now on. Switching off alone changes no more."""
        if unknown := sorted(set(changes) - CHANGEABLE):
            raise Invalid(f"{unknown[0]} of a trigger cannot be changed", param=unknown[0])
        if dict(changes) == {"enabled": False}:
            return await self._switch_off(caller, trigger_id)
        asked = await self.get(caller, trigger_id)
        fields = {name: getattr(asked, name) for name in Wanted.__struct_fields__}
        wanted, version = await self._settled(caller, Wanted(**{**fields, **changes}))
        scope, now = scope_of(caller), self._clock.now()
        async with self._database.write(scope) as session:
            editor = TriggerEditor(session, scope)
            before = await existing(editor, trigger_id, lock=True)
            if before.changed_at != asked.changed_at:
                raise Conflict("somebody else changed the trigger meanwhile; look at it and try again")
            schedule_id = await self._reschedule(session, caller, before, wanted)
            await editor.change(trigger_id, {**_row(caller, wanted, version, now), "schedule_id": schedule_id})
            after = await existing(editor, trigger_id)
            await self._record(session, caller, "changed", after, facts(before), facts(after))
        return await self.get(caller, trigger_id)

    async def remove(self, caller: Caller, trigger_id: str) -> None:
        """Take a trigger away; runs that it began go on."""
        scope = scope_of(caller)
        async with self._database.write(scope) as session:
            editor = TriggerEditor(session, scope)
            before = await existing(editor, trigger_id, lock=True)
            await editor.remove(trigger_id)
            if before.schedule_id is not None and await self._scheduled(session, scope, before.schedule_id):
                await self._schedules.remove_within(session, caller, before.schedule_id)
            await self._record(session, caller, "removed", before, facts(before), None)

    async def _switch_off(self, caller: Caller, trigger_id: str) -> FlowTrigger:
        """Have it begin nothing, whatever became of its flow and its secret, and whoever may use them."""
        scope, now = scope_of(caller), self._clock.now()
        async with self._database.write(scope) as session:
            editor = TriggerEditor(session, scope)
            before = await existing(editor, trigger_id, lock=True)
            if before.schedule_id is not None and await self._scheduled(session, scope, before.schedule_id):
                await self._schedules.change_within(session, caller, before.schedule_id, {"enabled": False})
            await editor.change(trigger_id, {"enabled": False, "changed_at": now})
            after = await existing(editor, trigger_id)
            await self._record(session, caller, "changed", after, facts(before), facts(after))
        return await self.get(caller, trigger_id)

    async def _settled(self, caller: Caller, wanted: Wanted) -> tuple[Wanted, FlowVersion]:
        """What is wanted with what follows from the flow, which is looked at as it is now."""
        # Its runs act as this caller, who must be allowed to begin them.
        authorize(caller, RUN)
        check_work(JOB_KIND, wanted.title, {}, _QUEUE, PRIORITY)
        check_json("inputs", wanted.inputs, MAX_INPUT_BYTES)
        version = await self._found(caller, wanted.flow)
        check_inputs(version.document.interface, wanted.inputs)
        if wanted.kind == "schedule":
            _refuse_others(wanted, _OF_WEBHOOKS)
            wanted = _with_times(version.document, wanted)
            next_time(wanted.cron or "", wanted.timezone or "", self._clock.now())
            return wanted, version
        _refuse_others(wanted, _OF_SCHEDULES)
        wanted = _with_proof(version.document, wanted)
        await self._check_secret(caller, wanted.secret or "")
        return wanted, version

    async def _found(self, caller: Caller, flow: str) -> FlowVersion:
        try:
            return await self._versions.resolve(caller, flow)
        except NotFound as error:
            raise Invalid(error.message, param="flow") from error

    async def _check_secret(self, caller: Caller, name: str) -> None:
        try:
            check_secret(await self._secrets.get(caller, name))
        except NotFound as error:
            message = f"there is no secret {name!r} for this project; set it with `polyforge secret set {name}`"
            raise Invalid(message, param="secret") from error
        except ValueError as error:
            raise Invalid(str(error), param="secret") from error

    async def _reschedule(
        self, session: WriteSession, caller: Caller, before: FlowTrigger, wanted: Wanted
    ) -> str | None:
        """Have its jobs made as is wanted now; the id of what makes them, anew where somebody took that away."""
        if before.kind != "schedule":
            return None
        new = _schedule(wanted, before.id)
        if before.schedule_id is not None and await self._scheduled(session, _scope(before), before.schedule_id):
            changes = {name: getattr(new, name) for name in ("title", "args", "cron", "timezone", "enabled")}
            await self._schedules.change_within(session, caller, before.schedule_id, changes)
            return before.schedule_id
        return (await self._schedules.create_within(session, caller, new, new_ulid())).id

    async def _scheduled(self, session: WriteSession, scope: Scope, schedule_id: str) -> bool:
        return await ScheduleStore(session, scope).find(schedule_id) is not None

    async def _record(
        self,
        session: WriteSession,
        caller: Caller,
        verb: str,
        trigger: FlowTrigger,
        before: dict[str, Any] | None,
        after: dict[str, Any] | None,
    ) -> None:
        subject = Subject("flow_trigger", trigger.id, trigger.organization_id, trigger.project_id)
        await self._recorder.changed(session, caller, "jobs", f"flow_trigger.{verb}", subject, before, after)


async def existing(store: TriggerStore, trigger_id: str, *, lock: bool = False) -> FlowTrigger:
    """A trigger; NotFound otherwise."""
    found = None
    if is_trigger_id(trigger_id):
        if lock and isinstance(store, TriggerEditor):
            found = await store.locked(trigger_id)
        else:
            found = await store.find(trigger_id)
    if found is None:
        raise not_found("trigger", trigger_id)
    return found


def is_trigger_id(text: str) -> bool:
    """Whether a text can be the id of a trigger."""
    return text.startswith(TRIGGER_PREFIX) and is_id(text.removeprefix(TRIGGER_PREFIX))


def scope_of(caller: Caller) -> Scope:
    """Where a caller's triggers lie."""
    return Scope(caller.organization_id, caller.project_id)


def facts(trigger: FlowTrigger) -> dict[str, Any]:
    """What the audit log keeps of a trigger: not its inputs, which may hold what people wrote."""
    return {name: each for name, each in asdict(trigger).items() if name in _FACTS and each is not None}


_FACTS: Final = ("kind", "title", "flow", "enabled", "cron", "timezone", "auth", "secret", "per_minute")


def _with_times(document: Document, wanted: Wanted) -> Wanted:
    """With the times that the flow's own node says, where none are given."""
    if wanted.cron is not None:
        return replace(wanted, timezone=wanted.timezone or "UTC")
    nodes = [node for node in document.nodes.values() if node.type == SCHEDULE_NODE]
    if len(nodes) != 1:
        has = "no schedule" if not nodes else f"{len(nodes)} schedules"
        raise Invalid(f"the flow has {has} of its own; give `cron`, as in `0 8 * * 1`", param="cron")
    params = nodes[0].params
    return replace(wanted, cron=params["cron"], timezone=wanted.timezone or params["timezone"])


def _with_proof(document: Document, wanted: Wanted) -> Wanted:
    """With the secret that the flow's own node names, where none is given."""
    nodes = [node for node in document.nodes.values() if node.type == WEBHOOK_NODE]
    if not nodes:
        raise Invalid("nothing in the flow takes what comes in; add a node of type `trigger.webhook`", param="flow")
    names = sorted({node.params["signature"]["$secret"] for node in nodes})
    if wanted.secret is None and len(names) != 1:
        raise Invalid(f"the flow names {', '.join(names)}; say which secret this trigger has", param="secret")
    per_minute = USUAL_PER_MINUTE if wanted.per_minute is None else wanted.per_minute
    if not 1 <= per_minute <= MOST_PER_MINUTE:
        raise Invalid(f"per_minute must be 1 to {MOST_PER_MINUTE}", param="per_minute")
    return replace(wanted, secret=wanted.secret or names[0], auth=wanted.auth or "signature", per_minute=per_minute)


def _refuse_others(wanted: Wanted, fields: Sequence[str]) -> None:
    for name in fields:
        if getattr(wanted, name) is not None:
            raise Invalid(f"a {wanted.kind} has no {name}; leave it out", param=name)


def _row(caller: Caller, wanted: Wanted, version: FlowVersion, now: float) -> dict[str, Any]:
    return {
        **asdict(wanted),
        "inputs": encoded(wanted.inputs),
        "flow_id": version.flow_id,
        "asked_by": encoded(AskedBy.of(caller)),
        "changed_at": now,
    }


def _schedule(wanted: Wanted, trigger_id: str) -> NewSchedule:
    return NewSchedule(
        kind=JOB_KIND,
        title=wanted.title,
        args={"trigger_id": trigger_id},
        queue=_QUEUE,
        cron=wanted.cron or "",
        timezone=wanted.timezone or "UTC",
        enabled=wanted.enabled,
    )


def _timed(trigger: FlowTrigger, schedule: Schedule | None) -> FlowTrigger:
    return trigger if schedule is None else replace(trigger, next_at=schedule.next_at)


def _scope(trigger: FlowTrigger) -> Scope:
    return Scope(trigger.organization_id, trigger.project_id)
