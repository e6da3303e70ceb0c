"""A job's log as server-sent events: the lines that are there, those that come, and how it ended."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from polyforge.database.events.store import Event
from polyforge.database.events.tail import EventTail
from polyforge.jobs.records import LogLine
from polyforge.jobs.schemas import line_of
from polyforge.jobs.service import JobService
from polyforge.kernel.clock import Clock
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.following import MOST, MOST_PER_CALLER, FollowedStream, Pace, Seen
from polyforge.tenancy.streaming import CallerStreams

LOOK_SECONDS: Final = 1.0
PAGE: Final = 500


class LogStreams(CallerStreams[FollowedStream]):
    """All streams of logs of this process."""

    def __init__(self, jobs: JobService, tail: EventTail, clock: Clock, *, look_seconds: float = LOOK_SECONDS) -> None:
        super().__init__("logs", clock, most=MOST, most_each=MOST_PER_CALLER)
        self._jobs = jobs
        self._pace = Pace(look_seconds, look_seconds, PAGE)
        self.listen(tail)
        tail.listen(["jobs"], self._heard_of_jobs)

    async def subscribe(self, caller: Caller, job_id: str, after: int) -> FollowedStream:
        """A new stream, to be released; NotFound without the job, Unavailable when there are too many."""
        await self._jobs.get(caller, job_id)
        look = partial(self._look, caller, job_id)
        return self._admit(FollowedStream(caller, self._clock, job_id, look, self._pace, after))

    async def _look(self, caller: Caller, job_id: str, after: int) -> Seen:
        # The job first: a finished one writes no line after that.
        job = await self._jobs.get(caller, job_id)
        lines = await self._jobs.logs(caller, job_id, after, PAGE)
        place = lines[-1].seq if lines else after
        return Seen([_frame(line) for line in lines], place, job.state if job.finished else None)

    def _heard_of_jobs(self, events: Sequence[Event]) -> None:
        """Something happened to these jobs: their last lines are there."""
        changed = {event.resource_id for event in events}
        for stream in self._open:
            if not events or stream.thing_id in changed:
                stream.stir()


def _frame(line: LogLine) -> bytes:
    return b"id: %d\ndata: %b\n\n" % (line.seq, line_of(line).model_dump_json().encode())
