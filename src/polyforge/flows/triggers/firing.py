"""Triggers that fire: each delivery begins one run, however often it comes, and whatever is killed meanwhile."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol, cast

import msgspec

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.flows.bounds import MAX_DEPTH
from polyforge.flows.document import Json
from polyforge.flows.running.contract import FlowVersion, FlowVersions, SecretReader
from polyforge.flows.running.records import Trigger
from polyforge.flows.triggers.proving import Proofs
from polyforge.flows.triggers.records import KEPT_DAYS, USUAL_PER_MINUTE, Fired, Firing, FlowTrigger, Kind
from polyforge.flows.triggers.service import RUN, existing, scope_of
from polyforge.flows.triggers.signing import Headers
from polyforge.flows.triggers.store import TriggerEditor, TriggerStore
from polyforge.jobs.making import check_json
from polyforge.kernel.clock import Clock, utc
from polyforge.kernel.errors import Conflict, Denied, Invalid, PolyforgeError, RateLimited
from polyforge.kernel.ids import new_ulid
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.policy import authorize
from polyforge.tenancy.standing import Standing

MAX_BODY_BYTES: Final = 256 * 1024
"""Of a delivery; what is larger is named in it and fetched by the flow."""
_MINUTE: Final = 60.0
_DAY: Final = 86_400.0
_LONGEST_ERROR: Final = 500
_MOST_HEADERS: Final = 50
_LONGEST_HEADER: Final = 1_000
_HIDDEN: Final = frozenset(
    {"authorization", "proxy-authorization", "cookie", "webhook-signature", "x-api-key", "api-key"}
)
"""Headers that prove something, and are nothing for a flow."""
_USE_SECRETS: Final = "secrets:use"
_WEBHOOK: Final[Kind] = "webhook"
_log = get_logger(__name__)


class Begun(Protocol):
    """A run."""

    @property
    def id(self) -> str:
        """Its id."""
        ...


class Runs(Protocol):
    """What begins runs."""

    async def start(
        self,
        caller: Caller,
        version: FlowVersion,
        inputs: Mapping[str, Json],
        *,
        trigger: Trigger,
        idempotency_key: str | None = None,
    ) -> Begun:
        """Begin a run that acts as a caller; the same key gives the same run."""
        ...

    async def begun_before(
        self,
        caller: Caller,
        reference: str,
        inputs: Mapping[str, Json],
        *,
        trigger: Trigger,
        idempotency_key: str | None,
    ) -> Begun | None:
        """The run that a trigger began with a key before, whatever became of the flow and of the trigger."""
        ...


class Firings:
    """Fires triggers: by the clock, by calls from outside, by hand."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        standing: Standing,
        versions: FlowVersions,
        secrets: SecretReader,
        runs: Runs,
    ) -> None:
        self._database = database
        self._clock = clock
        self._standing = standing
        self._versions = versions
        self._proofs = Proofs(database, clock, secrets)
        self._runs = runs

    async def on_time(self, asked_by: Caller, trigger_id: str, delivery: str, outputs: Mapping[str, Json]) -> Fired:
        """A schedule's time has come; `asked_by` is who its job acts as, and must still be allowed to."""
        caller = await self._standing.confirmed(asked_by)
        return await self._fire(caller, trigger_id, delivery, outputs)

    async def by_hand(self, caller: Caller, trigger_id: str, body: Json) -> Fired:
        """Somebody wants to see what it does now; the run acts as this caller."""
        check_json("body", body, MAX_BODY_BYTES)
        scope = scope_of(caller)
        async with self._database.read(scope) as session:
            trigger = await existing(TriggerStore(session, scope), trigger_id)
        return await self._fire(caller, trigger_id, f"by-hand:{new_ulid()}", _by_hand(trigger, body, self._clock.now()))

    async def delivered(self, trigger_id: str, headers: Headers, body: bytes, address: str = "") -> Fired:
        """A call came from outside: begin a run if it proves that it knows the secret.

        NotFound for what is no webhook, Unauthenticated without the proof or without a secret that could be proved,
        RateLimited for either after too many of them from an address. Denied where whoever made the trigger may no
        longer run flows, Conflict while it is off, RateLimited, Invalid for a body that is no JSON.
        """
        # The proof first: who has only the address learns nothing, and costs little.
        trigger, delivery = await self._proofs.check(trigger_id, headers, body, address)
        caller = await self._owner(trigger)
        outputs = {"body": _json_of(body), "headers": _shown(headers)}
        return await self._fire(caller, trigger.id, delivery or f"unnamed:{new_ulid()}", outputs)

    async def _owner(self, trigger: FlowTrigger) -> Caller:
        try:
            caller = await self._standing.confirmed(
                trigger.asked_by.caller(trigger.organization_id, trigger.project_id)
            )
            authorize(caller, RUN)
            authorize(caller, _USE_SECRETS)
        except Denied as error:
            _log.warning("a webhook was refused", trigger=trigger.id, reason=error.message)
            # Senders learn nothing about people and keys.
            raise Denied("who made this webhook may not run flows any more; somebody has to save it again") from error
        return caller

    async def _fire(self, caller: Caller, trigger_id: str, delivery: str, outputs: Mapping[str, Json]) -> Fired:
        authorize(caller, RUN)
        trigger, firing = await self._noted(scope_of(caller), trigger_id, delivery)
        if firing.run_id is not None:
            return Fired(firing.run_id, repeated=True)
        try:
            run = await self._run(caller, trigger, Trigger(trigger.kind, trigger.id, outputs), f"trigger:{firing.id}")
        except PolyforgeError as error:
            await self._settle(scope_of(caller), firing.id, None, error.message[:_LONGEST_ERROR])
            raise
        await self._settle(scope_of(caller), firing.id, run.id, None)
        return Fired(run.id, repeated=False)

    async def _run(self, caller: Caller, trigger: FlowTrigger, occasion: Trigger, key: str) -> Begun:
        """The run of a firing: the one that began before this process or another was killed, else a new one."""
        begun = await self._runs.begun_before(
            caller, trigger.flow, trigger.inputs, trigger=occasion, idempotency_key=key
        )
        if begun is not None:
            return begun
        version = await self._versions.resolve(caller, trigger.flow)
        return await self._runs.start(caller, version, trigger.inputs, trigger=occasion, idempotency_key=key)

    async def _noted(self, scope: Scope, trigger_id: str, delivery: str) -> tuple[FlowTrigger, Firing]:
        """The trigger with a row for this delivery: the one that it has, or a new one where there is room."""
        now = self._clock.now()
        async with self._database.write(scope) as session:
            editor = TriggerEditor(session, scope)
            trigger = await existing(editor, trigger_id, lock=True)
            if not trigger.enabled:
                raise Conflict("this trigger is off; switch it on to have it begin runs")
            known = await editor.delivered(trigger_id, delivery)
            if known is not None:
                return trigger, known
            await self._check_rate(editor, trigger, now)
            firing = Firing(id=new_ulid(), trigger_id=trigger_id, delivery=delivery, at=now, run_id=None, error=None)
            await editor.fire({**msgspec.structs.asdict(firing), "expires_at": now + KEPT_DAYS * _DAY})
        return trigger, firing

    async def _check_rate(self, editor: TriggerEditor, trigger: FlowTrigger, now: float) -> None:
        most = trigger.per_minute or USUAL_PER_MINUTE
        recent = await editor.since(trigger.id, now - _MINUTE, most)
        if len(recent) >= most:
            message = f"this trigger begins at most {most} runs a minute; try again later, or raise its per_minute"
            raise RateLimited(message, retry_after=max(1.0, recent[0] + _MINUTE - now))

    async def _settle(self, scope: Scope, firing_id: str, run_id: str | None, error: str | None) -> None:
        async with self._database.write(scope) as session:
            await TriggerEditor(session, scope).settle(firing_id, run_id, error)


def told_time(at: float) -> str:
    """A moment as flows are told it."""
    return utc(at).isoformat().replace("+00:00", "Z")


def _by_hand(trigger: FlowTrigger, body: Json, now: float) -> dict[str, Json]:
    if trigger.kind == _WEBHOOK:
        return {"body": body, "headers": {}}
    return {"at": told_time(now)}


def _json_of(body: bytes) -> Json:
    if not body:
        return None
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid("the body is no JSON; send `content-type: application/json`", param="body") from error
    if _too_deep(value):
        raise Invalid(f"the body has more than {MAX_DEPTH} objects and lists inside one another", param="body")
    return value


def _too_deep(value: Json) -> bool:
    level: list[Json] = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for each in level for inner in _held(each)]
    return any(isinstance(each, dict | list) for each in level)


def _held(value: Json) -> Iterable[Json]:
    if isinstance(value, dict):
        return cast("dict[str, Json]", value).values()
    return cast("list[Json]", value) if isinstance(value, list) else ()


def _shown(headers: Headers) -> dict[str, Any]:
    """The headers that the flow sees."""
    shown = [(name, value[:_LONGEST_HEADER]) for name, value in sorted(headers.items()) if name not in _HIDDEN]
    return dict(shown[:_MOST_HEADERS])
