"""Events as rows, and the tail that every process follows; on SQLite and on PostgreSQL."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import pytest

from polyforge.database.database import Database
from polyforge.database.events import store as store_module
from polyforge.database.events import tail as tail_module
from polyforge.database.events.log import Stream, append_event
from polyforge.database.events.pruning import Pruning
from polyforge.database.events.store import PAGE, Audience, Event, SystemEvents
from polyforge.database.events.tail import EventTail, Gone
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import Unavailable
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID
from tests.support.databases import Place
from tests.support.waiting import eventually_async
from tests.unit.tenancy.samples import NOW

MINE = Audience(DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID)
OTHER = "0000000000000000000000009P"
DAY = 86_400


async def tell(
    database: Database,
    resource: str,
    *,
    stream: Stream = "keys",
    project: str | None = DEFAULT_PROJECT_ID,
    organization: str | None = DEFAULT_ORGANIZATION_ID,
    at: float = NOW,
) -> int:
    async with database.write() as session:
        return await append_event(
            session, stream, "thing.done", resource, at=at, organization_id=organization, project_id=project
        )


async def read_all(tail: EventTail, place: int, audience: Audience = MINE) -> list[Event]:
    found: list[Event] = []
    while place < tail.place:
        batch = await tail.read(place, audience)
        found += batch.events
        place = batch.place
    return found


def resources(events: Sequence[Event]) -> list[str]:
    return [event.resource_id for event in events]


@pytest.fixture
async def tail(database: Database) -> AsyncIterator[EventTail]:
    opened = EventTail(database)
    await opened.open()
    yield opened
    await opened.close()


@contextlib.asynccontextmanager
async def another(place: Place, **options: Any) -> AsyncGenerator[tuple[Database, EventTail]]:
    """The tail of another process."""
    database = place.database()
    await database.open()
    tail = EventTail(database, **options)
    await tail.open()
    try:
        yield database, tail
    finally:
        await tail.close()
        await database.close()


async def test_every_process_sees_every_event_once_and_in_order(place: Place, tail: EventTail) -> None:
    async with another(place) as (database, other), another(place) as (third, _):
        writers = [database, third]
        await asyncio.gather(*(tell(writers[number % 2], str(number)) for number in range(60)))
        for each in (tail, other):
            await eventually_async(lambda each=each: each.place == 60, "the last event")
            seen = await read_all(each, 0)
            assert [event.sequence for event in seen] == list(range(1, 61))
            assert sorted(resources(seen), key=int) == [str(number) for number in range(60)]


async def test_what_was_rolled_back_is_never_seen(database: Database, tail: EventTail) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async with database.write() as session:
            await append_event(session, "keys", "thing.done", "undone", at=NOW)
            raise ZeroDivisionError
    await tell(database, "done")
    await tail.wait(0)
    assert [(event.sequence, event.resource_id) for event in await read_all(tail, 0)] == [(1, "done")]


async def test_a_process_hears_at_once_of_what_it_did_itself(database: Database) -> None:
    tail = EventTail(database, poll_seconds=3600)
    await tail.open()
    await tell(database, "own")
    await asyncio.wait_for(tail.wait(0), 20)
    await tail.close()


async def test_a_reader_that_is_slow_or_late_reads_on_from_the_database(place: Place, database: Database) -> None:
    async with another(place, kept=10) as (_, tail):
        for number in range(30):
            await tell(database, str(number))
        await eventually_async(lambda: tail.place == 30, "the last event")
        for start in (0, 5, 19, 20, 21, 29, 30):
            assert resources(await read_all(tail, start)) == [str(number) for number in range(start, 30)]


async def test_more_events_than_a_page_are_read_page_by_page(database: Database) -> None:
    async with database.write() as session:
        for number in range(PAGE + 20):
            await append_event(
                session,
                "keys",
                "thing.done",
                str(number),
                at=NOW,
                organization_id=DEFAULT_ORGANIZATION_ID,
                project_id=DEFAULT_PROJECT_ID if number % 100 else OTHER,
            )
    tail = EventTail(database)
    await tail.open()
    assert tail.place == PAGE + 20
    seen = await read_all(tail, 0)
    assert resources(seen) == [str(number) for number in range(PAGE + 20) if number % 100]
    await tail.close()


async def test_each_sees_what_is_theirs(database: Database, tail: EventTail) -> None:
    await tell(database, "mine")
    await tell(database, "theirs", project=OTHER)
    await tell(database, "ours", project=None)
    await tell(database, "of all", project=None, organization=None, stream="settings")
    await tell(database, "elsewhere", project=None, organization=OTHER)
    await tell(database, "foreign", organization=OTHER)
    await eventually_async(lambda: tail.place == 6, "the last event")
    wanted: list[tuple[dict[str, Any], list[str]]] = [
        ({}, ["mine"]),
        ({"organization": True}, ["mine", "ours"]),
        ({"installation": True}, ["mine", "of all"]),
        ({"organization": True, "installation": True}, ["mine", "ours", "of all"]),
        ({"organization": True, "installation": True, "streams": frozenset(["settings"])}, ["of all"]),
        ({"streams": frozenset()}, []),
    ]
    for more, expected in wanted:
        audience = Audience(DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID, **more)
        assert resources(await read_all(tail, 0, audience)) == expected
        async with database.read() as session:
            assert resources(await SystemEvents(session).between(0, 6, audience)) == expected
            latest, following = await SystemEvents(session).recent(None, audience, 9)
        assert (resources(latest), following) == (expected[::-1], None)


async def test_few_among_many_are_found_without_going_through_all_at_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways, and each look goes through four events."""
    for module in (store_module, tail_module):
        monkeypatch.setattr(module, "LOOKED_AT", 4)
    for number in range(1, 12):
        await tell(database, str(number), project=DEFAULT_PROJECT_ID if number in (2, 11) else OTHER)
    audience = Audience(DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID)
    before: int | None = None
    pages: list[list[str]] = []
    while before is not None or not pages:
        async with database.read() as session:
            page, before = await SystemEvents(session).recent(before, audience, 9)
        pages.append(resources(page))
    assert pages == [["11"], [], ["2"]]
    tail = EventTail(database, kept=1)
    await tail.open()
    place, batches = 0, list[list[str]]()
    while place < tail.place:
        batch = await tail.read(place, audience)
        place = batch.place
        batches.append(resources(batch.events))
    assert batches == [["2"], [], ["11"]]
    await tail.close()


async def test_a_place_that_is_no_longer_kept_or_never_was_is_gone(database: Database) -> None:
    for number in range(6):
        await tell(database, str(number), at=NOW - DAY * (10 - number))
    await tell(database, "now")
    assert await Pruning(database, FakeClock(NOW), keep_days=7).step() == 3
    tail = EventTail(database)
    await tail.open()
    for place in (0, 2, 8):
        with pytest.raises(Gone) as gone:
            await tail.read(place, MINE)
        assert gone.value.oldest == 4
    assert resources(await read_all(tail, 3)) == ["3", "4", "5", "now"]
    await tail.close()


async def test_what_another_process_saw_already_is_no_lost_place(place: Place, database: Database) -> None:
    async with another(place, poll_seconds=3600) as (_, late):
        await tell(database, "seen elsewhere")
        assert (await late.read(1, MINE)).events == ()


async def test_pruning_leaves_no_gap_and_stops_at_what_is_young(database: Database) -> None:
    pruning = Pruning(database, FakeClock(NOW), keep_days=1)
    assert await pruning.step() == 0
    for at in (NOW - 3 * DAY, NOW, NOW - 2 * DAY):
        await tell(database, "x", at=at)
    assert [await pruning.step(), await pruning.step()] == [1, 0]
    async with database.read() as session:
        assert [event.sequence for event in await SystemEvents(session).after(0)] == [2, 3]
        assert await SystemEvents(session).oldest() == 2


async def test_listeners_hear_of_their_streams_and_a_broken_one_harms_nobody(database: Database) -> None:
    heard: list[list[str]] = []

    def broken(events: Sequence[Event]) -> None:
        raise ZeroDivisionError

    tail = EventTail(database)
    tail.listen(["settings"], broken)
    tail.listen(["settings", "people"], lambda events: heard.append(resources(events)))
    await tail.open()
    assert heard == [[], []]
    heard.clear()
    await tell(database, "a key")
    await tell(database, "a flag", stream="settings")
    await tell(database, "a user", stream="people")
    await eventually_async(lambda: tail.place == 3, "the last event")
    assert [name for names in heard for name in names] == ["a flag", "a user"]
    await tail.close()


class Broken(Database):
    """A database that is down when told to be."""

    down = False

    def read(self, scope: Any = None) -> Any:
        if self.down:
            raise Unavailable("the database does not answer; try again")
        return super().read(scope)


async def test_a_database_that_is_down_delays_events_and_loses_none(place: Place, database: Database) -> None:
    breaking = Broken(place.settings, place.data)
    breaking.down = True
    await breaking.open()
    tail = EventTail(breaking, poll_seconds=0.01)
    starts: list[int] = []
    tail.listen(["keys"], lambda events: starts.append(len(events)))
    await tail.open()
    with pytest.raises(Unavailable):
        _ = tail.place
    await tell(database, "before it could look")
    breaking.down = False
    await eventually_async(lambda: starts, "its place")
    assert (tail.place, starts[0]) == (1, 0)
    breaking.down = True
    for number in range(3):
        await tell(database, str(number))
    await asyncio.sleep(0.05)
    assert tail.place == 1
    breaking.down = False
    await eventually_async(lambda: tail.place == 4, "the last event")
    assert resources(await read_all(tail, 1)) == ["0", "1", "2"]
    await tail.close()
    await breaking.close()


async def test_events_that_were_pruned_before_they_were_seen_are_told_as_missed(
    place: Place, database: Database
) -> None:
    breaking = Broken(place.settings, place.data)
    await breaking.open()
    tail = EventTail(breaking, poll_seconds=0.01)
    heard: list[list[str]] = []
    tail.listen(["keys"], lambda events: heard.append(resources(events)))
    await tail.open()
    breaking.down = True
    await tell(database, "lost", at=NOW - 30 * DAY)
    await tell(database, "kept")
    await Pruning(database, FakeClock(NOW), keep_days=7).step()
    breaking.down = False
    await eventually_async(lambda: tail.place == 2, "the last event")
    assert heard == [[], [], ["kept"]]
    await tail.close()
    await breaking.close()
