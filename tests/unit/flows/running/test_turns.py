"""Nodes have their time to work in, not to wait for a place."""

import asyncio
from typing import Any

import pytest

from polyforge.flows.built_in import runners
from polyforge.flows.running.contract import NodeCall, Outputs
from polyforge.flows.running.turns import in_turn, working_time
from tests.support.flow_runs import FlowBench
from tests.support.flows import flow, node
from tests.support.waiting import eventually_async

SHORT = 0.05


async def test_waiting_for_a_place_takes_nothing_of_the_time() -> None:
    places, worked = asyncio.Semaphore(1), asyncio.Event()

    async def node() -> None:
        async with working_time(SHORT) as limit, in_turn(places):
            assert limit.when() is not None
            worked.set()

    await places.acquire()
    waiting = asyncio.create_task(node())
    over_at = asyncio.get_running_loop().time() + 3 * SHORT
    await eventually_async(lambda: asyncio.get_running_loop().time() > over_at)
    assert not waiting.done()
    places.release()
    await asyncio.wait({waiting})
    assert worked.is_set()
    assert not places.locked()


async def test_working_takes_it_before_and_after_a_place_is_there() -> None:
    places = asyncio.Semaphore(1)
    with pytest.raises(TimeoutError):
        async with working_time(SHORT), in_turn(places):
            await asyncio.Event().wait()
    assert not places.locked()

    async def node() -> None:
        async with working_time(SHORT):
            async with in_turn(places):
                pass
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await node()


async def test_who_waits_can_be_cancelled_and_takes_no_place() -> None:
    places = asyncio.Semaphore(1)
    began = asyncio.Event()

    async def node() -> None:
        async with working_time(60):
            began.set()
            async with in_turn(places):
                raise AssertionError("it has no place")

    await places.acquire()
    waiting = asyncio.create_task(node())
    await began.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    places.release()
    async with in_turn(places):
        assert places.locked()


async def test_several_waits_of_one_node_end() -> None:
    places = asyncio.Semaphore(1)

    async def wait() -> None:
        async with in_turn(places):
            await asyncio.sleep(0)

    await places.acquire()
    async with working_time(60) as limit, asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(wait())
        await eventually_async(lambda: limit.when() is None)
        places.release()
    assert not places.locked()


async def test_a_node_that_waits_for_a_place_longer_than_it_may_take_is_done() -> None:
    places, waits = asyncio.Semaphore(1), asyncio.Event()

    async def slow(call: NodeCall) -> Outputs:
        waits.set()
        async with in_turn(places):
            return {"value": call.inputs["x"]}

    shape = node("data.transform", {"inputs": {"x": "number"}, "cel": "1", "result": "number"})
    nodes = {
        "slow": {**shape, "in": {"x": 7}, "policy": {"timeout_s": 1}},
        "out": node("flow.output", {"name": "n"}, value=("slow", "value")),
    }
    interface = {"inputs": {}, "outputs": {"n": {"type": "number"}}}
    known: dict[Any, Any] = {**runners(), ("data.transform", 1): slow}
    await places.acquire()
    running = asyncio.create_task(FlowBench(flow(nodes, interface=interface), known).run())
    await waits.wait()
    over_at = asyncio.get_running_loop().time() + 1.5
    await eventually_async(lambda: asyncio.get_running_loop().time() > over_at)
    places.release()
    assert await running == {"n": 7}
