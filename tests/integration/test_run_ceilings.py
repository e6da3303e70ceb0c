"""What a run may cost is held while a worker has the run, and free while it waits without one."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from polyforge.database.database import Database
from polyforge.flows.running import ceilings
from polyforge.flows.running.approvals import Answer
from polyforge.flows.running.contract import NodeCall, Outputs
from polyforge.flows.running.records import FlowRun
from polyforge.jobs.lease import Timing
from polyforge.kernel.clock import SystemClock
from tests.support.budgets import Budget
from tests.support.databases import Place
from tests.support.flow_house import FlowHouse, flow_house
from tests.support.flows import flow, node
from tests.support.principals import install_default
from tests.unit.tenancy.samples import caller

ME = caller("flows:read", "flows:write", "flows:run", "approvals:decide", "jobs:write")
BOSS = replace(ME, scopes=frozenset({"*"}))
SOON = Timing(lease=60.0, renew=0.5, scan=0.2, tick=0.05, hold=0.1)
"""What waits is let go at once."""


@pytest.fixture
async def house(place: Place, database: Database) -> AsyncIterator[FlowHouse]:
    await install_default(database, SystemClock())
    async with flow_house(place, database) as made:
        yield made


@pytest.fixture
def budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(ceilings, "_PAUSES", (0.0,))
    folder = tmp_path / "budget"
    folder.mkdir()
    made = Budget(folder, 50)
    yield made
    made.counters.close()


def asking() -> dict[str, Any]:
    """Something is done, somebody is asked, and something is done again."""
    ask = {"question": "Go on?", "assignees": ["role:admin"], "expires_in_s": 3_600}
    nodes = {
        "first": node("prompt.template", {"template": "a"}),
        "ask": node("human.approval", ask, show=("first", "text")),
        "second": node("prompt.template", {"template": "{{a}}"}, a=("first", "text")),
        "out": node("flow.output", {"name": "text"}, value=("second", "text")),
    }
    interface = {"outputs": {"text": {"type": "text"}}}
    return flow(nodes, control=[{"from": ["ask", "approved"], "to": "second"}], interface=interface)


async def waiting(house: FlowHouse, run: FlowRun) -> str:
    """The approval that a run waits for, once no worker has the run."""
    async with asyncio.timeout(120):
        while not (await house.jobs.get(ME, run.job_id)).let_go:  # noqa: ASYNC110  it is in the database
            await asyncio.sleep(0.02)
    (found,), _ = await house.approvals.page(ME, 10, None, states=("pending",), run_id=run.id)
    return found.id


async def test_who_waits_without_a_worker_holds_nothing_and_goes_on_with_what_is_left(
    house: FlowHouse, budget: Budget
) -> None:
    seen: dict[str, int] = {}

    async def dear(call: NodeCall) -> Outputs:
        seen[call.node] = budget.used
        call.cost(10)
        return {"text": "x"}

    house.runners["prompt.template", 1], house.budgets = dear, budget
    run = await house.runs.start(ME, await house.flow(ME, asking()), {}, max_cost=30)
    await house.worker(SOON)
    approval = await waiting(house, run)
    assert budget.used == 0
    await house.approvals.decide(BOSS, approval, Answer("approve"))
    assert (await house.done(ME, run)).state == "succeeded"
    assert seen == {"first": 30, "second": 20}
    assert (budget.asked, budget.used) == ([30, 20], 0)


async def test_who_finds_no_room_fails_and_goes_on_once_there_is(house: FlowHouse, budget: Budget) -> None:
    async def dear(call: NodeCall) -> Outputs:
        call.cost(10)
        return {"text": "x"}

    house.runners["prompt.template", 1], house.budgets = dear, budget
    run = await house.runs.start(ME, await house.flow(ME, asking()), {}, max_cost=40)
    await house.worker(SOON)
    approval = await waiting(house, run)
    other = await budget.hold(ME, 30)
    await house.approvals.decide(BOSS, approval, Answer("approve"))
    failed = await house.done(ME, run)
    assert failed.error is not None
    assert (failed.state, failed.error.code, failed.error.hint) == ("failed", "insufficient_quota", ceilings.HINT)
    other.release()
    async with asyncio.timeout(120):
        while not (await house.jobs.get(ME, run.job_id)).finished:  # noqa: ASYNC110  it is in the database
            await asyncio.sleep(0.02)
    await house.jobs.retry(ME, run.job_id)
    async with asyncio.timeout(120):
        while (await house.runs.get(ME, run.id)).state != "succeeded":  # noqa: ASYNC110  it is in the database
            await asyncio.sleep(0.02)
    assert budget.used == 0
