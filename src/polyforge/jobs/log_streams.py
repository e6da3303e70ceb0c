"""A job's log as server-sent events: the lines that are there, those that come, and how it ended."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final

import msgspec

from polyforge.database.events.store import Event
from polyforge.database.events.tail import EventTail
from polyforge.jobs.records import Job, LogLine
from polyforge.jobs.schemas import line_of
from polyforge.jobs.service import JobService
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import PolyforgeError, Unavailable
from polyforge.tenancy.callers import Caller

MOST: Final = 200
MOST_PER_CALLER: Final = 10
LONGEST_SECONDS: Final = 300.0
"""After so long a stream ends, and who goes on must show again that they may."""
LOOK_SECONDS: Final = 1.0
HEARTBEAT_SECONDS: Final = 15.0
PAGE: Final = 500
_RETRY_MILLISECONDS: Final = 1000
_RETRY_SECONDS: Final = 5.0


class LogStream:
    """One reader of one job's log. It holds no lines, so that a slow reader costs nothing."""

    def __init__(self, owner: "LogStreams", caller: Caller, job_id: str, after: int, began: float) -> None:
        self.caller = caller
        self.job_id = job_id
        self.after = after
        self.began = began
        self.ended = False
        self._owner = owner

    def frames(self) -> AsyncGenerator[bytes]:
        """The stream as bytes: whole events, and comments where there are none for a while."""
        return self._owner.frames(self)


class LogStreams:
    """All such streams of this process. They end when it drains, and when what their caller may do may have changed."""

    def __init__(self, jobs: JobService, tail: EventTail, clock: Clock, *, look_seconds: float = LOOK_SECONDS) -> None:
        self._jobs = jobs
        self._clock = clock
        self._look_seconds = look_seconds
        self._open: set[LogStream] = set()
        self._draining = False
        self._stir = asyncio.Event()
        tail.listen(["keys"], self._heard_of_keys)
        tail.listen(["people"], self._heard_of_people)
        tail.listen(["jobs"], self._heard_of_jobs)

    async def subscribe(self, caller: Caller, job_id: str, after: int) -> LogStream:
        """A new stream, to be released; NotFound without the job, Unavailable when there are too many."""
        await self._jobs.get(caller, job_id)
        if self._draining or len(self._open) >= MOST:
            raise Unavailable("there are as many streams of logs as there may be", retry_after=_RETRY_SECONDS)
        if sum(other.caller.key_id == caller.key_id for other in self._open) >= MOST_PER_CALLER:
            raise Unavailable(f"you have {MOST_PER_CALLER} streams of logs already", retry_after=_RETRY_SECONDS)
        stream = LogStream(self, caller, job_id, after, self._clock.monotonic())
        self._open.add(stream)
        return stream

    def release(self, stream: LogStream) -> None:
        """Nobody reads it any more."""
        self._open.discard(stream)

    def drain(self) -> None:
        """End every stream, and begin no other."""
        self._draining = True
        self._end(self._open)

    async def frames(self, stream: LogStream) -> AsyncGenerator[bytes]:
        """What a stream sends until it is over."""
        yield b"retry: %d\n\n" % _RETRY_MILLISECONDS
        said_at = self._clock.monotonic()
        while not self._is_over(stream):
            stirred = self._stir
            # The job first: a finished one writes no line after that.
            job, lines = await self._look(stream)
            if lines:
                stream.after, said_at = lines[-1].seq, self._clock.monotonic()
                yield b"".join(_frame(line) for line in lines)
            elif job is not None and job.finished:
                yield b"event: end\ndata: %b\n\n" % msgspec.json.encode({"state": job.state})
                return
            elif self._clock.monotonic() - said_at >= HEARTBEAT_SECONDS:
                said_at = self._clock.monotonic()
                yield b": heartbeat\n\n"
            if len(lines) < PAGE:
                await self._pause(stirred)

    async def _look(self, stream: LogStream) -> tuple[Job | None, Sequence[LogLine]]:
        try:
            job = await self._jobs.get(stream.caller, stream.job_id)
            return job, await self._jobs.logs(stream.caller, stream.job_id, stream.after, PAGE)
        except PolyforgeError:
            # The database is away, or the job is: the next look, or the next stream, tells.
            return None, ()

    async def _pause(self, stirred: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(self._look_seconds):
                await stirred.wait()
        except TimeoutError:
            return

    def _is_over(self, stream: LogStream) -> bool:
        if stream.ended or self._clock.monotonic() - stream.began >= LONGEST_SECONDS:
            return True
        ends = stream.caller.expires_at
        return ends is not None and self._clock.now() >= ends

    def _heard_of_keys(self, events: Sequence[Event]) -> None:
        """Something happened to these keys; no events: anything may have."""
        changed = {event.resource_id for event in events}
        self._end([each for each in self._open if not events or each.caller.key_id in changed])

    def _heard_of_people(self, events: Sequence[Event]) -> None:
        """Something happened to people of these organizations; no events: anything may have."""
        places = {event.organization_id for event in events}
        self._end(
            [
                each
                for each in self._open
                if each.caller.kind != "key" and (not events or places & {None, each.caller.organization_id})
            ]
        )

    def _heard_of_jobs(self, events: Sequence[Event]) -> None:
        """Something happened to these jobs: their last lines are there."""
        changed = {event.resource_id for event in events}
        if any(not events or each.job_id in changed for each in self._open):
            self._wake()

    def _end(self, streams: "Sequence[LogStream] | set[LogStream]") -> None:
        for stream in streams:
            stream.ended = True
        if streams:
            self._wake()

    def _wake(self) -> None:
        stirred, self._stir = self._stir, asyncio.Event()
        stirred.set()


def _frame(line: LogLine) -> bytes:
    return b"id: %d\ndata: %b\n\n" % (line.seq, line_of(line).model_dump_json().encode())
