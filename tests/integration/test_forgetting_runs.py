"""Runs of flows, batches and jobs of a person go when they are forgotten, those of others stay; on both databases."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Table, select, update

from polyforge.adapters.objects.memory import MemoryObjects
from polyforge.batch.batches.forgetting import BatchesOfPeople
from polyforge.batch.batches.tables import batches
from polyforge.database.database import Database
from polyforge.flows.facilities.memory import FlowMemory
from polyforge.flows.running import forgetting
from polyforge.flows.running.approvals import Answer
from polyforge.flows.running.contract import NodeCall, Outputs
from polyforge.flows.running.forgetting import RunsOfPeople
from polyforge.flows.running.pages import RunResults
from polyforge.flows.running.records import MAX_INLINE, Approval, FlowRun
from polyforge.flows.running.tables import flow_approvals, flow_results, flow_run_events, flow_runs
from polyforge.jobs.chores import Chores
from polyforge.jobs.forgetting import JobsOfPeople
from polyforge.jobs.settings import JobSettings
from polyforge.jobs.tables import job_logs, jobs
from polyforge.kernel.clock import SystemClock
from polyforge.kernel.errors import Invalid
from polyforge.kernel.ids import new_ulid
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.erasing.records import Erased, Person
from polyforge.tenancy.erasing.service import ErasingService
from polyforge.tenancy.tables import api_keys
from tests.support.databases import Place
from tests.support.files import rooms
from tests.support.flow_house import FlowHouse, flow_house
from tests.support.flows import flow, node
from tests.support.journals import MemoryJournal
from tests.support.principals import add_user, install_default
from tests.support.recording import MASTER, SEALS, recorder
from tests.support.waiting import DEADLINE, PAUSE
from tests.unit.tenancy.samples import caller

ROOT = caller("*")


class World:
    """A house of flows with two people, and what forgets them."""

    def __init__(self, house: FlowHouse, ann: Caller, ben: Caller) -> None:
        self.house = house
        self.ann = ann
        self.ben = ben
        present: dict[str, Any] = {
            "jobs": JobsOfPeople(house.database, house.clock),
            "runs": RunsOfPeople(house.database, house.objects),
            "batches": BatchesOfPeople(house.database, house.objects),
        }
        self.erasing = ErasingService(house.database, recorder(house.clock), MASTER, rooms(**present))

    async def erase(self, who: Caller) -> Erased:
        """All of what one who asks gets done; what went on may be left."""
        done = await self.erasing.erase(ROOT, Person("user", who.user_id or ""), None)
        while done.place is not None:
            done = done.then(await self.erasing.erase(ROOT, Person("user", who.user_id or ""), str(done.place)))
        return done

    async def rows(self, table: Table) -> list[dict[str, Any]]:
        """Everything in a table, in order."""
        async with self.house.database.read() as session:
            return [dict(row) for row in await session.all(select(table).order_by(*table.primary_key.columns))]

    async def keys(self) -> list[str]:
        """Of all objects of the project."""
        return [facts.key async for facts in self.house.objects.list(f"{ROOT.project_id}/")]


async def person(database: Database, now: float, email: str) -> Caller:
    user = await add_user(database, now, email, "owner")
    return replace(ROOT, kind="user", key_id=user.id, key_name=email, user_id=user.id)


@pytest.fixture
async def world(place: Place, database: Database) -> AsyncIterator[World]:
    await install_default(database, SystemClock())
    async with flow_house(place, database) as house:
        now = house.clock.now()
        ann, ben = [await person(database, now, f"{name}@example.org") for name in ("ann", "ben")]
        yield World(house, ann, ben)


def telling() -> dict[str, Any]:
    nodes = {
        "text": node("flow.input", {"name": "text"}),
        "say": node("prompt.template", {"template": "{{a}}!"}, a=("text", "value")),
        "out": node("flow.output", {"name": "text"}, value=("say", "text")),
    }
    interface = {"inputs": {"text": {"type": "text"}}, "outputs": {"text": {"type": "text"}}}
    return flow(nodes, interface=interface)


def failing() -> dict[str, Any]:
    """A flow that does a step, and fails after it."""
    made = telling()
    made["nodes"]["again"] = node("prompt.template", {"template": "{{a}}!"}, a=("say", "text"))
    made["nodes"]["out"] = node("flow.output", {"name": "text"}, value=("again", "text"))
    return made


def asking(*assignees: str) -> dict[str, Any]:
    form = {"type": "object", "properties": {"amount": {"type": "number"}}, "required": ["amount"]}
    params = {"question": "How much?", "assignees": list(assignees), "expires_in_s": 3_600, "form": form}
    pick = {"inputs": {"a": "record{amount: number}"}, "cel": "a.amount", "result": "number"}
    nodes = {
        "ask": node("human.approval", params),
        "pick": node("data.transform", pick, a=("ask", "approved")),
        "out": node("flow.output", {"name": "amount"}, value=("pick", "value")),
    }
    return flow(nodes, interface={"inputs": {}, "outputs": {"amount": {"type": "number"}}})


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not await look():  # noqa: ASYNC110
            await asyncio.sleep(PAUSE)


async def waiting(world: World, run: FlowRun) -> Approval:
    """What a run asks."""

    async def found() -> bool:
        return bool((await world.house.approvals.page(ROOT, 10, None, run_id=run.id))[0])

    await until(found)
    return (await world.house.approvals.page(ROOT, 10, None, run_id=run.id))[0][0]


async def over(world: World, run: FlowRun) -> FlowRun:
    """A run once its job is over as well."""
    done = await world.house.done(ROOT, run)

    async def ended() -> bool:
        return (await world.house.jobs.get(ROOT, run.job_id)).finished

    await until(ended)
    return done


async def test_all_of_a_run_goes_with_who_began_it(world: World) -> None:
    house = world.house

    async def long(call: NodeCall) -> Outputs:
        return {"text": call.inputs["a"] * (MAX_INLINE + 1)}

    house.runners["prompt.template", 1] = long
    version = await house.flow(ROOT, telling())
    await house.worker()
    runs = {who.key_name: await house.runs.start(who, version, {"text": "a"}) for who in (world.ann, world.ben)}
    for run in runs.values():
        assert (await over(world, run)).state == "succeeded"
    assert isinstance(house.objects, MemoryObjects)
    mine, theirs = runs["ann@example.org"], runs["ben@example.org"]
    assert {key.split("/")[2] for key in await world.keys()} == {mine.id, theirs.id}
    done = await world.erase(world.ann)
    assert (done.runs, done.jobs, done.going_on) == (1, 1, 0)
    assert {row["id"] for row in await world.rows(flow_runs)} == {theirs.id}
    assert {row["run_id"] for row in await world.rows(flow_run_events)} == {theirs.id}
    assert {key.split("/")[2] for key in await world.keys()} == {theirs.id}
    assert "ann@example.org" not in str(await world.rows(jobs))
    assert await house.runs.outputs(world.ben, await house.runs.get(world.ben, theirs.id))
    assert await world.erase(world.ann) == Erased()


async def test_finished_jobs_of_a_person_go_with_the_steps_that_were_kept(world: World) -> None:
    house = world.house

    async def broken(call: NodeCall) -> Outputs:
        if call.node == "again":
            raise Invalid("the words of Ann")
        return {"text": call.inputs["a"]}

    house.runners["prompt.template", 1] = broken
    version = await house.flow(ROOT, failing())
    await house.worker()
    mine = await house.runs.start(world.ann, version, {"text": "mine"})
    theirs = await house.runs.start(world.ben, version, {"text": "theirs"})
    for run in (mine, theirs):
        assert (await over(world, run)).state == "failed"
    steps = {run_id.partition(":")[0] for run_id, kept in house.shelf.runs.items() if kept}
    assert steps == {mine.job_id, theirs.job_id}
    await world.erase(world.ann)
    chores = Chores(house.database, MemoryJournal(house.shelf), house.clock, JobSettings())
    assert await chores.prune() == 1
    assert [row["id"] for row in await world.rows(jobs)] == [theirs.job_id]
    assert {row["job_id"] for row in await world.rows(job_logs)} <= {theirs.job_id}
    assert {run_id.partition(":")[0] for run_id, kept in house.shelf.runs.items() if kept} == {theirs.job_id}


async def test_what_goes_on_is_cancelled_and_removed_once_it_is_over(world: World) -> None:
    house = world.house
    version = await house.flow(ROOT, asking("role:owner"))
    await house.worker()
    mine = await house.runs.start(world.ann, version, {})
    theirs = await house.runs.start(world.ben, version, {})
    for run in (mine, theirs):
        await waiting(world, run)
    assert (await world.erase(world.ann)).going_on == 1

    async def gone() -> bool:
        await world.erase(world.ann)
        return [row["id"] for row in await world.rows(flow_runs)] == [theirs.id]

    await until(gone)
    assert (await world.erase(world.ann)).going_on == 0
    assert {row["run_id"] for row in await world.rows(flow_approvals)} == {theirs.id}
    assert (await house.runs.get(world.ben, theirs.id)).state == "waiting"


async def test_what_waits_for_a_worker_goes_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "PAGE", 2)
    house = world.house
    version = await house.flow(ROOT, telling())
    for _ in range(5):
        await house.runs.start(world.ann, version, {"text": "a"})
    theirs = await house.runs.start(world.ben, version, {"text": "b"})
    done = await world.erase(world.ann)
    assert (done.runs, done.jobs, done.going_on) == (5, 5, 0)
    assert [row["id"] for row in await world.rows(flow_runs)] == [theirs.id]


async def test_what_waits_and_no_worker_has_goes_at_once(world: World) -> None:
    run = await world.house.runs.start(world.ann, await world.house.flow(ROOT, asking("role:owner")), {})
    async with world.house.database.write() as session:
        resting = {"state": "waiting", "worker": None, "due_at": 1.0, "waiting_message": "How much?"}
        await session.change(update(jobs).where(jobs.c.id == run.job_id).values(resting))
    done = await world.erase(world.ann)
    assert (done.runs, done.jobs, done.going_on) == (1, 1, 0)
    (job,) = await world.rows(jobs)
    assert (job["state"], job["due_at"], job["waiting_message"]) == ("cancelled", None, None)


async def test_decisions_for_others_lose_who_made_them(world: World) -> None:
    house, ann = world.house, world.ann
    version = await house.flow(ROOT, asking("user:ann@example.org", f"user:{ann.key_id}", "role:owner"))
    await house.worker()
    first, second = [await house.runs.start(world.ben, version, {}) for _ in range(2)]
    decided = await house.approvals.decide(ann, (await waiting(world, first)).id, Answer("approve", {"amount": 5}))
    assert (decided.decided_by_id, decided.answers) == (ann.key_id, {"amount": 5})
    assert (await over(world, first)).outputs == {"amount": 5}
    pending = await waiting(world, second)
    await world.erase(ann)
    settled = await house.approvals.get(world.ben, decided.id)
    assert (settled.state, settled.assignees) == ("approved", ["role:owner"])
    assert (settled.decided_by_id, settled.decided_by_name, settled.answers) == (None, None, None)
    # It has to be decided yet: whoever is asked stays so, or nobody could.
    assert len((await house.approvals.get(world.ben, pending.id)).assignees) == 3
    assert (await house.runs.get(world.ben, first.id)).outputs == {"amount": 5}


async def test_what_flows_kept_goes_with_who_had_it_made(world: World) -> None:
    house = world.house
    results, memory = (
        RunResults(house.database, house.clock, 1.0, SEALS),
        FlowMemory(house.database, house.clock, SEALS),
    )
    for digit, who in enumerate((world.ann, world.ben)):
        await results.keep(who, str(digit) * 64, {"value": who.key_name})
        await memory.keep(who, "flow_1", who.key_name, 1, seconds=60)
    await world.erase(world.ann)
    assert {row["user_id"] for row in await world.rows(flow_results)} == {world.ben.user_id}
    assert await results.find(world.ann, "0" * 64) is None
    assert await memory.recall(world.ben, "flow_1", "ben@example.org") == (1,)


async def test_batches_go_with_who_made_them_or_whose_key_did(world: World) -> None:
    key = new_ulid()
    async with world.house.database.write() as session:
        row = {**_key(world.ann), "id": key, "created_by": world.ann.user_id}
        await session.change(api_keys.insert().values(row))
        for owner, status in ((world.ann.key_id, "completed"), (key, "failed"), (world.ben.key_id, "completed")):
            await session.change(batches.insert().values(_batch(world.ann, owner, status)))
    done = await world.erase(world.ann)
    assert done.batches == 2
    assert [row["owner_id"] for row in await world.rows(batches)] == [world.ben.key_id]


async def test_a_batch_that_goes_on_stays_until_it_is_over(world: World) -> None:
    house = world.house
    version = await house.flow(ROOT, asking("role:owner"))
    await house.worker()
    run = await house.runs.start(world.ben, version, {})
    await waiting(world, run)
    async with house.database.write() as session:
        # Its job is one that goes on, of somebody else: it is not cancelled.
        row = {**_batch(world.ann, world.ann.key_id, "in_progress"), "job_id": run.job_id}
        await session.change(batches.insert().values(row))
    assert (await world.erase(world.ann)).batches == 0
    async with house.database.write() as session:
        await session.change(update(batches).values(status="cancelled"))
    assert (await world.erase(world.ann)).batches == 1


def _batch(who: Caller, owner: str, status: str) -> dict[str, Any]:
    whose = {"organization_id": who.organization_id, "project_id": who.project_id, "owner_id": owner}
    counts = {"total": 0, "completed": 0, "failed": 0, "price_micros": 0}
    words = {"usage": "{}", "problems": "[]", "labels": "{}"}
    times = {"created_at": 1.0, "window_ends_at": 1.0, "expires_at": 1.0}
    about = {"id": new_ulid(), "job_id": "job_none", "endpoint": "/v1/embeddings", "status": status}
    return {**about, **whose, **counts, **words, **times, "input_file_id": new_ulid()}


def _key(who: Caller) -> dict[str, Any]:
    return {
        "organization_id": who.organization_id,
        "project_id": who.project_id,
        "name": "of ann",
        "prefix": "pf-x",
        "hash": b"\7" * 32,
        "scopes": [],
        "budget_period": "total",
        "created_at": 1.0,
        "version": 1_000_000,
    }
