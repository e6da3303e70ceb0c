"""Triggers of flows: made, changed and fired; forged, repeated and unwanted deliveries begin nothing."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from polyforge.database.database import Database
from polyforge.flows.document import Document
from polyforge.flows.running.records import Trigger
from polyforge.flows.triggers.firing import Firings
from polyforge.flows.triggers.kind import TriggerKind
from polyforge.flows.triggers.proving import (
    MAX_PER_ADDRESS,
    MAX_PER_HOOK_AND_ADDRESS,
    REMEMBERED_SECONDS,
    WINDOW_SECONDS,
)
from polyforge.flows.triggers.records import FlowTrigger, Wanted
from polyforge.flows.triggers.service import TriggerService
from polyforge.flows.triggers.signing import signed
from polyforge.flows.triggers.store import SystemTriggers
from polyforge.jobs.chores import Chores
from polyforge.jobs.records import Job, JobFilter
from polyforge.jobs.schedules import ScheduleService
from polyforge.jobs.service import JobService
from polyforge.jobs.settings import JobSettings
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import (
    Conflict,
    Denied,
    Invalid,
    NotFound,
    PolyforgeError,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from polyforge.kernel.ids import new_ulid
from polyforge.tenancy.callers import ALL, Caller
from polyforge.tenancy.keys import caller_of
from polyforge.tenancy.people.callers import Principals
from polyforge.tenancy.schemas import NewKey
from polyforge.tenancy.service import KeyService
from polyforge.tenancy.standing import Standing
from tests.support.databases import Place
from tests.support.flows import flow, loaded, node
from tests.support.principals import install_default
from tests.support.recording import recorder
from tests.unit.tenancy.samples import NOW, caller

SECRET = "a-long-random-secret"
FLOW_ID = "flow_" + "0" * 26
ROOT = caller(ALL)
BODY = b'{"subject": "Help"}'


class Versions:
    """One flow, in the shape that a test gives it."""

    def __init__(self) -> None:
        self.document: Document = loaded(FLOW)
        self.gone = False

    async def resolve(self, caller: Caller, reference: str) -> Any:
        if self.gone or reference.partition("@")[0] not in ("tickets", FLOW_ID):
            raise NotFound(f"there is no flow {reference!r}")
        return SimpleNamespace(flow_id=FLOW_ID, flow_name="tickets", version="v" * 64, document=self.document)


class Secrets:
    """Secrets by name."""

    def __init__(self) -> None:
        self.kept = {"hook": SECRET, "weak": "short"}

    async def get(self, caller: Caller, name: str) -> str:
        if name not in self.kept:
            raise NotFound(f"there is no secret {name!r}")
        return self.kept[name]


class Runs:
    """Notes what was begun; the same key is the same run."""

    def __init__(self) -> None:
        self.begun: list[tuple[Caller, Mapping[str, Any], Trigger]] = []
        self.by_key: dict[str, str] = {}
        self.trouble: Exception | None = None
        self.killed_after = False
        """Whether the process dies right after it began the next one."""

    async def start(
        self,
        caller: Caller,
        version: Any,
        inputs: Mapping[str, Any],
        *,
        trigger: Trigger,
        idempotency_key: str | None = None,
    ) -> Any:
        if self.trouble is not None:
            raise self.trouble
        assert idempotency_key is not None
        killed, self.killed_after = self.killed_after, False
        if idempotency_key not in self.by_key:
            self.by_key[idempotency_key] = f"run_{new_ulid()}"
            self.begun.append((caller, inputs, trigger))
        if killed:
            raise asyncio.CancelledError
        return SimpleNamespace(id=self.by_key[idempotency_key])

    async def begun_before(
        self,
        caller: Caller,
        reference: str,
        inputs: Mapping[str, Any],
        *,
        trigger: Trigger,
        idempotency_key: str | None,
    ) -> Any:
        found = self.by_key.get(idempotency_key or "")
        return None if found is None else SimpleNamespace(id=found)


FLOW = flow(
    {
        "ticket": node("flow.input", {"name": "ticket"}),
        "team": node("flow.input", {"name": "team"}),
        "clock": node("trigger.schedule", {"cron": "0 8 * * 1", "timezone": "Asia/Kolkata"}),
        "hook": node("trigger.webhook", {"signature": {"$secret": "hook"}}),
        "out": node("flow.output", {"name": "said"}, value=("team", "value")),
    },
    interface={
        "inputs": {"ticket": {"type": "text", "required": False}, "team": {"type": "text"}},
        "outputs": {"said": {"type": "text"}},
    },
)


class World:
    """Everything around triggers, with a key that makes them."""

    def __init__(self, database: Database, clock: FakeClock) -> None:
        self.database, self.clock = database, clock
        self.versions, self.secrets, self.runs = Versions(), Secrets(), Runs()
        told = recorder(clock)
        self.keys = KeyService(database, clock, told)
        self.jobs = JobService(database, clock, told, JobSettings())
        self.schedules = ScheduleService(database, clock, told, self.jobs)
        self.service = TriggerService(database, clock, told, self.schedules, self.versions, self.secrets)
        standing = Standing(database, clock, Principals(database))
        self.firings = Firings(database, clock, standing, self.versions, self.secrets, self.runs)

    async def key(self, *scopes: str) -> Caller:
        wanted = list(scopes or ("flows:read", "flows:write", "flows:run", "secrets:use", "jobs:read"))
        made, _ = await self.keys.create(ROOT, NewKey.model_validate({"name": "maker", "scopes": wanted}))
        return caller_of(made)

    async def webhook(self, me: Caller, **changes: Any) -> FlowTrigger:
        wanted: dict[str, Any] = {"kind": "webhook", "title": "Help desk", "flow": "tickets", "inputs": {"team": "one"}}
        return await self.service.create(me, Wanted(**{**wanted, **changes}))

    async def schedule(self, me: Caller, **changes: Any) -> FlowTrigger:
        wanted: dict[str, Any] = {
            "kind": "schedule",
            "title": "Mondays",
            "flow": "tickets@prod",
            "inputs": {"team": "two"},
        }
        return await self.service.create(me, Wanted(**{**wanted, **changes}))

    def sent(self, delivery: str = "d1", body: bytes = BODY, secret: str = SECRET) -> dict[str, str]:
        at = int(self.clock.now())
        return {
            "content-type": "application/json",
            "authorization": "Basic not-for-the-flow",
            "webhook-id": delivery,
            "webhook-timestamp": str(at),
            "webhook-signature": signed(secret, delivery, at, body),
        }


@pytest.fixture
async def world(place: Place) -> AsyncIterator[World]:
    clock = FakeClock(NOW)
    database = place.database()
    await database.open()
    await install_default(database, clock)
    yield World(database, clock)
    await database.close()


async def test_a_delivery_begins_a_run_as_who_made_the_trigger(world: World) -> None:
    me = await world.key()
    trigger = await world.webhook(me)
    assert trigger.id.startswith("trig_")
    assert (trigger.auth, trigger.secret, trigger.per_minute) == ("signature", "hook", 60)
    fired = await world.firings.delivered(trigger.id, world.sent(), BODY)
    [(acting, inputs, occasion)] = world.runs.begun
    assert (acting.key_id, inputs) == (me.key_id, {"team": "one"})
    assert (occasion.kind, occasion.id, occasion.outputs["body"]) == ("webhook", trigger.id, {"subject": "Help"})
    assert occasion.outputs["headers"]["webhook-id"] == "d1"
    assert not {"authorization", "webhook-signature"} & set(occasion.outputs["headers"])
    [firing], cursor = await world.service.firings(me, trigger.id, 10, None)
    assert (firing.run_id, firing.delivery, firing.error, cursor) == (fired.run_id, "d1", None, None)


async def test_a_delivery_that_comes_again_begins_nothing(world: World) -> None:
    trigger = await world.webhook(await world.key())
    sent = world.sent()
    first = await world.firings.delivered(trigger.id, sent, BODY)
    again = await world.firings.delivered(trigger.id, sent, BODY)
    assert (again.run_id, again.repeated, first.repeated) == (first.run_id, True, False)
    assert len(world.runs.begun) == 1
    other = await world.firings.delivered(trigger.id, world.sent("d2"), BODY)
    assert other.run_id != first.run_id


async def test_the_same_delivery_at_the_same_time_begins_one_run(world: World) -> None:
    trigger = await world.webhook(await world.key())
    sent = world.sent()
    fired = await asyncio.gather(*[world.firings.delivered(trigger.id, sent, BODY) for _ in range(5)])
    assert len({each.run_id for each in fired}) == 1
    assert len(world.runs.begun) == 1


async def test_what_was_sent_an_hour_ago_is_not_taken_any_more(world: World) -> None:
    trigger = await world.webhook(await world.key())
    sent = world.sent()
    world.clock.advance(3_600)
    with pytest.raises(Unauthenticated):
        await world.firings.delivered(trigger.id, sent, BODY)
    assert world.runs.begun == []


@pytest.mark.parametrize("forged", [{"secret": "another-long-secret"}, {"body": b'{"subject": "Pay"}'}])
async def test_a_forged_delivery_is_refused_and_leaves_no_trace(world: World, forged: dict[str, Any]) -> None:
    me = await world.key()
    trigger = await world.webhook(me)
    with pytest.raises(Unauthenticated):
        await world.firings.delivered(trigger.id, world.sent(**forged), BODY)
    assert world.runs.begun == []
    assert await world.service.firings(me, trigger.id, 10, None) == ([], None)


async def test_who_proves_nothing_learns_nothing(world: World) -> None:
    me = await world.key()
    trigger = await world.webhook(me)

    async def refusal(secret: str) -> str:
        with pytest.raises(Unauthenticated) as caught:
            await world.firings.delivered(trigger.id, world.sent(secret=secret), BODY)
        return caught.value.message

    usual = await refusal("another-long-secret")
    await world.keys.revoke(ROOT, me.key_id)
    assert await refusal("another-long-secret") == usual
    with pytest.raises(Denied):
        await world.firings.delivered(trigger.id, world.sent(), BODY)
    del world.secrets.kept["hook"]
    assert await refusal("another-long-secret") == usual
    assert await refusal(SECRET) == usual
    assert world.runs.begun == []


async def test_a_bearer_may_be_enough(world: World) -> None:
    trigger = await world.webhook(await world.key(), auth="bearer")
    told = {"authorization": f"Bearer {SECRET}"}
    first = await world.firings.delivered(trigger.id, told, BODY)
    second = await world.firings.delivered(trigger.id, told, BODY)
    assert first.run_id != second.run_id, "without an id nobody can tell that it is the same"
    with pytest.raises(Unauthenticated):
        await world.firings.delivered(trigger.id, world.sent(), BODY)


async def test_a_trigger_that_is_off_begins_nothing(world: World) -> None:
    me = await world.key()
    hook, clock = await world.webhook(me), await world.schedule(me)
    for each in (hook, clock):
        changed = await world.service.change(me, each.id, {"enabled": False})
        assert (changed.enabled, changed.next_at) == (False, None)
    with pytest.raises(Conflict, match="is off"):
        await world.firings.delivered(hook.id, world.sent(), BODY)
    world.clock.advance(14 * 86_400)
    assert await _due(world) == []
    await world.service.change(me, hook.id, {"enabled": True})
    await world.firings.delivered(hook.id, world.sent(), BODY)


async def test_a_trigger_whose_flow_and_secret_are_gone_can_be_switched_off(world: World) -> None:
    me, writer = await world.key(), await world.key("flows:read", "flows:write")
    hook, clock = await world.webhook(me), await world.schedule(me)
    world.versions.gone = True
    del world.secrets.kept["hook"]
    for each in (hook, clock):
        changed = await world.service.change(writer, each.id, {"enabled": False})
        assert (changed.enabled, changed.next_at, changed.asked_by.id) == (False, None, me.key_id)
        with pytest.raises(Invalid):
            await world.service.change(me, each.id, {"enabled": True})
    world.clock.advance(14 * 86_400)
    assert await _due(world) == []


async def test_nothing_runs_for_a_key_that_was_revoked(world: World) -> None:
    me = await world.key()
    hook, clock = await world.webhook(me), await world.schedule(me)
    await world.keys.revoke(ROOT, me.key_id)
    with pytest.raises(Denied, match="may not run flows any more"):
        await world.firings.delivered(hook.id, world.sent(), BODY)
    world.clock.advance(14 * 86_400)
    [job] = await _due(world)
    with pytest.raises(Denied, match="was revoked"):
        await _run(world, job)
    assert world.runs.begun == []
    other = await world.key()
    await world.service.change(other, hook.id, {})
    await world.service.change(other, clock.id, {})
    await world.firings.delivered(hook.id, world.sent(), BODY)
    assert world.runs.begun[0][0].key_id == other.key_id


async def test_a_schedule_begins_a_run_at_its_times(world: World) -> None:
    me = await world.key()
    trigger = await world.schedule(me)
    assert (trigger.cron, trigger.timezone) == ("0 8 * * 1", "Asia/Kolkata")
    assert trigger.next_at is not None
    world.clock.advance(trigger.next_at - world.clock.now() + 1)
    [job] = await _due(world)
    said = await _run(world, job)
    assert await _run(world, job) == said, "what is repeated finds the run that began"
    [(acting, inputs, occasion)] = world.runs.begun
    assert (acting.key_id, inputs, occasion.kind) == (me.key_id, {"team": "two"}, "schedule")
    assert occasion.outputs["at"].endswith("Z")
    [firing], _ = await world.service.firings(me, trigger.id, 10, None)
    assert (firing.run_id, firing.delivery) == (said["run_id"], job.id)


async def test_times_of_its_own_go_before_those_of_the_flow(world: World) -> None:
    me = await world.key()
    trigger = await world.schedule(me, cron="30 6 * * *")
    assert (trigger.cron, trigger.timezone) == ("30 6 * * *", "UTC")
    changed = await world.service.change(me, trigger.id, {"timezone": "Europe/Berlin"})
    assert changed.next_at is not None
    assert trigger.next_at is not None
    assert trigger.next_at - changed.next_at in (3_600, 7_200)


async def test_a_schedule_that_somebody_took_away_comes_back_with_a_change(world: World) -> None:
    me = await world.key()
    trigger = await world.schedule(me)
    assert trigger.schedule_id is not None
    await world.schedules.remove(me, trigger.schedule_id)
    assert (await world.service.get(me, trigger.id)).next_at is None
    assert (await world.service.change(me, trigger.id, {"title": "Again"})).next_at is not None


async def test_what_is_removed_is_gone_with_its_schedule(world: World) -> None:
    me = await world.key()
    hook, clock = await world.webhook(me), await world.schedule(me)
    await world.firings.delivered(hook.id, world.sent(), BODY)
    for each in (hook, clock):
        await world.service.remove(me, each.id)
        with pytest.raises(NotFound):
            await world.service.get(me, each.id)
    assert list(await world.schedules.all(me)) == []
    with pytest.raises(NotFound):
        await world.firings.delivered(hook.id, world.sent(), BODY)


async def test_a_trigger_begins_so_many_runs_a_minute(world: World) -> None:
    trigger = await world.webhook(await world.key(), per_minute=3)
    for number in range(3):
        await world.firings.delivered(trigger.id, world.sent(f"d{number}"), BODY)
        world.clock.advance(10)
    with pytest.raises(RateLimited) as caught:
        await world.firings.delivered(trigger.id, world.sent("d3"), BODY)
    assert caught.value.retry_after == pytest.approx(30)
    assert (await world.firings.delivered(trigger.id, world.sent("d2"), BODY)).repeated, "what began already is told"
    world.clock.advance(31)
    await world.firings.delivered(trigger.id, world.sent("d3"), BODY)


async def test_a_run_that_could_not_begin_is_told_and_begins_when_it_is_sent_again(world: World) -> None:
    me = await world.key()
    trigger = await world.webhook(me)
    world.runs.trouble = Unavailable("the database does not answer")
    with pytest.raises(Unavailable):
        await world.firings.delivered(trigger.id, world.sent(), BODY)
    [failed], _ = await world.service.firings(me, trigger.id, 10, None)
    assert (failed.run_id, failed.error) == (None, "the database does not answer")
    world.runs.trouble = None
    fired = await world.firings.delivered(trigger.id, world.sent(), BODY)
    [begun], _ = await world.service.firings(me, trigger.id, 10, None)
    assert (begun.id, begun.run_id, begun.error, fired.repeated) == (failed.id, fired.run_id, None, False)


async def test_what_was_killed_after_the_run_began_finds_it_again(world: World) -> None:
    me = await world.key()
    trigger = await world.webhook(me)
    world.runs.killed_after = True
    with pytest.raises(asyncio.CancelledError):
        await world.firings.delivered(trigger.id, world.sent(), BODY)
    [pending], _ = await world.service.firings(me, trigger.id, 10, None)
    assert (pending.run_id, pending.error) == (None, None)
    fired = await world.firings.delivered(trigger.id, world.sent(), BODY)
    [begun], _ = await world.service.firings(me, trigger.id, 10, None)
    assert (len(world.runs.begun), begun.id, begun.run_id) == (1, pending.id, fired.run_id)


async def test_a_run_that_began_is_found_again_though_its_flow_is_gone(world: World) -> None:
    me = await world.key()
    trigger = await world.webhook(me)
    world.runs.killed_after = True
    with pytest.raises(asyncio.CancelledError):
        await world.firings.delivered(trigger.id, world.sent(), BODY)
    world.versions.gone = True
    fired = await world.firings.delivered(trigger.id, world.sent(), BODY)
    [begun], _ = await world.service.firings(me, trigger.id, 10, None)
    assert (len(world.runs.begun), begun.run_id, begun.error) == (1, fired.run_id, None)


async def test_a_body_that_is_no_json_is_refused(world: World) -> None:
    trigger = await world.webhook(await world.key())
    with pytest.raises(Invalid, match="no JSON"):
        await world.firings.delivered(trigger.id, world.sent(body=b"a=1&b=2"), b"a=1&b=2")
    for depth, refused in ((64, False), (65, True), (3_000, True)):
        deep = b"[" * depth + b"]" * depth
        told = world.sent(f"deep-{depth}", deep)
        if refused:
            with pytest.raises(Invalid):
                await world.firings.delivered(trigger.id, told, deep)
        else:
            await world.firings.delivered(trigger.id, told, deep)
    world.runs.begun.clear()
    await world.firings.delivered(trigger.id, world.sent(body=b""), b"")
    assert world.runs.begun[0][2].outputs["body"] is None


async def test_by_hand_it_does_what_it_would_and_acts_as_who_asks(world: World) -> None:
    me, other = await world.key(), await world.key()
    hook, clock = await world.webhook(me), await world.schedule(me)
    await world.firings.by_hand(other, hook.id, {"subject": "Try"})
    await world.firings.by_hand(other, clock.id, None)
    assert [each[0].key_id for each in world.runs.begun] == [other.key_id] * 2
    assert world.runs.begun[0][2].outputs == {"body": {"subject": "Try"}, "headers": {}}
    assert set(world.runs.begun[1][2].outputs) == {"at"}
    with pytest.raises(Invalid, match="body is no JSON"):
        await world.firings.by_hand(me, hook.id, "\ud800")


async def test_who_may_not_run_flows_makes_no_trigger(world: World) -> None:
    writer = await world.key("flows:read", "flows:write", "secrets:use")
    with pytest.raises(Denied, match="flows:run"):
        await world.webhook(writer)
    trigger = await world.webhook(await world.key())
    with pytest.raises(Denied, match="flows:run"):
        await world.service.change(writer, trigger.id, {"title": "Mine"})


async def test_other_projects_see_nothing(world: World) -> None:
    trigger = await world.webhook(await world.key())
    stranger = msgspec.structs.replace(ROOT, organization_id="0" * 26, project_id="0" * 26)
    assert list(await world.service.all(stranger)) == []
    for asked in (
        world.service.get(stranger, trigger.id),
        world.service.change(stranger, trigger.id, {"title": "x"}),
        world.service.remove(stranger, trigger.id),
        world.service.firings(stranger, trigger.id, 10, None),
        world.firings.by_hand(stranger, trigger.id, None),
    ):
        with pytest.raises(NotFound):
            await asked


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"flow": "nothing"}, "flow"),
        ({"inputs": {}}, "inputs.team"),
        ({"inputs": {"team": "x", "tema": "y"}}, "inputs.tema"),
        ({"inputs": {"team": 7}}, "inputs.team"),
        ({"inputs": {"team": "x" * 70_000}}, "inputs"),
        ({"cron": "0 8 * * 1"}, "cron"),
        ({"secret": "absent"}, "secret"),
        ({"secret": "weak"}, "secret"),
        ({"per_minute": 601}, "per_minute"),
        ({"title": " "}, "title"),
        ({"title": "a\0b"}, "title"),
    ],
)
async def test_what_a_webhook_cannot_be_names_the_field(world: World, changes: dict[str, Any], param: str) -> None:
    with pytest.raises(Invalid) as caught:
        await world.webhook(await world.key(), **changes)
    assert caught.value.param == param
    assert list(await world.service.all(ROOT)) == []


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"cron": "every day"}, "cron"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"secret": "hook"}, "secret"),
        ({"auth": "bearer"}, "auth"),
        ({"title": ""}, "title"),
    ],
)
async def test_what_a_schedule_cannot_be_names_the_field(world: World, changes: dict[str, Any], param: str) -> None:
    with pytest.raises(Invalid) as caught:
        await world.schedule(await world.key(), **changes)
    assert caught.value.param == param
    assert list(await world.schedules.all(ROOT)) == []


async def test_a_flow_that_takes_nothing_in_has_no_webhook(world: World) -> None:
    world.versions.document = loaded(flow({"one": node("prompt.template", {"template": "x"})}))
    me = await world.key()
    with pytest.raises(Invalid, match=r"trigger\.webhook"):
        await world.webhook(me, inputs={})
    with pytest.raises(Invalid, match="no schedule of its own"):
        await world.schedule(me, inputs={})
    assert (await world.schedule(me, inputs={}, cron="0 1 * * *")).next_at is not None


async def test_a_flow_stays_while_a_trigger_needs_it(world: World) -> None:
    me = await world.key()
    trigger = await world.webhook(me, flow="tickets@0123456789abcdef")
    assert "remove that trigger" in (await world.service.why(me, FLOW_ID, None) or "")
    assert await world.service.why(me, FLOW_ID, "0123456789abcdef" + "0" * 48) is not None
    assert await world.service.why(me, FLOW_ID, "f" * 64) is None
    await world.service.remove(me, trigger.id)
    assert await world.service.why(me, FLOW_ID, None) is None


async def _due(world: World) -> list[Job]:
    """The jobs that schedules made by now."""
    no_journal: Any = None
    await Chores(world.database, no_journal, world.clock, JobSettings()).run_schedules()
    return (await world.jobs.page(ROOT, 10, None, JobFilter(kinds=("flow.trigger",))))[0]


async def _run(world: World, job: Job) -> Any:
    """What a job of a trigger says, as a worker runs it."""
    done: dict[str, Any] = {}

    async def step(name: str, work: Any, **_: Any) -> Any:
        done[name] = json.loads(json.dumps(await work()))
        return done[name]

    context: Any = SimpleNamespace(job=job, step=step, log=lambda *_: None)
    return await TriggerKind(world.firings).run(context)


class Wrong:
    """Calls from an address that prove nothing."""

    def __init__(self, world: World, trigger_id: str, address: str = "192.0.2.7") -> None:
        self._world = world
        self._id = trigger_id
        self._address = address

    async def call(self) -> PolyforgeError:
        """What one of them is told."""
        sent = self._world.sent(secret="another-long-secret")
        with pytest.raises(PolyforgeError) as caught:
            await self._world.firings.delivered(self._id, sent, BODY, self._address)
        return caught.value

    async def until_refused(self, most: int) -> int:
        """How many calls were looked at."""
        for count in range(most + 1):
            error = await self.call()
            if isinstance(error, RateLimited):
                assert error.retry_after is not None
                return count
            assert isinstance(error, Unauthenticated | NotFound)
        raise AssertionError("it is never enough")


async def test_wrong_calls_of_a_webhook_are_limited_by_address(world: World) -> None:
    trigger = await world.webhook(await world.key())
    wrong = Wrong(world, trigger.id)
    assert await wrong.until_refused(MAX_PER_HOOK_AND_ADDRESS) == MAX_PER_HOOK_AND_ADDRESS
    assert isinstance(await Wrong(world, trigger.id, "192.0.2.8").call(), Unauthenticated), "others are not meant"
    world.clock.advance(WINDOW_SECONDS)
    assert isinstance(await wrong.call(), Unauthenticated), "after a minute they may try again"


async def test_addresses_of_one_network_count_as_one(world: World) -> None:
    trigger = await world.webhook(await world.key())
    await Wrong(world, trigger.id, "2001:db8::1").until_refused(MAX_PER_HOOK_AND_ADDRESS)
    assert isinstance(await Wrong(world, trigger.id, "2001:db8::2").call(), RateLimited)
    assert isinstance(await Wrong(world, trigger.id, "2001:db8:1::2").call(), Unauthenticated)


async def test_calls_of_webhooks_that_there_are_not_are_limited_by_address(world: World) -> None:
    await world.webhook(await world.key())
    told = [await Wrong(world, f"trig_{new_ulid()}").call() for _ in range(MAX_PER_ADDRESS + 1)]
    assert [type(error) for error in told] == [NotFound] * MAX_PER_ADDRESS + [RateLimited]


async def test_nobody_can_lock_out_who_knows_the_secret(world: World) -> None:
    trigger = await world.webhook(await world.key())
    await Wrong(world, trigger.id).until_refused(MAX_PER_HOOK_AND_ADDRESS)
    fired = await world.firings.delivered(trigger.id, world.sent(), BODY, "192.0.2.7")
    assert not fired.repeated, "from the very address that the wrong calls come from"
    for number in range(MAX_PER_ADDRESS):
        await Wrong(world, f"trig_{number:026}").call()
    assert (await world.firings.delivered(trigger.id, world.sent(), BODY, "192.0.2.7")).run_id == fired.run_id


async def test_a_secret_that_was_changed_counts_for_who_was_wrong_before_too(world: World) -> None:
    trigger = await world.webhook(await world.key())
    wrong = Wrong(world, trigger.id)
    await wrong.until_refused(MAX_PER_HOOK_AND_ADDRESS)
    world.secrets.kept["hook"] = "another-long-secret"
    # What was right until now is remembered, but begins nothing.
    with pytest.raises(Unauthenticated):
        await world.firings.delivered(trigger.id, world.sent(), BODY, "192.0.2.7")
    world.clock.advance(REMEMBERED_SECONDS)
    sent = world.sent(secret="another-long-secret")
    assert (await world.firings.delivered(trigger.id, sent, BODY, "192.0.2.7")).run_id
    assert len(world.runs.begun) == 1


async def test_many_wrong_calls_cost_few_looks_into_the_database(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    trigger = await world.webhook(await world.key())
    wrong = Wrong(world, trigger.id)
    await wrong.until_refused(MAX_PER_HOOK_AND_ADDRESS)
    looks = list[str]()
    find = SystemTriggers.find

    async def counted(store: SystemTriggers, trigger_id: str) -> FlowTrigger | None:
        looks.append(trigger_id)
        return await find(store, trigger_id)

    monkeypatch.setattr(SystemTriggers, "find", counted)
    told = await asyncio.gather(*(wrong.call() for _ in range(50)))
    assert {type(error) for error in told} == {RateLimited}
    assert looks == []
