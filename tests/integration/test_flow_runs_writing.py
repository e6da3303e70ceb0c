"""Events of all runs of a worker share transactions, and what becomes of one run is no matter of the others."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.database.sessions import WriteSession
from polyforge.flows.running.notes import NewEvent, Page
from polyforge.flows.running.pages import RunPages, scope_of
from polyforge.flows.running.records import FlowRun
from polyforge.flows.running.store import RunStore
from polyforge.kernel.clock import SystemClock
from polyforge.kernel.errors import NotFound, Unavailable
from tests.support.databases import Place
from tests.support.flow_house import FlowHouse, flow_house
from tests.support.flows import flow, node
from tests.support.principals import install_default
from tests.support.recording import SEALS
from tests.unit.tenancy.samples import caller

ME = caller("flows:read", "flows:write", "flows:run", "jobs:write")
SCOPE = scope_of(ME)
NOWHERE = "run_00000000000000000000000000"


@pytest.fixture
async def house(place: Place, database: Database) -> AsyncIterator[FlowHouse]:
    await install_default(database, SystemClock())
    async with flow_house(place, database) as made:
        yield made


async def queued(house: FlowHouse, count: int) -> list[FlowRun]:
    """Runs that no worker has."""
    nodes = {
        "say": node("prompt.template", {"template": "one"}),
        "out": node("flow.output", {"name": "text"}, value=("say", "text")),
    }
    version = await house.flow(ME, flow(nodes, interface={"inputs": {}, "outputs": {"text": {"type": "text"}}}))
    return [await house.runs.start(ME, version, {}) for _ in range(count)]


def page(*names: str, removed: tuple[int, ...] = (), **more: Any) -> Page:
    events = tuple(NewEvent(1.0, "node.finished", name, "", "{}") for name in names)
    return Page(events, removed, more.pop("state", "running"), more.pop("cost", 0), **more)


async def said(house: FlowHouse, run: FlowRun) -> list[tuple[int, str]]:
    return [(event.seq, event.node) for event in await house.runs.history(ME, run.id, 0, 100)]


class Watched:
    """The database, which counts the transactions that write, and fails the next ones where it is told to."""

    def __init__(self, database: Database) -> None:
        self._write = database.write
        self.count = 0
        self.fails = False

    @asynccontextmanager
    async def __call__(self, scope: Scope | None = None) -> AsyncGenerator[WriteSession]:
        self.count += 1
        if self.fails:
            raise Unavailable("the database is away")
        async with self._write(scope) as session:
            yield session


@pytest.fixture
def watched(house: FlowHouse, monkeypatch: pytest.MonkeyPatch) -> Watched:
    found = Watched(house.database)
    monkeypatch.setattr(house.database, "write", found)
    return found


async def test_what_waits_is_written_together_and_in_the_order_of_each_run(house: FlowHouse, watched: Watched) -> None:
    runs = await queued(house, 8)
    pages = RunPages(house.database, SEALS)
    watched.count = 0
    written = await asyncio.gather(*(pages.of(SCOPE, run.id).write(page("a", "b", cost=7)) for run in runs))
    assert [list(seqs) for seqs in written] == [[1, 2]] * 8
    assert watched.count == 1
    assert list(await pages.of(SCOPE, runs[0].id).write(page("c", removed=(1,), cost=9))) == [3]
    assert await said(house, runs[0]) == [(2, "b"), (3, "c")]
    assert await said(house, runs[1]) == [(1, "a"), (2, "b")]
    kept = [await house.runs.get(ME, run.id) for run in runs[:2]]
    assert [run.cost_micros for run in kept] == [9, 7]


async def test_a_run_that_is_gone_fails_alone(house: FlowHouse) -> None:
    (run,) = await queued(house, 1)
    pages = RunPages(house.database, SEALS)
    gone, there = await asyncio.gather(
        pages.of(SCOPE, NOWHERE).write(page("a")), pages.of(SCOPE, run.id).write(page("a")), return_exceptions=True
    )
    assert isinstance(gone, NotFound)
    assert isinstance(there, range), there
    assert await said(house, run) == [(1, "a")]
    with pytest.raises(NotFound):
        await pages.of(SCOPE, NOWHERE).write(page("a"))


async def test_a_run_that_is_over_takes_events_and_stays_over(house: FlowHouse) -> None:
    first, second = await queued(house, 2)
    pages = RunPages(house.database, SEALS)
    ended = {"state": "succeeded", "ended_at": 5.0, "outputs": {"text": "one"}}
    await asyncio.gather(
        pages.of(SCOPE, first.id).write(page("a", ending=ended)),
        pages.of(SCOPE, second.id).write(page("a", state="waiting")),
    )
    await pages.of(SCOPE, first.id).write(page("late", state="running"))
    assert await states(house, first, second) == ["succeeded", "waiting"]
    assert await said(house, first) == [(1, "a"), (2, "late")]
    assert (await house.runs.get(ME, first.id)).outputs == {"text": "one"}


async def states(house: FlowHouse, *runs: FlowRun) -> list[str]:
    """As the rows have them, whatever their jobs say."""
    async with house.database.read(SCOPE) as session:
        store = RunStore(session, SCOPE, SEALS)
        found = [await store.find(run.id) for run in runs]
    return [run.state for run in found if run is not None]


async def test_nothing_of_a_group_is_written_where_the_database_is_away(house: FlowHouse, watched: Watched) -> None:
    runs = await queued(house, 3)
    pages = RunPages(house.database, SEALS)
    watched.fails = True
    found = await asyncio.gather(*(pages.of(SCOPE, run.id).write(page("a")) for run in runs), return_exceptions=True)
    assert [type(each) for each in found] == [Unavailable] * 3
    watched.fails = False
    await asyncio.gather(*(pages.of(SCOPE, run.id).write(page("a")) for run in runs))
    assert [await said(house, run) for run in runs] == [[(1, "a")]] * 3
