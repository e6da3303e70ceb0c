"""Runs that wait without a worker: what they say, how many there may be, how they end; on SQLite and on PostgreSQL."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import pytest
from msgspec.structs import replace
from sqlalchemy import update

from polyforge.database.database import Database
from polyforge.flows.running.approvals import Answer
from polyforge.flows.running.contract import NodeCall, Outputs
from polyforge.flows.running.records import Approval, FlowRun
from polyforge.flows.running.store import RunFilter
from polyforge.jobs.lease import Timing
from polyforge.jobs.tables import jobs
from polyforge.kernel.clock import SystemClock
from polyforge.kernel.errors import Invalid, RateLimited
from tests.support.databases import Place
from tests.support.flow_house import TIMING, FlowHouse, flow_house
from tests.support.flows import flow, node
from tests.support.principals import install_default
from tests.unit.tenancy.samples import caller

T = TypeVar("T")
ME = caller("flows:read", "flows:write", "flows:run", "approvals:decide", "jobs:write")
BOSS = replace(ME, scopes=frozenset({"*"}))
SOON = Timing(lease=60.0, renew=0.5, scan=0.2, tick=0.05, hold=0.1)
"""What waits is let go at once."""
YES = Answer("approve")
TEXT = {"outputs": {"text": {"type": "text"}}}


@pytest.fixture
async def house(place: Place, database: Database) -> AsyncIterator[FlowHouse]:
    await install_default(database, SystemClock())
    async with flow_house(place, database) as made:
        yield made


def asking() -> dict[str, Any]:
    """Somebody is asked."""
    nodes = {
        "ask": node("human.approval", {"question": "May it?", "assignees": ["role:admin"], "expires_in_s": 3_600}),
        "yes": node("prompt.template", {"template": "yes"}),
        "out": node("flow.output", {"name": "text"}, value=("yes", "text")),
    }
    return flow(nodes, control=[{"from": ["ask", "approved"], "to": "yes"}], interface=TEXT)


def asking_twice() -> dict[str, Any]:
    """A loop of which an item is left out, and then two flows in which somebody is asked."""
    params = {"flow": {"$ref": "flow:asks"}, "inputs": {}, "outputs": {"text": "text"}}
    nodes = {
        "look": node("data.transform", {"inputs": {"a": "any"}, "cel": "a"}, a=("loop", "item")),
        "first": node("flow.call", params),
        "second": node("flow.call", params),
        "out": node("flow.output", {"name": "text"}, value=("second", "text")),
    }
    loop = {"kind": "foreach", "nodes": ["look"], "over": [1, 2, 3], "max_iterations": 5, "on_error": "leave_out",
            "collect": {"found": ["look", "value"]}}  # fmt: skip
    control = [{"from": ["loop", "found"], "to": "first"}, {"from": ["first", "text"], "to": "second"}]
    return flow(nodes, groups={"loop": loop}, control=control, interface=TEXT)


async def refuse_threes(call: NodeCall) -> Outputs:
    if call.inputs["a"] == 3:
        raise Invalid("no threes")
    return {"value": call.inputs["a"]}


async def see(look: Callable[[], Awaitable[T]], enough: Callable[[T], object]) -> T:
    async with asyncio.timeout(120):
        while not enough(found := await look()):  # noqa: ASYNC110  what it waits for is in the database
            await asyncio.sleep(0.02)
    return found


async def let_go(house: FlowHouse, run: FlowRun) -> None:
    """Until no worker has a run."""
    await see(lambda: house.jobs.get(ME, run.job_id), lambda job: job.let_go)


async def pending(house: FlowHouse, run: FlowRun) -> Approval:
    async def look() -> list[Approval]:
        return (await house.approvals.page(ME, 10, None, states=("pending",), run_id=run.id))[0]

    (found,) = await see(look, bool)
    return found


async def test_a_run_that_nobody_has_waits_and_tells_of_nothing_twice(house: FlowHouse) -> None:
    house.runners["data.transform", 1] = refuse_threes
    await house.flow(ME, asking(), "asks")
    run = await house.runs.start(ME, await house.flow(ME, asking_twice(), "outer"), {})
    for _ in range(2):
        await house.worker(SOON)
    for place in ("first", "second"):
        approval = await pending(house, run)
        assert approval.node == f"{place}/ask"
        await let_go(house, run)
        (listed,), _ = await house.runs.page(ME, 10, None, RunFilter(states=("waiting",)))
        assert (listed.id, (await house.runs.get(ME, run.id)).state) == (run.id, "waiting")
        await house.approvals.decide(BOSS, approval.id, YES)
    done = await house.done(ME, run)
    assert (done.state, done.outputs) == ("succeeded", {"text": "yes"})
    job = await see(lambda: house.jobs.get(ME, run.job_id), lambda job: job.finished)
    assert (job.attempt, job.takeovers) == (1, 0)
    told = Counter((each.type, each.node, each.path) for each in await house.runs.history(ME, run.id, 0, 1_000))
    assert set(told.values()) == {1}, told
    assert {"run.started", "run.succeeded", "item.left_out", "node.failed", "node.waiting"} <= {
        kind for kind, *_ in told
    }


async def test_a_run_that_nobody_has_is_cancelled_at_once(house: FlowHouse) -> None:
    run = await house.runs.start(ME, await house.flow(ME, asking()), {})
    worker = await house.worker(SOON)
    approval = await pending(house, run)
    await let_go(house, run)
    await worker.close()
    cancelled = await house.runs.cancel(ME, run.id)
    assert (cancelled.state, cancelled.error) == ("cancelled", None)
    assert (await house.approvals.get(ME, approval.id)).state == "withdrawn"
    assert (await house.runs.history(ME, run.id, 0, 100))[-1].type == "run.cancelled"


async def test_a_run_whose_job_is_cancelled_is_over_without_anybody_looking(house: FlowHouse) -> None:
    run = await house.runs.start(ME, await house.flow(ME, asking()), {})
    await house.worker(SOON)
    approval = await pending(house, run)
    await let_go(house, run)
    await house.jobs.cancel(ME, run.job_id)
    await house.pruning.step()
    (listed,), _ = await house.runs.page(ME, 10, None, RunFilter())
    assert (listed.state, (await house.approvals.get(ME, approval.id)).state) == ("cancelled", "withdrawn")
    assert [each.type for each in await house.runs.history(ME, run.id, 0, 100)].count("run.cancelled") == 1


async def test_nobody_decides_in_time_while_nobody_has_the_run(house: FlowHouse) -> None:
    asks = asking()
    asks["control"].append({"from": ["ask", "expired"], "to": "late"})
    asks["nodes"]["late"] = node("prompt.template", {"template": "too late"})
    asks["nodes"]["out-late"] = node("flow.output", {"name": "late"}, value=("late", "text"))
    asks["interface"] = {"outputs": {"text": {"type": "text"}, "late": {"type": "text"}}}
    run = await house.runs.start(ME, await house.flow(ME, asks), {})
    await house.worker(SOON)
    approval = await pending(house, run)
    await let_go(house, run)
    # As if an hour had passed: the moment until which it waits is a step of its own, and in the row of the job.
    for steps in house.shelf.runs.values():
        steps[:] = [(name, b"0" if name.endswith(":until") else kept) for name, kept in steps]
    async with house.database.write() as session:
        await session.change(update(jobs).where(jobs.c.id == run.job_id).values(due_at=1.0))
    assert (await house.done(ME, run)).outputs == {"late": "too late"}
    assert (await house.approvals.get(ME, approval.id)).state == "expired"


async def test_so_many_runs_of_a_project_may_wait_besides_those_that_run(place: Place, database: Database) -> None:
    await install_default(database, SystemClock())
    async with flow_house(place, database, max_unfinished=1, max_waiting=2) as house:
        version = await house.flow(ME, asking())
        await house.worker(SOON)
        for _ in range(2):
            await let_go(house, await house.runs.start(ME, version, {}))
        with pytest.raises(RateLimited, match="2 runs of this project wait"):
            await house.runs.start(ME, version, {})
        (waiting, _), _ = await house.runs.page(ME, 10, None, RunFilter(states=("waiting",)))
        await house.runs.cancel(ME, waiting.id)
        await house.runs.start(ME, version, {})


async def test_many_runs_that_wait_leave_room_for_one_that_runs(place: Place, database: Database) -> None:
    """Three hundred approvals that nobody decides are nothing to those who come after."""
    await install_default(database, SystemClock())
    async with flow_house(place, database, max_unfinished=1_000) as house:
        version = await house.flow(ME, asking(), "asks")
        text = {"say": node("prompt.template", {"template": "hey"}),
                "out": node("flow.output", {"name": "text"}, value=("say", "text"))}  # fmt: skip
        quick = await house.flow(ME, flow(text, interface=TEXT), "quick")
        await house.worker(TIMING)
        asked = [await house.runs.start(ME, version, {}) for _ in range(300)]
        assert (await house.done(ME, await house.runs.start(ME, quick, {}))).outputs == {"text": "hey"}
        for run in asked:
            await see(lambda run=run: house.runs.get(ME, run.id), lambda found: found.state == "waiting")
        assert (await house.done(ME, await house.runs.start(ME, quick, {}))).outputs == {"text": "hey"}
        for run in (asked[0], asked[-1]):
            await house.approvals.decide(BOSS, (await pending(house, run)).id, YES)
            assert (await house.done(ME, run)).outputs == {"text": "yes"}
