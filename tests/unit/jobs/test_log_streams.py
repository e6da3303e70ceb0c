"""Streams of a job's log: what they send, how they end, and how many there may be."""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, cast

import msgspec
import pytest

from polyforge.database.events.store import Event
from polyforge.database.events.tail import EventTail
from polyforge.jobs.log_streams import LONGEST_SECONDS, MOST_PER_CALLER, LogStream, LogStreams
from polyforge.jobs.records import LogLine
from polyforge.jobs.service import JobService
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import NotFound, Unavailable
from polyforge.tenancy.callers import Caller
from tests.unit.tenancy.samples import NOW, caller

JOB = "job_1"


class Found:
    """A job, as far as its log needs it."""

    def __init__(self, state: str) -> None:
        self.state = state
        self.finished = state != "running"


class Stage:
    """The service and the tail as the streams see them; each look takes a second."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        self.heard: dict[str, Callable[[Sequence[Event]], None]] = {}
        self.lines: list[LogLine] = []
        self.state = "running"
        self.down = False
        service, tail = cast(JobService, self), cast(EventTail, self)
        self.streams = LogStreams(service, tail, self.clock, look_seconds=0.001)

    def listen(self, streams: list[str], heard: Any) -> None:
        for stream in streams:
            self.heard[stream] = heard

    async def get(self, caller: Caller, job_id: str) -> Any:
        self.clock.advance(1)
        if self.down:
            raise Unavailable("the database is down")
        if job_id != JOB:
            raise NotFound("there is no such job")
        return Found(self.state)

    async def logs(self, caller: Caller, job_id: str, after: int, limit: int) -> list[LogLine]:
        return [line for line in self.lines if line.seq > after][:limit]

    def write(self, count: int = 1) -> None:
        for _ in range(count):
            self.lines.append(LogLine(len(self.lines) + 1, NOW, "info", f"line {len(self.lines) + 1}"))


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def read(stream: LogStream) -> list[bytes]:
    async with aclosing(stream.frames()) as frames:
        return [frame async for frame in frames]


def event(resource_id: str, organization_id: str | None = None) -> Event:
    return Event(1, "keys", "key.revoked", organization_id, None, resource_id, NOW, msgspec.Raw(b"{}"))


async def test_all_lines_come_in_order_and_then_the_end(stage: Stage) -> None:
    stage.write(1_200)
    stage.state = "succeeded"
    sent = b"".join(await read(await stage.streams.subscribe(caller(), JOB, 0)))
    ids = [int(line[4:]) for line in sent.splitlines() if line.startswith(b"id: ")]
    assert ids == list(range(1, 1_201))
    assert sent.endswith(b'event: end\ndata: {"state":"succeeded"}\n\n')


async def test_a_stream_goes_on_after_a_line(stage: Stage) -> None:
    stage.write(3)
    stage.state = "failed"
    sent = b"".join(await read(await stage.streams.subscribe(caller(), JOB, 2)))
    assert (sent.count(b"id: "), b"id: 3\n" in sent) == (1, True)


async def test_a_job_that_is_not_there_has_no_stream(stage: Stage) -> None:
    with pytest.raises(NotFound):
        await stage.streams.subscribe(caller(), "job_2", 0)


async def test_it_lasts_for_so_long_and_says_now_and_then_that_it_lives(stage: Stage) -> None:
    sent = await read(await stage.streams.subscribe(caller(), JOB, 0))
    assert sent[1:] == [b": heartbeat\n\n"] * len(sent[1:])
    assert 10 < len(sent) < LONGEST_SECONDS / 15 + 2


async def test_a_database_that_is_away_does_not_end_it(stage: Stage) -> None:
    stream = await stage.streams.subscribe(caller(), JOB, 0)
    stage.down = True
    async with aclosing(stream.frames()) as frames:
        assert (await anext(frames)).startswith(b"retry:")
        assert await anext(frames) == b": heartbeat\n\n"
        stage.down, stage.state = False, "succeeded"
        stage.write()
        assert b"line 1" in await anext(frames)


async def test_it_ends_when_what_its_caller_may_do_may_have_changed(stage: Stage) -> None:
    ours, theirs = caller(), caller()
    mine, other = await stage.streams.subscribe(ours, JOB, 0), await stage.streams.subscribe(theirs, JOB, 0)
    stage.heard["keys"]([event(ours.key_id)])
    assert (mine.ended, other.ended) == (True, False)
    stage.heard["people"]([event("somebody", ours.organization_id)])
    assert not other.ended, "a key is no person"
    person = await stage.streams.subscribe(msgspec.structs.replace(ours, kind="user"), JOB, 0)
    stage.heard["people"]([event("somebody", ours.organization_id)])
    assert person.ended
    stage.heard["keys"]([])
    assert other.ended, "anything may have changed"
    assert len(await read(mine)) == 1


async def test_there_are_so_many_and_places_are_given_back(stage: Stage) -> None:
    ours = caller()
    streams = [await stage.streams.subscribe(ours, JOB, 0) for _ in range(MOST_PER_CALLER)]
    with pytest.raises(Unavailable):
        await stage.streams.subscribe(ours, JOB, 0)
    stage.streams.release(streams[0])
    await stage.streams.subscribe(ours, JOB, 0)
    stage.streams.drain()
    assert all(stream.ended for stream in streams[1:])
    with pytest.raises(Unavailable):
        await stage.streams.subscribe(caller(), JOB, 0)
