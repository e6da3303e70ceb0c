"""What flows keep from run to run, on both databases."""

import asyncio

import pytest
from msgspec.structs import replace

from polyforge.database.database import Database
from polyforge.database.pruning import ExpiryPruning
from polyforge.flows.facilities import memory
from polyforge.flows.facilities.memory import FlowMemory
from polyforge.flows.running import removing
from polyforge.flows.running.pages import RunResults
from polyforge.flows.running.removing import ResultPruning
from polyforge.flows.running.tables import flow_results
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import Conflict, TooLarge
from polyforge.tenancy.callers import Caller
from tests.support.recording import SEALS

ME = Caller("k1", "key", f"{1:026d}", f"{11:026d}", frozenset({"*"}))
STRANGER = replace(ME, project_id=f"{12:026d}")


async def test_what_is_kept_is_the_flows_own_and_ends(database: Database) -> None:
    clock = FakeClock()
    kept = FlowMemory(database, clock, SEALS)
    await kept.keep(ME, "flow_1", "k", {"a": [1, "ü\u0000"]}, seconds=10)
    await kept.keep(ME, "flow_1", "none", None, seconds=10)
    await kept.keep(ME, "flow_1", "none", False, seconds=10)
    assert await kept.recall(ME, "flow_1", "k") == ({"a": [1, "ü\u0000"]},)
    assert await kept.recall(ME, "flow_1", "none") == (False,)
    assert await kept.recall(ME, "flow_2", "k") is None
    assert await kept.recall(STRANGER, "flow_1", "k") is None
    assert await ExpiryPruning(flow_results, database, clock).step() == 0
    clock.advance(11)
    assert await kept.recall(ME, "flow_1", "k") is None
    assert await ExpiryPruning(flow_results, database, clock).step() == 2


async def test_several_may_keep_the_same_at_once(database: Database) -> None:
    kept = FlowMemory(database, FakeClock(), SEALS)
    await asyncio.gather(*(kept.keep(ME, "flow_1", "k", number, seconds=10) for number in range(8)))
    found = await kept.recall(ME, "flow_1", "k")
    assert found is not None
    assert found[0] in range(8)


async def test_there_is_an_end_to_what_is_kept(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = FlowMemory(database, FakeClock(), SEALS)
    with pytest.raises(TooLarge):
        await kept.keep(ME, "flow_1", "k", "x" * 300_000, seconds=10)
    monkeypatch.setattr(memory, "MOST_VALUES", 2)
    for key in ("a", "b"):
        await kept.keep(ME, "flow_1", key, 1, seconds=10)
    with pytest.raises(Conflict, match="for a shorter time"):
        await kept.keep(ME, "flow_1", "c", 1, seconds=10)
    await kept.keep(STRANGER, "flow_1", "c", 1, seconds=10)


async def test_only_values_that_are_not_over_count_and_one_that_is_there_can_be_replaced(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    kept, results = FlowMemory(database, clock, SEALS), RunResults(database, clock, 1.0, SEALS)
    monkeypatch.setattr(memory, "MOST_VALUES", 1)
    for digit in "0af":
        await results.keep(ME, digit * 64, {"value": 1})
    await kept.keep(ME, "flow_1", "k", 1, seconds=10)
    await kept.keep(ME, "flow_1", "k", 2, seconds=10)
    assert await kept.recall(ME, "flow_1", "k") == (2,)
    with pytest.raises(Conflict):
        await kept.keep(ME, "flow_2", "k", 1, seconds=10)
    clock.advance(11)
    await kept.keep(ME, "flow_2", "k", 1, seconds=10)


async def test_several_rounds_may_keep_the_same_result_at_once(database: Database) -> None:
    results = RunResults(database, FakeClock(), 1.0, SEALS)
    await asyncio.gather(*(results.keep(ME, "a" * 64, {"value": number}) for number in range(8)))
    found = await results.find(ME, "a" * 64)
    assert found is not None
    assert found["value"] in range(8)


async def test_of_the_results_of_nodes_a_project_keeps_the_latest(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removing, "_RESULTS", 3)
    clock = FakeClock()
    results, kept = RunResults(database, clock, 30.0, SEALS), FlowMemory(database, clock, SEALS)
    keys = [f"{number:064x}" for number in range(7)]
    for who in (ME, STRANGER):
        await kept.keep(who, "flow_1", "k", 1, seconds=10)
    for key in keys:
        clock.advance(1)
        await results.keep(ME, key, {"text": key})
    await results.keep(STRANGER, "f" * 64, {"text": "mine"})
    pruning = ResultPruning(database, 2)
    assert [await pruning.step() for _ in range(3)] == [3, 2, 0]
    assert [await results.find(ME, key) is not None for key in keys] == [False] * 5 + [True] * 2
    assert await results.find(STRANGER, "f" * 64) == {"text": "mine"}
    for who in (ME, STRANGER):
        assert await kept.recall(who, "flow_1", "k") == (1,), "what flows remember is counted elsewhere"
