"""Streams of a job's log: its lines, and how it ended. What is so of all streams is in tenancy/test_following.py."""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, cast

import msgspec
import pytest

from polyforge.database.events.store import Event
from polyforge.database.events.tail import EventTail
from polyforge.jobs.log_streams import LogStreams
from polyforge.jobs.records import LogLine
from polyforge.jobs.service import JobService
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import NotFound
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.following import FollowedStream
from tests.unit.tenancy.samples import NOW, caller

JOB = "job_1"


class Found:
    """A job, as far as its log needs it."""

    def __init__(self, state: str) -> None:
        self.state = state
        self.finished = state != "running"


class Stage:
    """The service and the tail as the streams see them."""

    def __init__(self) -> None:
        self.heard: dict[str, Callable[[Sequence[Event]], None]] = {}
        self.lines: list[LogLine] = []
        self.state = "running"
        service, tail = cast(JobService, self), cast(EventTail, self)
        self.streams = LogStreams(service, tail, FakeClock(NOW), look_seconds=3_600)

    def listen(self, streams: list[str], heard: Any) -> None:
        for stream in streams:
            self.heard[stream] = heard

    async def get(self, caller: Caller, job_id: str) -> Any:
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


async def read(stream: FollowedStream) -> list[bytes]:
    async with aclosing(stream.frames()) as frames:
        return [frame async for frame in frames]


def event(job_id: str) -> Event:
    return Event(1, "jobs", "job.succeeded", None, None, job_id, NOW, msgspec.Raw(b"{}"))


async def test_all_lines_come_in_order_and_then_the_end(stage: Stage) -> None:
    stage.write(1_000)
    stage.state = "succeeded"
    stream = await stage.streams.subscribe(caller(), JOB, 0)
    sent = b"".join(await read(stream))
    ids = [int(line[4:]) for line in sent.splitlines() if line.startswith(b"id: ")]
    assert ids == list(range(1, 1_001))
    assert b'"text":"line 1"' in sent
    assert sent.endswith(b'event: end\ndata: {"state":"succeeded"}\n\n')


async def test_a_job_that_is_not_there_has_no_stream(stage: Stage) -> None:
    with pytest.raises(NotFound):
        await stage.streams.subscribe(caller(), "job_2", 0)


async def test_what_happens_to_the_job_has_its_last_lines_sent_at_once(stage: Stage) -> None:
    stage.write()
    async with aclosing((await stage.streams.subscribe(caller(), JOB, 0)).frames()) as frames:
        await anext(frames)
        assert b"line 1" in await anext(frames)
        stage.write()
        stage.heard["jobs"]([event("job_2"), event(JOB)])
        assert b"line 2" in await anext(frames)
        stage.state = "failed"
        stage.heard["jobs"]([])
        assert await anext(frames) == b'event: end\ndata: {"state":"failed"}\n\n'
