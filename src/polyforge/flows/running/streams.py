"""What happens in runs as server-sent events: what is there, what comes, until the run is over."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final

import msgspec

from polyforge.database.events.store import Event
from polyforge.database.events.tail import EventTail
from polyforge.flows.running.records import FlowRun, RunEvent
from polyforge.flows.running.service import EVENT_PAGE, RunService
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import PolyforgeError, Unavailable
from polyforge.tenancy.callers import Caller

MOST: Final = 200
MOST_PER_CALLER: Final = 10
LONGEST_SECONDS: Final = 300.0
"""After so long a stream ends, and who goes on must show again that they may."""
HEARTBEAT_SECONDS: Final = 15.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0
_RETRY_MILLISECONDS: Final = 1000
_RETRY_SECONDS: Final = 5.0


class RunStream:
    """One reader of one run. It holds no events, so that a slow reader costs nothing."""

    def __init__(self, owner: "RunStreams", caller: Caller, run_id: str, after: int, began: float) -> None:
        self.caller = caller
        self.run_id = run_id
        self.after = after
        self.began = began
        self.ended = False
        self._owner = owner

    def frames(self) -> AsyncGenerator[bytes]:
        """The stream as bytes: whole events, and comments where there are none for a while."""
        return self._owner.frames(self)


class RunStreams:
    """All such streams of this process. They end when it drains, and when what their caller may do may have changed."""

    def __init__(self, runs: RunService, clock: Clock) -> None:
        self._runs = runs
        self._clock = clock
        self._open: set[RunStream] = set()
        self._draining = False
        self._stir = asyncio.Event()

    def listen(self, tail: EventTail) -> None:
        """Hear of keys and people; before the tail is opened."""
        tail.listen(["keys"], self._heard_of_keys)
        tail.listen(["people"], self._heard_of_people)

    async def subscribe(self, caller: Caller, run_id: str, after: int) -> RunStream:
        """A new stream, to be released; NotFound without the run, Unavailable when there are too many."""
        await self._runs.get(caller, run_id)
        if self._draining or len(self._open) >= MOST:
            raise Unavailable("there are as many streams of runs as there may be", retry_after=_RETRY_SECONDS)
        if sum(other.caller.key_id == caller.key_id for other in self._open) >= MOST_PER_CALLER:
            raise Unavailable(f"you have {MOST_PER_CALLER} streams of runs already", retry_after=_RETRY_SECONDS)
        stream = RunStream(self, caller, run_id, after, self._clock.monotonic())
        self._open.add(stream)
        return stream

    def release(self, stream: RunStream) -> None:
        """Nobody reads it any more."""
        self._open.discard(stream)

    def drain(self) -> None:
        """End every stream, and begin no other."""
        self._draining = True
        self._end(list(self._open))

    async def frames(self, stream: RunStream) -> AsyncGenerator[bytes]:
        """What a stream sends until it is over."""
        yield b"retry: %d\n\n" % _RETRY_MILLISECONDS
        said_at, pause = self._clock.monotonic(), _FIRST_PAUSE
        while not self._is_over(stream):
            run, events = await self._look(stream)
            if events:
                stream.after, said_at, pause = events[-1].seq, self._clock.monotonic(), _FIRST_PAUSE
                yield b"".join(frame_of(event) for event in events)
            elif run is not None and run.finished:
                yield b"event: end\ndata: %b\n\n" % msgspec.json.encode({"state": run.state})
                return
            elif self._clock.monotonic() - said_at >= HEARTBEAT_SECONDS:
                said_at = self._clock.monotonic()
                yield b": heartbeat\n\n"
            if len(events) < EVENT_PAGE:
                await self._pause(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)

    async def _look(self, stream: RunStream) -> tuple[FlowRun | None, Sequence[RunEvent]]:
        try:
            # The run first: a finished one says nothing after that.
            run = await self._runs.get(stream.caller, stream.run_id)
            return run, await self._runs.history(stream.caller, stream.run_id, stream.after, EVENT_PAGE)
        except PolyforgeError:
            # The database is away, or the run is: the next look, or the next stream, tells.
            return None, ()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stir.wait()
        except TimeoutError:
            return

    def _is_over(self, stream: RunStream) -> bool:
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

    def _end(self, streams: Sequence[RunStream]) -> None:
        for stream in streams:
            stream.ended = True
        if streams:
            stirred, self._stir = self._stir, asyncio.Event()
            stirred.set()


def frame_of(event: RunEvent) -> bytes:
    """One event."""
    data = msgspec.json.encode(event)
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.seq, event.type.encode(), data)
