"""Streams that follow one thing: what they send, how they end, and how many there may be."""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, cast

import msgspec
import pytest

from polyforge.database.events.store import Event
from polyforge.database.events.tail import EventTail
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import Unavailable
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.following import LONGEST_SECONDS, FollowedStream, Pace, Seen
from polyforge.tenancy.streaming import CallerStreams
from tests.unit.tenancy.samples import NOW, caller

MOST, EACH, PAGE = 5, 3, 10


class Things(CallerStreams[FollowedStream]):
    """Streams of one thing that counts; each look takes a second."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        super().__init__("things", self.clock, most=MOST, most_each=EACH)
        self.heard: dict[str, Callable[[Sequence[Event]], None]] = {}
        self.listen(cast(EventTail, Ears(self.heard)))
        self.written = 0
        self.state: str | None = None
        self.down = False
        self.looks: list[int] = []

    def follow(self, who: Caller, place: int = 0, rest: float = 0.001) -> FollowedStream:
        return self._admit(FollowedStream(who, self.clock, "it", self._look, Pace(rest, rest, PAGE), place))

    async def _look(self, after: int) -> Seen:
        self.clock.advance(1)
        self.looks.append(after)
        if self.down:
            raise Unavailable("the database is down")
        numbers = range(after + 1, min(self.written, after + PAGE) + 1)
        return Seen([b"id: %d\n\n" % number for number in numbers], numbers[-1] if numbers else after, self.state)


class Ears:
    """The tail, as far as streams know it."""

    def __init__(self, heard: dict[str, Any]) -> None:
        self._heard = heard

    def listen(self, streams: list[str], heard: Any) -> None:
        self._heard.update(dict.fromkeys(streams, heard))


@pytest.fixture
def things() -> Things:
    return Things()


async def read(stream: FollowedStream) -> list[bytes]:
    async with aclosing(stream.frames()) as frames:
        return [frame async for frame in frames]


def event(resource_id: str, organization_id: str | None = None) -> Event:
    return Event(1, "keys", "key.revoked", organization_id, None, resource_id, NOW, msgspec.Raw(b"{}"))


async def test_all_there_is_comes_in_order_and_then_the_end(things: Things) -> None:
    things.written, things.state = 25, "succeeded"
    sent = await read(things.follow(caller(), place=2))
    ids = [int(line[4:]) for line in b"".join(sent).splitlines() if line.startswith(b"id: ")]
    assert ids == list(range(3, 26))
    assert sent[-1] == b'event: end\ndata: {"state":"succeeded"}\n\n'
    assert things.looks == [2, 12, 22, 25]


async def test_after_a_whole_page_nobody_rests(things: Things) -> None:
    things.written = 2 * PAGE
    async with aclosing(things.follow(caller(), rest=3_600).frames()) as frames:
        sent = [await anext(frames) for _ in range(3)]
    assert [frame.count(b"id: ") for frame in sent] == [0, PAGE, PAGE]


async def test_it_lasts_for_so_long_and_says_now_and_then_that_it_lives(things: Things) -> None:
    sent = await read(things.follow(caller()))
    assert sent[1:] == [b": heartbeat\n\n"] * len(sent[1:])
    assert 10 < len(sent) < LONGEST_SECONDS / 15 + 2
    assert things.clock.now() - NOW == LONGEST_SECONDS


async def test_it_lasts_no_longer_than_its_key(things: Things) -> None:
    await read(things.follow(msgspec.structs.replace(caller(), expires_at=NOW + 60)))
    assert things.clock.now() - NOW == 60


async def test_a_database_that_is_away_does_not_end_it(things: Things) -> None:
    things.down = True
    async with aclosing(things.follow(caller()).frames()) as frames:
        assert (await anext(frames)).startswith(b"retry:")
        assert await anext(frames) == b": heartbeat\n\n"
        things.down, things.written = False, 1
        assert await anext(frames) == b"id: 1\n\n"


async def test_one_that_rests_looks_at_once_when_it_is_stirred_and_ends_when_it_is_ended(things: Things) -> None:
    stream = things.follow(caller(), rest=3_600)
    async with aclosing(stream.frames()) as frames:
        await anext(frames)
        things.written = 1
        assert await anext(frames) == b"id: 1\n\n"
        things.written = 2
        stream.stir()
        assert await anext(frames) == b"id: 2\n\n"
        stream.end()
        assert await anext(frames, None) is None


async def test_it_ends_when_what_its_caller_may_do_may_have_changed(things: Things) -> None:
    ours, theirs = caller(), caller()
    mine, other = things.follow(ours), things.follow(theirs)
    things.heard["keys"]([event(ours.key_id)])
    assert (mine.ended, other.ended) == (True, False)
    things.heard["people"]([event("somebody", ours.organization_id)])
    assert not other.ended, "a key is no person"
    person = things.follow(msgspec.structs.replace(ours, kind="user"))
    things.heard["people"]([event("somebody", "elsewhere")])
    assert not person.ended
    things.heard["people"]([event("somebody", ours.organization_id)])
    assert person.ended
    things.heard["keys"]([])
    assert other.ended, "anything may have changed"
    assert len(await read(mine)) == 1


async def test_there_are_so_many_and_places_are_given_back(things: Things) -> None:
    ours = caller()
    streams = [things.follow(ours) for _ in range(EACH)]
    with pytest.raises(Unavailable, match=f"you have {EACH} streams of things already; close one"):
        things.follow(ours)
    others = [things.follow(caller()) for _ in range(MOST - EACH)]
    with pytest.raises(Unavailable, match="as many streams of things as there may be"):
        things.follow(caller())
    things.release(streams[0])
    things.follow(ours)
    things.drain()
    assert all(stream.ended for stream in streams[1:] + others)
    things.release(others[0])
    with pytest.raises(Unavailable):
        things.follow(caller())
