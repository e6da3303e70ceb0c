"""Streams of runs: their events, and how they ended. What is so of all streams is in tenancy/test_following.py."""

from contextlib import aclosing
from typing import Any, cast

import pytest

from polyforge.flows.running.records import RunEvent
from polyforge.flows.running.service import EVENT_PAGE, RunService
from polyforge.flows.running.streams import RunStreams
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import NotFound
from polyforge.tenancy.callers import Caller
from tests.unit.tenancy.samples import NOW, caller

RUN = "run_1"
COUNT = 2 * EVENT_PAGE


class Found:
    """A run that is over, as far as its stream needs it."""

    state = "cancelled"
    finished = True


class Stage:
    """The service as the streams see it."""

    def __init__(self) -> None:
        self.streams = RunStreams(cast(RunService, self), FakeClock(NOW))

    async def get(self, caller: Caller, run_id: str) -> Any:
        if run_id != RUN:
            raise NotFound("there is no such run")
        return Found()

    async def history(self, caller: Caller, run_id: str, after: int, limit: int) -> list[RunEvent]:
        seqs = range(after + 1, min(after + limit, COUNT) + 1)
        return [RunEvent(seq, NOW, "node.log", "chat", "", {}) for seq in seqs]


async def test_all_events_come_in_order_and_then_the_end() -> None:
    stream = await Stage().streams.subscribe(caller(), RUN, 3)
    async with aclosing(stream.frames()) as frames:
        sent = b"".join([frame async for frame in frames])
    ids = [int(line[4:]) for line in sent.splitlines() if line.startswith(b"id: ")]
    assert ids == list(range(4, COUNT + 1))
    assert b"event: node.log\n" in sent
    assert sent.endswith(b'event: end\ndata: {"state":"cancelled"}\n\n')


async def test_a_run_that_is_not_there_has_no_stream() -> None:
    with pytest.raises(NotFound):
        await Stage().streams.subscribe(caller(), "run_2", 0)
