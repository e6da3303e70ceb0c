"""Streams of the overview: what they send, how many there may be, and when they end."""

from collections.abc import Callable
from contextlib import aclosing
from typing import Any, cast

import msgspec
import pytest

from polyforge.database.events.store import Event
from polyforge.database.events.tail import EventTail
from polyforge.kernel.clock import FakeClock, utc
from polyforge.kernel.errors import Unavailable
from polyforge.operations.overview.schemas import DeploymentsView, Overview
from polyforge.operations.overview.service import OverviewService
from polyforge.operations.overview.streams import LONGEST_SECONDS, MOST_PER_PROJECT, OverviewStreams
from polyforge.tenancy.callers import Caller
from tests.unit.tenancy.samples import NOW, caller


class Stage:
    """The service and the tail as the streams see them; each look takes a second."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        self.ready = 0
        self.heard: dict[str, Callable[[list[Event]], None]] = {}
        service, tail = cast(OverviewService, self), cast(EventTail, self)
        self.streams = OverviewStreams(service, tail, self.clock, every_seconds=0.001, heartbeat_seconds=15)

    def listen(self, streams: list[str], heard: Any) -> None:
        for stream in streams:
            self.heard[stream] = heard

    async def look(self, caller: Caller) -> Overview:
        del caller
        self.clock.advance(1)
        return Overview(
            at=utc(self.clock.now()),
            state="ok",
            attention=[],
            components=None,
            deployments=DeploymentsView(ready=self.ready, cooling=0, cooling_now=[]),
            traffic=None,
            budgets=[],
        )


def event(organization_id: str | None = None, resource_id: str = "somebody") -> Event:
    return Event(
        sequence=1,
        stream="people",
        kind="something.changed",
        organization_id=organization_id,
        project_id=None,
        resource_id=resource_id,
        at=NOW,
        data=msgspec.Raw(b"{}"),
    )


async def test_it_tells_at_once_then_changes_and_comments_between() -> None:
    stage = Stage()
    stream = stage.streams.subscribe(caller("models:read"))
    async with aclosing(stream.frames()) as frames:
        assert (await anext(frames)).startswith(b"retry: ")
        assert (await anext(frames)).startswith(b"event: overview\nid: 1\ndata: {")
        began = stage.clock.now()
        assert await anext(frames) == b": nothing changed\n\n"
        assert stage.clock.now() - began == 15
        stage.ready = 2
        assert (await anext(frames)).startswith(b"event: overview\nid: 2\ndata: {")


async def test_it_ends_in_time_by_itself() -> None:
    stage = Stage()
    stream = stage.streams.subscribe(caller("models:read"))
    frames = [frame async for frame in stream.frames()]
    assert stage.clock.now() - NOW == LONGEST_SECONDS
    assert frames[-1] == b": nothing changed\n\n"


async def test_draining_ends_all_and_begins_none() -> None:
    stage = Stage()
    stream = stage.streams.subscribe(caller("models:read"))
    stage.streams.drain()
    assert len([frame async for frame in stream.frames()]) == 1
    with pytest.raises(Unavailable):
        stage.streams.subscribe(caller("models:read"))


KEY = caller("models:read")
USER = msgspec.structs.replace(caller("models:read"), kind="user")
MINE = USER.organization_id


@pytest.mark.parametrize(
    ("who", "stream", "events", "ends"),
    [
        (KEY, "keys", [event(MINE, KEY.key_id)], True),
        (KEY, "keys", [event(MINE, "another")], False),
        (KEY, "keys", [], True),
        (KEY, "people", [event(MINE)], False),
        (USER, "people", [event(MINE)], True),
        (USER, "people", [event("another")], False),
        (USER, "people", [event(None)], True),
        (USER, "people", [], True),
        (USER, "keys", [event(MINE, "another")], False),
    ],
)
async def test_it_ends_when_what_its_caller_may_do_may_have_changed(
    who: Caller, stream: str, events: list[Event], ends: bool
) -> None:
    stage = Stage()
    subscribed = stage.streams.subscribe(who)
    stage.clock.advance(1)
    stage.heard[stream](events)
    async with aclosing(subscribed.frames()) as frames:
        await anext(frames)
        assert (await anext(frames, None) is None) is ends


async def test_one_that_begins_just_after_a_change_is_short() -> None:
    stage = Stage()
    stage.heard["keys"]([event(MINE, KEY.key_id)])
    stage.clock.advance(0.5)
    stream = stage.streams.subscribe(KEY)
    assert len([frame async for frame in stream.frames()]) == 2
    stage.clock.advance(5)
    async with aclosing(stage.streams.subscribe(KEY).frames()) as later:
        assert [(await anext(later))[:6] for _ in range(3)] == [b"retry:", b"event:", b": noth"]


def test_a_project_has_its_share_and_places_are_given_back() -> None:
    stage = Stage()
    streams = [stage.streams.subscribe(caller("models:read")) for _ in range(MOST_PER_PROJECT)]
    with pytest.raises(Unavailable, match="close one"):
        stage.streams.subscribe(caller("models:read"))
    stage.streams.release(streams[0])
    stage.streams.subscribe(caller("models:read"))
