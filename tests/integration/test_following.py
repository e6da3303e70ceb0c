"""Following what is declared in one process, without the rest of it; on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest

from polyforge.database.database import Database
from polyforge.database.events.log import append_event
from polyforge.database.events.store import SystemEvents
from polyforge.database.events.tail import EventTail
from polyforge.database.sessions import ReadSession
from polyforge.gateway.lineup import Lineup, Lineups
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import SettingsError, Unavailable
from polyforge.operations.additions.content import Additions, Key
from polyforge.operations.additions.store import AdditionEditor, AdditionRow
from polyforge.operations.configuration.content import Digests
from polyforge.operations.configuration.following import Following
from polyforge.operations.configuration.source import Built, Declared, Stamp
from polyforge.operations.configuration.store import ConfigurationRow, SystemConfigurations
from polyforge.operations.configuration.versions import Versions
from tests.support.databases import Place
from tests.support.recording import MASTER, recorder
from tests.support.waiting import eventually_async
from tests.unit.tenancy.samples import NOW, caller


class Broken(Database):
    """A database that is down when told to be."""

    down = False

    def read(self, scope: Any = None) -> Any:
        self._refuse()
        return super().read(scope)

    def write(self, scope: Any = None) -> Any:
        self._refuse()
        return super().write(scope)

    def _refuse(self) -> None:
        if self.down:
            raise Unavailable("the database does not answer; try again")


class Served:
    """What stands for a lineup: the sections that it was built from, and what was added."""

    def __init__(self, sections: Mapping[str, Any], added: Additions) -> None:
        self.sections = sections
        self.added = added


class Swaps:
    """What stands for the lineups: what was swapped in, in order."""

    def __init__(self) -> None:
        self.sections: list[str] = []
        self.added: list[str] = []

    async def swap(self, lineup: Lineup) -> None:
        served = cast(Served, lineup)
        self.sections.append(served.sections.get("models", {}).get("name", ""))
        self.added = sorted(served.added.models)


class File:
    """What stands for the settings file: holds one name, or is wrong."""

    def __init__(self, name: str, changed_at: float = NOW) -> None:
        self.number = 0
        self.unusable: set[str] = set()
        self.set(name, changed_at)

    def set(self, name: str, changed_at: float = NOW) -> None:
        self.number += 1
        self.name = name
        self.changed_at = changed_at

    def stamp(self) -> Stamp:
        return self.number, 0, 0

    def read(self) -> Declared:
        if self.name == "wrong":
            raise SettingsError("models: is wrong, see sk-1234567890123456")
        sections = {"models": {"name": self.name}, "providers": {}}
        return Declared(sections, frozenset(), (), self.changed_at)

    def needs_restart(self, sections: Mapping[str, Any]) -> tuple[str, ...]:
        return ()

    def build(self, sections: Mapping[str, Any], added: Additions) -> Built:
        if sections.get("models", {}).get("name") in self.unusable:
            raise SettingsError("providers.lab.api_key: the environment variable LAB_KEY is not set")
        left_out: dict[Key, str] = {("model", name): "does not fit" for name in added.models if name in self.unusable}
        return Built(cast(Lineup, Served(sections, added.without(frozenset(left_out)))), left_out)


class Process:
    """One worker: its database, its tail, its file, and what it runs."""

    def __init__(
        self, place: Place, name: str, *, changed_at: float = NOW, now: float = NOW, speaks: bool = True
    ) -> None:
        self.database = Broken(place.settings, place.data)
        self.clock = FakeClock(now)
        self.tail = EventTail(self.database, ready=lambda: not self.database.down, poll_seconds=0.02)
        self.file = File(name, changed_at)
        self.swaps = Swaps()
        digests = Digests(MASTER)
        self.versions = Versions(self.database, self.clock, recorder(self.clock), digests)
        lineups = cast(Lineups, self.swaps)
        self.following = Following(
            self.file, lineups, self.versions, digests, self.tail, speaks=speaks, look_seconds=0.02
        )

    async def open(self, *, with_file: bool = True) -> "Process":
        await self.database.open()
        await self.tail.open()
        declared, stamp = (self.file.read(), self.file.stamp()) if with_file else (None, self.file.stamp())
        await self.following.open(declared, stamp)
        return self

    async def close(self) -> None:
        await self.following.close()
        await self.tail.close()
        await self.database.close()

    async def runs(self, name: str, version: int | None) -> None:
        await eventually_async(
            lambda: (self.following.version, self.swaps.sections[-1:]) == (version, [name]), f"{name} as {version}"
        )

    async def add(self, name: str) -> None:
        """What the API does about a model, but for looking whether it fits."""
        row = AdditionRow(
            kind="model",
            name=name,
            content="{}",
            created_at=NOW,
            created_by="0" * 26,
            changed_at=NOW,
            changed_by="0" * 26,
        )
        async with self.database.write() as session:
            editor = AdditionEditor(session)
            await editor.lock()
            await editor.put(row)
            await append_event(session, "settings", "model.added", name, at=NOW)

    async def adds(self, *names: str) -> None:
        await eventually_async(lambda: self.swaps.added == list(names), f"{names} beside what is declared")

    async def rows(self) -> list[ConfigurationRow]:
        async with self.database.read() as session:
            store = SystemConfigurations(session)
            found = [await store.get(each.version) for each in (await store.page(100, None))[::-1]]
        return [row for row in found if row is not None]


@pytest.fixture
async def processes(place: Place) -> AsyncIterator[Any]:
    made: list[Process] = []

    async def make(name: str, *, with_file: bool = True, **options: Any) -> Process:
        made.append(Process(place, name, **options))
        return await made[-1].open(with_file=with_file)

    yield make
    for process in made:
        await process.close()


async def test_workers_that_begin_together_record_the_file_once(processes: Any) -> None:
    one, two = await processes("a"), await processes("a")
    assert (one.following.version, two.following.version) == (1, 1)
    assert [(row.version, row.source, row.accepted) for row in await one.rows()] == [(1, "file", True)]
    assert one.swaps.sections == two.swaps.sections == []


async def test_a_change_is_one_version_however_many_workers_see_it(processes: Any) -> None:
    workers = [await processes("a") for _ in range(3)]
    for worker in workers:
        worker.file.set("b")
    for worker in workers:
        await worker.runs("b", 2)
    assert [row.version for row in await workers[0].rows()] == [1, 2]


async def test_a_file_that_is_touched_is_no_new_version(processes: Any) -> None:
    worker = await processes("a")
    worker.file.set("a", NOW + 60)
    worker.file.set("b", NOW + 61)
    await worker.runs("b", 2)
    assert [row.version for row in await worker.rows()] == [1, 2]


async def test_a_list_tells_which_versions_held_secrets_and_leaves_the_contents_where_they_are(
    processes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await processes("a")
    written_out = {"models": {"name": "sk-1234567890123456"}, "providers": {}}
    await worker.versions.offer(Declared(written_out, frozenset(), (), NOW))
    read: list[list[str]] = []
    rows_of = ReadSession.all

    async def watched(self: ReadSession, statement: Any) -> Any:
        found = await rows_of(self, statement)
        read.extend([str(name) for name in row] for row in found)
        return found

    monkeypatch.setattr(ReadSession, "all", watched)
    async with worker.database.read() as session:
        listed = await SystemConfigurations(session).page(10, None)
    assert [(each.version, each.masked) for each in listed] == [(2, True), (1, False)]
    assert any("masked" in columns for columns in read)
    assert not any("content" in columns for columns in read)


async def test_at_the_start_a_file_that_was_changed_since_wins_and_an_older_one_does_not(processes: Any) -> None:
    first = await processes("a", changed_at=NOW - 60)
    first.file.set("b")
    await first.runs("b", 2)
    stale = await processes("stale", changed_at=NOW - 60)
    await stale.runs("b", 2)
    newer = await processes("newer", changed_at=NOW + 60)
    assert newer.following.version == 3
    for other in (first, stale):
        await other.runs("newer", 3)


async def test_without_the_database_the_file_counts_here_and_is_recorded_later(processes: Any) -> None:
    here, there = await processes("a"), await processes("a")
    here.database.down = True
    here.file.set("b")
    await here.runs("b", None)
    assert there.swaps.sections == []
    here.database.down = False
    await here.runs("b", 2)
    await there.runs("b", 2)
    assert here.swaps.sections == ["b"]


async def test_a_process_that_begins_without_the_database_takes_what_is_in_force_later(
    processes: Any, place: Place
) -> None:
    first = await processes("a", changed_at=NOW - 60)
    first.file.set("b")
    await first.runs("b", 2)
    late = Process(place, "old", changed_at=NOW - 60)
    late.database.down = True
    await late.open()
    assert (late.following.version, late.swaps.sections) == (None, [])
    late.database.down = False
    await late.runs("b", 2)
    await late.close()


async def test_a_wrong_file_is_recorded_once_and_masked_and_nothing_changes(processes: Any) -> None:
    workers = [await processes("a") for _ in range(2)]
    for worker in workers:
        worker.file.set("wrong")
    rows: list[ConfigurationRow] = []

    async def refused() -> bool:
        rows[:] = await workers[0].rows()
        return len(rows) == 2

    while not await refused():
        continue
    for worker in workers:
        worker.file.set("c")
        await worker.runs("c", 3)
    assert [(row.accepted, row.reason) for row in await workers[0].rows()] == [
        (True, None),
        (False, "models: is wrong, see sk-********"),
        (True, None),
    ]


async def test_a_version_that_does_not_work_here_is_told_once_and_tried_again_when_asked(processes: Any) -> None:
    here, there = await processes("a"), await processes("a")
    there.file.unusable.add("b")
    here.file.set("b")
    await here.runs("b", 2)

    async def told() -> list[Any]:
        async with here.database.read() as session:
            found = await SystemEvents(session).after(0)
        return [event for event in found if event.kind == "configuration.refused"]

    while not await told():
        continue
    assert there.following.version == 1
    there.file.unusable.clear()
    there.following.reload()
    await there.runs("b", 2)
    (event,) = await told()
    assert b"LAB_KEY is not set" in bytes(event.data)


async def test_a_rollback_is_followed_and_outlives_the_same_file(processes: Any) -> None:
    worker = await processes("a")
    worker.file.set("b")
    await worker.runs("b", 2)
    first, _ = await worker.rows()
    await worker.versions.roll_back(caller(), first, [])
    await worker.runs("a", 3)
    again = await processes("b", changed_at=NOW + 3600)
    await again.runs("a", 3)
    worker.following.reload()
    await eventually_async(lambda: worker.swaps.sections == ["b", "a", "a"], "everything built anew")
    assert worker.following.version == 3
    worker.file.set("c")
    await again.runs("c", 4)


async def test_what_is_added_is_heard_of_by_every_worker_and_stays_when_the_file_changes(processes: Any) -> None:
    workers = [await processes("a") for _ in range(3)]
    await workers[0].add("more")
    for worker in workers:
        await worker.adds("more")
    workers[0].file.set("b")
    await workers[0].runs("b", 2)
    assert workers[0].swaps.added == ["more"]
    await workers[1].add("most")
    for worker in workers:
        await worker.adds("more", "most")
    late = await processes("b")
    await late.adds("more", "most")


async def test_what_is_added_is_there_without_any_file(processes: Any) -> None:
    worker = await processes("a", with_file=False)
    await worker.add("more")
    await worker.adds("more")
    assert worker.following.version is None


async def test_what_is_added_and_does_not_fit_is_left_out_and_the_rest_runs(processes: Any) -> None:
    worker = await processes("a")
    worker.file.unusable.add("bad")
    await worker.add("bad")
    await worker.add("good")
    await worker.adds("good")
    assert worker.following.left_out == {("model", "bad"): "does not fit"}


async def test_what_is_added_together_with_a_version_that_does_not_work_is_taken_beside_what_runs(
    processes: Any,
) -> None:
    here, there = await processes("a"), await processes("a")
    there.file.unusable.add("b")
    there.database.down = True
    here.file.set("b")
    await here.runs("b", 2)
    await here.add("more")
    there.database.down = False
    await there.adds("more")
    assert there.swaps.sections[-1] == "a"


async def test_what_is_added_is_taken_beside_what_runs_where_the_newest_version_does_not_work(processes: Any) -> None:
    here, there = await processes("a"), await processes("a")
    there.file.unusable.add("b")
    here.file.set("b")
    await here.runs("b", 2)
    await there.add("more")
    await there.adds("more")
    assert there.swaps.sections[-1] == "a"
    there.file.unusable.clear()
    here.file.set("c")
    await there.runs("c", 3)
    assert there.swaps.added == ["more"]
