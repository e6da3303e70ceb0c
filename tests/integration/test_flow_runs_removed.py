"""Runs that begin while what they run is removed for ever: either begins first; on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from polyforge.database.database import Database
from polyforge.flows.keeping.records import FlowVersion
from polyforge.flows.running.records import FlowRun
from polyforge.flows.running.store import RunFilter
from polyforge.kernel.clock import SystemClock
from polyforge.kernel.errors import Conflict, NotFound
from tests.support.databases import Place
from tests.support.flow_house import FlowHouse, flow_house
from tests.support.flows import flow, loaded, node
from tests.support.principals import install_default
from tests.unit.tenancy.samples import caller

ME = caller("flows:read", "flows:write", "flows:run", "jobs:write")
PATIENCE = 60.0
A_WHILE = 1.0
"""For what must not happen meanwhile."""


@pytest.fixture
async def house(place: Place, database: Database) -> AsyncIterator[FlowHouse]:
    await install_default(database, SystemClock())
    async with flow_house(place, database) as made:
        yield made


def saying(word: str) -> dict[str, Any]:
    nodes = {
        "say": node("prompt.template", {"template": word}),
        "out": node("flow.output", {"name": "text"}, value=("say", "text")),
    }
    return flow(nodes, interface={"inputs": {}, "outputs": {"text": {"type": "text"}}})


def calling(slug: str) -> dict[str, Any]:
    nodes = {
        "call": node("flow.call", {"flow": {"$ref": f"flow:{slug}"}, "outputs": {"text": "text"}}),
        "out": node("flow.output", {"name": "text"}, value=("call", "text")),
    }
    return flow(nodes, interface={"inputs": {}, "outputs": {"text": {"type": "text"}}})


async def earlier_version(house: FlowHouse) -> FlowVersion:
    """A version that may be removed: it is neither the latest, nor does anything point at it."""
    first = await house.flow(ME, saying("one"))
    await house.drafts.save(ME, "sample", loaded(saying("two")), None)
    await house.drafts.commit(ME, "sample", "second", None)
    return first


class Halt:
    """Stops whoever comes to a place until they are let go on."""

    def __init__(self, before: Callable[..., Any], which: int = 1) -> None:
        self._before = before
        self._left = which
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, *given: Any, **named: Any) -> Any:
        found = await self._before(*given, **named)
        self._left -= 1
        if self._left == 0:
            self.reached.set()
            await self.go_on.wait()
        return found


async def both(halt: Halt, first: asyncio.Task[Any], second: asyncio.Task[Any]) -> list[Any]:
    """What came of the first, which was halted in its transaction, and of the second, which had to wait for it."""
    async with asyncio.timeout(PATIENCE):
        await asyncio.wait({second}, timeout=A_WHILE)
        halt.go_on.set()
        return list(await asyncio.gather(first, second, return_exceptions=True))


async def test_a_version_is_not_removed_while_a_run_of_it_begins(
    house: FlowHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = await earlier_version(house)
    halt = Halt(house.jobs.submit)
    monkeypatch.setattr(house.jobs, "submit", halt)
    starting = asyncio.create_task(house.runs.start(ME, version, {}))
    await asyncio.wait_for(halt.reached.wait(), PATIENCE)
    removing = asyncio.create_task(house.versions.remove(ME, "sample", version.version))
    run, refused = await both(halt, starting, removing)
    assert isinstance(run, FlowRun), run
    assert isinstance(refused, Conflict), refused
    assert run.id in refused.message
    await house.worker()
    done = await house.done(ME, run)
    assert (done.state, done.outputs) == ("succeeded", {"text": "one"})


async def test_a_run_does_not_begin_while_its_version_is_removed(
    house: FlowHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = await earlier_version(house)
    # The second look is within the transaction that removes.
    halt = Halt(house.runs.why, which=2)
    monkeypatch.setattr(house.runs, "why", halt)
    removing = asyncio.create_task(house.versions.remove(ME, "sample", version.version))
    await asyncio.wait_for(halt.reached.wait(), PATIENCE)
    starting = asyncio.create_task(house.runs.start(ME, version, {}))
    removed, refused = await both(halt, removing, starting)
    assert removed is None
    assert isinstance(refused, NotFound), refused
    assert "was removed just now" in refused.message
    assert await house.runs.page(ME, 10, None, RunFilter()) == ([], None)


async def test_a_run_does_not_begin_while_a_flow_that_it_calls_is_removed(
    house: FlowHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.flow(ME, saying("inner"), "inner")
    outer = await house.flow(ME, calling("inner"), "outer")
    inner = (await house.flows.get(ME, "inner"))[0].flow
    looked_up = Halt(house.flows.resolve)
    monkeypatch.setattr(house.flows, "resolve", looked_up)
    starting = asyncio.create_task(house.runs.start(ME, outer, {}))
    await asyncio.wait_for(looked_up.reached.wait(), PATIENCE)
    await house.flows.archive(ME, "inner")
    halt = Halt(house.runs.why_any, which=2)
    monkeypatch.setattr(house.runs, "why_any", halt)
    removing = asyncio.create_task(house.flows.remove(ME, inner.id))
    await asyncio.wait_for(halt.reached.wait(), PATIENCE)
    looked_up.go_on.set()
    removed, refused = await both(halt, removing, starting)
    assert removed is None
    assert isinstance(refused, NotFound), refused
    assert inner.id in refused.message


async def test_a_part_of_a_run_whose_version_is_gone_is_repeated_as_a_whole(house: FlowHouse) -> None:
    version = await earlier_version(house)
    await house.worker()
    first = await house.done(ME, await house.runs.start(ME, version, {}))
    await house.versions.remove(ME, "sample", version.version)
    latest = await house.flows.resolve(ME, "sample")
    again = await house.done(ME, await house.runs.rerun(ME, first.id, targets=["out"], version=latest))
    assert (again.state, again.outputs) == ("succeeded", {"text": "two"})
