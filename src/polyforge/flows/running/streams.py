"""What happens in runs as server-sent events: what is there, what comes, until the run is over."""

from functools import partial
from typing import Final

import msgspec

from polyforge.flows.running.records import RunEvent
from polyforge.flows.running.service import EVENT_PAGE, RunService
from polyforge.kernel.clock import Clock
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.following import MOST, MOST_PER_CALLER, FollowedStream, Pace, Seen
from polyforge.tenancy.streaming import CallerStreams

_PACE: Final = Pace(first_seconds=0.1, longest_seconds=1.0, page=EVENT_PAGE)


class RunStreams(CallerStreams[FollowedStream]):
    """All streams of runs of this process."""

    def __init__(self, runs: RunService, clock: Clock) -> None:
        super().__init__("runs", clock, most=MOST, most_each=MOST_PER_CALLER)
        self._runs = runs

    async def subscribe(self, caller: Caller, run_id: str, after: int) -> FollowedStream:
        """A new stream, to be released; NotFound without the run, Unavailable when there are too many."""
        await self._runs.get(caller, run_id)
        look = partial(self._look, caller, run_id)
        return self._admit(FollowedStream(caller, self._clock, run_id, look, _PACE, after))

    async def _look(self, caller: Caller, run_id: str, after: int) -> Seen:
        # The run first: a finished one says nothing after that.
        run = await self._runs.get(caller, run_id)
        events = await self._runs.history(caller, run_id, after, EVENT_PAGE)
        place = events[-1].seq if events else after
        return Seen([frame_of(event) for event in events], place, run.state if run.finished else None)


def frame_of(event: RunEvent) -> bytes:
    """One event."""
    data = msgspec.json.encode(event)
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.seq, event.type.encode(), data)
