"""What flows hand on goes when nobody asked for it in a long time, on both databases."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from polyforge.adapters.objects import memory
from polyforge.adapters.objects.memory import MemoryObjects, Settings
from polyforge.database.database import Database
from polyforge.flows.facilities import removing
from polyforge.flows.facilities.objects import FlowObjects
from polyforge.flows.facilities.removing import ObjectPruning
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import NotFound, Unavailable
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID
from tests.support.principals import install_default

ME = Caller("k1", "key", DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID, frozenset({"*"}))
DAY = 86_400


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The time of the objects too."""
    one = FakeClock()
    monkeypatch.setattr(memory, "time", SimpleNamespace(time=one.now))
    return one


@pytest.fixture
def store() -> MemoryObjects:
    return MemoryObjects(Settings(), Path())


async def test_objects_go_when_nothing_that_is_kept_can_name_them(
    database: Database, store: MemoryObjects, clock: FakeClock
) -> None:
    await install_default(database, clock)
    objects, pruning = FlowObjects(store, cast("Any", None), clock), ObjectPruning(database, store, clock, 30)
    old = await objects.put(ME, b"old", "text/plain")
    read = await objects.put(ME, b"read", "text/plain")
    put = await objects.put(ME, b"put", "text/plain")
    clock.advance(100 * DAY)
    assert await pruning.step() == 0
    assert await objects.get(ME, read) == b"read"
    assert await objects.put(ME, b"put", "text/plain") == put
    clock.advance(22 * DAY)
    assert await pruning.step() == 1
    assert await pruning.step() == 0
    for kept, data in ((read, b"read"), (put, b"put")):
        assert await objects.get(ME, kept) == data
    with pytest.raises(NotFound):
        await objects.get(ME, old)


async def test_many_objects_go_in_pages_and_files_stay(
    database: Database, store: MemoryObjects, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await install_default(database, clock)
    monkeypatch.setattr(removing, "PAGE", 2)
    objects, pruning = FlowObjects(store, cast("Any", None), clock), ObjectPruning(database, store, clock, 1)
    for number in range(5):
        await objects.put(ME, bytes([number]), "text/plain")

    async def content() -> AsyncIterator[bytes]:
        yield b"a file"

    await store.put(f"{ME.project_id}/files/x", content())
    clock.advance(100 * DAY)
    assert [await pruning.step() for _ in range(4)] == [2, 2, 1, 0]
    assert [facts.key async for facts in store.list(f"{ME.project_id}/")] == [f"{ME.project_id}/files/x"]


async def test_an_object_is_read_although_it_cannot_be_put_again(store: MemoryObjects, clock: FakeClock) -> None:
    objects = FlowObjects(store, cast("Any", None), clock)
    one = await objects.put(ME, b"abc", "text/plain")
    clock.advance(2 * DAY)

    async def full(*_: object) -> None:
        raise Unavailable("there is no room")

    store.put = cast("Any", full)
    assert await objects.get(ME, one) == b"abc"
