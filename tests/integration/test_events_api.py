"""Following events over HTTP and looking back at them; on SQLite and on PostgreSQL."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from polyforge.database.database import Database
from polyforge.database.events.pruning import Pruning
from polyforge.database.events.tail import EventTail
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import PolyforgeError, Unavailable
from polyforge.operations.events.api import router
from polyforge.operations.events.service import MOST_PER_CALLER, EventService
from polyforge.operations.events.subscription import LONGEST_SECONDS, Subscription
from polyforge.tenancy.callers import ALL, Caller
from tests.integration.test_events import DAY, OTHER, tell
from tests.support.waiting import eventually_async
from tests.unit.tenancy.samples import NOW, caller

MEMBER = caller("events:read")


class Stage:
    """The service over a tail that follows the database of the test, and its routes."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.caller: Caller | None = MEMBER
        self.clock = FakeClock(NOW)
        self.tail = EventTail(database)
        self.events = EventService(database, self.tail, self.clock, max_subscribers=30, heartbeat_seconds=0.02)
        app = FastAPI()
        app.include_router(router(self.events))
        app.exception_handler(PolyforgeError)(_render)
        app.middleware("http")(self._identify)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")

    async def seen(self, count: int) -> None:
        """Wait until the tail has come so far."""
        await eventually_async(lambda: self.tail.place == count, f"event {count}")

    async def get(self, path: str, status: int = 200, **options: Any) -> Any:
        answer = await self.client.get(f"/api/v1{path}", **options)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def _identify(self, request: Request, proceed: Any) -> Any:
        if self.caller is not None:
            request.state.caller = self.caller
        return await proceed(request)


async def _render(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PolyforgeError)
    return JSONResponse({"code": error.code, "param": error.param}, error.status)


@pytest.fixture
async def stage(database: Database) -> AsyncIterator[Stage]:
    made = Stage(database)
    await made.tail.open()
    yield made
    await made.tail.close()
    await made.client.aclose()


def read(frame: bytes) -> list[dict[str, Any]]:
    """The events of some frames: their ids and what they hold, `reset` for those."""
    found: list[dict[str, Any]] = []
    for block in frame.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            found.append({"id": int(fields["id"]), "event": fields.get("event"), **json.loads(fields["data"])})
    return found


async def take(frames: AsyncGenerator[bytes], count: int) -> list[dict[str, Any]]:
    """The next `count` events of a stream."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        found += read(await anext(frames))
    assert len(found) == count
    return found


async def left(subscription: Subscription) -> list[bytes]:
    """What a stream still gives before it ends by itself."""
    return [frame async for frame in subscription.frames()]


async def test_a_stream_goes_on_from_now_or_from_a_place(stage: Stage) -> None:
    await tell(stage.database, "before")
    await stage.seen(1)
    late, early = (stage.events.subscribe(MEMBER, None, after) for after in (None, 0))
    async with aclosing(late.frames()) as new, aclosing(early.frames()) as old:
        assert await anext(new) == b"retry: 1000\nid: 1\n\n"
        assert await anext(old) == b"retry: 1000\nid: 0\n\n"
        await tell(stage.database, "after")
        (event,) = await take(new, 1)
        assert event == {
            "id": 2,
            "event": None,
            "sequence": 2,
            "stream": "keys",
            "kind": "thing.done",
            "organization_id": MEMBER.organization_id,
            "project_id": MEMBER.project_id,
            "resource_id": "after",
            "at": "2023-11-14T22:13:20Z",
            "data": {},
        }
        assert [each["resource_id"] for each in await take(old, 2)] == ["before", "after"]


async def test_a_quiet_stream_beats_and_tells_the_place_to_resume_from(stage: Stage) -> None:
    async with aclosing(stage.events.subscribe(MEMBER, frozenset(["alerts"]), None).frames()) as frames:
        await anext(frames)
        assert await anext(frames) == b": heartbeat\nid: 0\n\n"
        await tell(stage.database, "of another stream")
        await stage.seen(1)
        while (beat := await anext(frames)) == b": heartbeat\nid: 0\n\n":
            continue
        assert beat == b": heartbeat\nid: 1\n\n"


async def test_a_place_that_is_not_kept_any_more_resets_the_stream(stage: Stage) -> None:
    for number in range(3):
        await tell(stage.database, str(number), at=NOW - 9 * DAY + number * 3 * DAY)
    await Pruning(stage.database, stage.clock, keep_days=7).step()
    tail = EventTail(stage.database)
    await tail.open()
    events = EventService(stage.database, tail, stage.clock, max_subscribers=1)
    async with aclosing(events.subscribe(MEMBER, None, 0).frames()) as frames:
        await anext(frames)
        assert await anext(frames) == b"event: reset\nid: 1\ndata: {}\n\n"
        assert [each["id"] for each in await take(frames, 2)] == [2, 3]
    await tail.close()


async def test_a_stream_ends_when_the_process_drains(stage: Stage) -> None:
    subscription = stage.events.subscribe(MEMBER, None, None)
    async with aclosing(subscription.frames()) as frames:
        await anext(frames)
        stage.events.drain()
        assert [frame async for frame in frames] == []
    with pytest.raises(Unavailable):
        stage.events.subscribe(MEMBER, None, None)


async def test_a_stream_ends_when_its_caller_may_have_lost_the_right_to_it(stage: Stage) -> None:
    user = msgspec.structs.replace(MEMBER, key_id="0000000000000000000000000U", kind="user")
    key, person = (stage.events.subscribe(each, None, None) for each in (MEMBER, user))
    await tell(stage.database, "another key")
    await tell(stage.database, "elsewhere", stream="people", organization=OTHER)
    await stage.seen(2)
    for open_ in (key, person):
        async with aclosing(open_.frames()) as frames:
            await anext(frames)
            await anext(frames)
    await tell(stage.database, MEMBER.key_id)
    await tell(stage.database, "somebody", stream="people", project=None)
    await stage.seen(4)
    assert await left(key) == await left(person) == [b"retry: 1000\nid: 2\n\n"]


async def test_a_stream_that_begins_just_after_such_a_change_is_short(stage: Stage) -> None:
    await tell(stage.database, MEMBER.key_id)
    await stage.seen(1)
    short = stage.events.subscribe(MEMBER, None, None)
    stage.clock.advance(2)
    assert len(await left(short)) == 1
    long = stage.events.subscribe(MEMBER, None, None)
    async with aclosing(long.frames()) as frames:
        stage.clock.advance(2)
        await anext(frames)
        assert await anext(frames) == b": heartbeat\nid: 1\n\n"


async def test_a_stream_ends_with_its_key_and_after_its_time(stage: Stage) -> None:
    passing = msgspec.structs.replace(MEMBER, expires_at=NOW + 60)
    short, long = (stage.events.subscribe(each, None, None) for each in (passing, MEMBER))
    stage.clock.advance(60)
    assert len(await left(short)) == 1
    stage.clock.advance(LONGEST_SECONDS - 60)
    assert len(await left(long)) == 1


async def test_streams_are_bounded_for_all_and_for_each_and_a_place_is_given_back(stage: Stage) -> None:
    mine = [stage.events.subscribe(MEMBER, None, None) for _ in range(MOST_PER_CALLER)]
    with pytest.raises(Unavailable, match=f"you have {MOST_PER_CALLER}"):
        stage.events.subscribe(MEMBER, None, None)
    for _ in range(10):
        stage.events.subscribe(caller("events:read"), None, None)
    with pytest.raises(Unavailable, match="as many") as refused:
        stage.events.subscribe(caller("events:read"), None, None)
    assert refused.value.retry_after
    stage.events.release(mine[0])
    assert stage.events.subscribe(MEMBER, None, None)


async def test_what_callers_see_follows_from_what_they_may(stage: Stage) -> None:
    await tell(stage.database, "mine")
    await tell(stage.database, "theirs", project=OTHER)
    await tell(stage.database, "ours", project=None)
    await tell(stage.database, "of all", project=None, organization=None, stream="settings")
    await tell(stage.database, "foreign", project=None, organization=OTHER)
    for scopes, expected in (
        (("events:read",), ["mine"]),
        (("events:read", "organization:read"), ["ours", "mine"]),
        (("events:read", "settings:read"), ["of all", "mine"]),
        ((ALL,), ["of all", "ours", "mine"]),
    ):
        stage.caller = caller(*scopes)
        page = await stage.get("/events/recent")
        assert [event["resource_id"] for event in page["data"]] == expected


async def test_lately_has_pages_newest_first(stage: Stage) -> None:
    for number in range(5):
        await tell(stage.database, str(number), stream="keys" if number % 2 else "jobs")
    first = await stage.get("/events/recent?limit=3")
    assert [event["sequence"] for event in first["data"]] == [5, 4, 3]
    second = await stage.get(f"/events/recent?limit=3&cursor={first['next_cursor']}")
    assert [event["sequence"] for event in second["data"]] == [2, 1]
    assert second["next_cursor"] is None
    only = await stage.get("/events/recent?stream=jobs,%20alerts")
    assert [event["sequence"] for event in only["data"]] == [5, 3, 1]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?after=x", 400),
        ("?after=-1", 400),
        ("?after=9999999999999999999", 400),
        ("?after=" + "1" * 30, 422),
        ("?stream=keys,nonsense", 400),
        ("?stream=" + "x" * 201, 422),
        ("/recent?cursor=x", 400),
        ("/recent?cursor=%D9%A1", 400),
        ("/recent?limit=0", 422),
        ("/recent?limit=1001", 422),
    ],
)
async def test_a_wrong_question_is_refused(stage: Stage, query: str, status: int) -> None:
    await stage.get(f"/events{query}", status)


async def test_a_wrong_resumption_is_refused(stage: Stage) -> None:
    refusal = await stage.get("/events", 400, headers={"last-event-id": "x"})
    assert refusal["param"] == "last-event-id"


@pytest.mark.parametrize("path", ["/events", "/events/recent"])
async def test_events_need_their_permission(stage: Stage, path: str) -> None:
    stage.caller = caller("inference", "settings:read", "organization:read")
    await stage.get(path, 403)
    stage.caller = None
    await stage.get(path, 401)
