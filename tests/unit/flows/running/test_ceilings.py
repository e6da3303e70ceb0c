"""What a run may cost is held before its first node runs, drawn on by its nodes, and free when the attempt is over."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from polyforge.flows.running import ceilings
from polyforge.flows.running.ceilings import HINT, Ceiling, check_room
from polyforge.flows.running.contract import NodeCall, Outputs
from polyforge.flows.running.records import NodeFailed
from polyforge.kernel.errors import BudgetSpent, Invalid, Unavailable
from polyforge.kernel.money import Micros
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.limits.deposits import deposit_now
from tests.support.budgets import Budget
from tests.support.flow_runs import FlowBench
from tests.support.flows import flow, node
from tests.support.waiting import eventually_async
from tests.unit.tenancy.samples import caller

ME = caller("*")


@pytest.fixture
def budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(ceilings, "_PAUSES", (0.0, 0.0))
    made = Budget(tmp_path, 50)
    yield made
    made.counters.close()


def chain(**more: Any) -> FlowBench:
    """Two nodes, one after the other, and what each did."""
    nodes = {
        "first": node("prompt.template", {"template": "a"}),
        "second": node("prompt.template", {"template": "{{a}}"}, a=("first", "text")),
        "out": node("flow.output", {"name": "text"}, value=("second", "text")),
    }
    interface = {"inputs": {}, "outputs": {"text": {"type": "text"}}}
    return FlowBench(flow(nodes, interface=interface), {"prompt.template": more["run"]})


async def test_it_is_held_while_the_run_goes_on_and_shrinks_with_what_it_costs(budget: Budget) -> None:
    seen: list[tuple[str, Micros, bool]] = []

    async def run(call: NodeCall) -> Outputs:
        seen.append((call.node, budget.used, deposit_now() is not None))
        call.cost(10)
        return {"text": "x"}

    made = chain(run=run)
    made.most, made.budgets = 30, budget
    assert await made.run() == {"text": "x"}
    assert seen == [("first", 30, True), ("second", 20, True)]
    assert (budget.used, budget.asked) == (0, [30])


async def test_without_room_no_node_runs(budget: Budget) -> None:
    async def run(_call: NodeCall) -> Outputs:
        raise AssertionError("nothing may run")

    made = chain(run=run)
    made.most, made.budgets = 51, budget
    with pytest.raises(NodeFailed) as failed:
        await made.run()
    assert (failed.value.code, failed.value.error.hint, failed.value.fatal) == ("insufficient_quota", HINT, True)
    assert budget.used == 0


async def test_room_that_comes_soon_is_waited_for(budget: Budget) -> None:
    async def run(_call: NodeCall) -> Outputs:
        return {"text": "x"}

    budget.trouble = [BudgetSpent("a killed worker holds it"), Unavailable("not known yet")]
    made = chain(run=run)
    made.most, made.budgets = 30, budget
    assert await made.run() == {"text": "x"}
    assert budget.asked == [30] * 3


async def test_what_failed_gives_back_and_goes_on_with_what_is_left(budget: Budget) -> None:
    broken = True

    async def run(call: NodeCall) -> Outputs:
        call.cost(10)
        if broken and call.node == "second":
            raise Invalid("not today")
        return {"text": "x"}

    made = chain(run=run)
    made.most, made.budgets = 50, budget
    with pytest.raises(NodeFailed, match="not today"):
        await made.run()
    assert budget.used == 0
    broken = False
    assert await made.run() == {"text": "x"}
    assert budget.asked == [50, 30]


async def test_who_only_repeats_what_is_kept_holds_nothing(budget: Budget) -> None:
    async def run(call: NodeCall) -> Outputs:
        call.cost(10)
        return {"text": "x"}

    made = chain(run=run)
    made.most, made.budgets = 50, budget
    await made.run()
    await made.run()
    assert budget.asked == [50]


async def test_a_run_that_is_broken_off_gives_back(budget: Budget) -> None:
    begun = asyncio.Event()

    async def run(_call: NodeCall) -> Outputs:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError("it is broken off")

    made = chain(run=run)
    made.most, made.budgets = 50, budget
    running = asyncio.create_task(made.run())
    await asyncio.wait_for(begun.wait(), 30)
    assert budget.used == 50
    assert made.current is not None
    made.current.stop("cancelled")
    await asyncio.wait({running})
    assert budget.used == 0


async def test_what_waits_keeps_what_it_holds(budget: Budget) -> None:
    async def run(call: NodeCall) -> Outputs:
        call.cost(10)
        return {"text": "x"}

    ask = {"question": "Go on?", "assignees": ["role:admin"], "expires_in_s": 3_600}
    nodes = {
        "first": node("prompt.template", {"template": "a"}),
        "ask": node("human.approval", ask, show=("first", "text")),
        "out": node("flow.output", {"name": "text"}, value=("first", "text")),
    }
    interface = {"inputs": {}, "outputs": {"text": {"type": "text"}}}
    made = FlowBench(flow(nodes, interface=interface), {"prompt.template": run})
    made.most, made.budgets = 30, budget
    running = asyncio.create_task(made.run())
    await eventually_async(lambda: made.current is not None and made.current.state[0] == "waiting", "its waiting")
    assert budget.used == 20
    assert made.current is not None
    made.current.stop("released")
    await asyncio.wait({running})
    assert budget.used == 0


async def test_several_nodes_that_begin_at_once_hold_it_once(budget: Budget) -> None:
    made = Ceiling(budget, _me)
    await asyncio.gather(*(made.begin(20) for _ in range(5)))
    assert (budget.asked, budget.used) == ([20], 20)
    made.keep_to(5)
    assert budget.used == 5
    made.release()
    assert budget.used == 0


async def test_beginning_a_run_is_refused_where_it_is_clear(budget: Budget) -> None:
    await check_room(budget, ME, 50)
    await check_room(budget, ME, None)
    await check_room(None, ME, 51)
    with pytest.raises(BudgetSpent, match="lower `max_cost_usd`") as refused:
        await check_room(budget, ME, 51)
    assert (refused.value.status, refused.value.param) == (402, "max_cost_usd")
    budget.trouble = [Unavailable("nobody knows")]
    await check_room(budget, ME, 51)
    assert budget.used == 0


async def _me() -> Caller:
    return ME
