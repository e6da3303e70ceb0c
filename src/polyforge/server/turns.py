"""Turns for requests of the management API, so that many of them do not hold up those who wait for a model.

All of a process share one event loop. A hundred requests that are each ready for a millisecond's work make every
step of a model call wait for a tenth of a second.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from polyforge.kernel.errors import Unavailable

AT_ONCE: Final = 2
MOST_WAITING: Final = 1_000
HOLD_SECONDS: Final = 0.02
"""A request that takes longer waits for something else, mostly: it goes on, and its turn is the next one's."""


class Turns:
    """Who may be worked on now, in the order in which they came."""

    def __init__(
        self, at_once: int = AT_ONCE, most_waiting: int = MOST_WAITING, hold_seconds: float = HOLD_SECONDS
    ) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._most_waiting = most_waiting
        self._hold_seconds = hold_seconds
        self._waiting = 0

    @asynccontextmanager
    async def taken(self) -> AsyncGenerator[None]:
        """Wait for a turn, and have it while the block runs or until it is over; Unavailable when too many wait."""
        if self._waiting >= self._most_waiting:
            raise Unavailable(f"{self._waiting} requests wait already; try again shortly", retry_after=1.0)
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        turn = _Turn(self._places)
        timer = asyncio.get_running_loop().call_later(self._hold_seconds, turn.end)
        try:
            yield
        finally:
            timer.cancel()
            turn.end()


class _Turn:
    """A place that is given back once."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places: asyncio.Semaphore | None = places

    def end(self) -> None:
        """Give it back."""
        places, self._places = self._places, None
        if places is not None:
            places.release()
