"""Following one thing as server-sent events: what it wrote so far, what comes, and how it ended."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final

import msgspec

from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import PolyforgeError
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.streaming import CallerStream

MOST: Final = 200
MOST_PER_CALLER: Final = 10
LONGEST_SECONDS: Final = 300.0
HEARTBEAT_SECONDS: Final = 15.0
_RETRY_MILLISECONDS: Final = 1000
_SLOWER: Final = 1.5


class Seen(msgspec.Struct, frozen=True):
    """What came of a thing after a place."""

    frames: Sequence[bytes] = ()
    place: int = 0
    """That of the last of the frames."""
    state: str | None = None
    """How it stands, once nothing more comes after these."""


class Pace(msgspec.Struct, frozen=True):
    """How often somebody looks: ever more seldom where nothing comes, at once after a whole page."""

    first_seconds: float
    longest_seconds: float
    page: int


Look = Callable[[int], Awaitable[Seen]]
"""What came after a place, at most a page."""


class FollowedStream(CallerStream):
    """One reader of what happens to one thing, after the place that it has seen."""

    def __init__(self, caller: Caller, clock: Clock, thing_id: str, look: Look, pace: Pace, place: int) -> None:
        super().__init__(caller, clock, LONGEST_SECONDS)
        self.thing_id = thing_id
        self._look = look
        self._pace = pace
        self._place = place

    async def frames(self) -> AsyncGenerator[bytes]:
        """The stream as bytes: whole events, and comments where there are none for a while; at last `end`."""
        yield b"retry: %d\n\n" % _RETRY_MILLISECONDS
        said_at, pause = self._clock.monotonic(), self._pace.first_seconds
        while self.left() > 0:
            seen = await self._seen()
            if seen.frames:
                self._place, said_at, pause = seen.place, self._clock.monotonic(), self._pace.first_seconds
                yield b"".join(seen.frames)
            elif seen.state is not None:
                yield b"event: end\ndata: %b\n\n" % msgspec.json.encode({"state": seen.state})
                return
            elif self._clock.monotonic() - said_at >= HEARTBEAT_SECONDS:
                said_at = self._clock.monotonic()
                yield b": heartbeat\n\n"
            if len(seen.frames) < self._pace.page:
                await self.rest(pause)
                pause = min(pause * _SLOWER, self._pace.longest_seconds)

    async def _seen(self) -> Seen:
        try:
            return await self._look(self._place)
        except PolyforgeError:
            # The database is away, or the thing is: the next look, or the next stream, tells.
            return Seen()
