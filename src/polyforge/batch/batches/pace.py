"""How many calls batches make at once: as many as go through, and fewer while somebody waits for an answer.

It rises by one with every round of calls that went through, is halved when there was no room for one, and leaves the
place of each call that a person or a program waits for to that.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

_FIRST: Final = 4.0
_LOOK_SECONDS: Final = 0.25
_LONGEST_PAUSE: Final = 60.0
_SHORTEST_PAUSE: Final = 0.1


class Pace:
    """What all batches of one worker share. `most` calls at once; `others` says how many callers are being answered."""

    def __init__(self, most: int, others: Callable[[], int], monotonic: Callable[[], float]) -> None:
        self._most = most
        self._others = others
        self._monotonic = monotonic
        self._limit = min(float(most), _FIRST)
        self._running = 0
        self._quiet_until = 0.0
        self._halved_at = float("-inf")
        self._changed = asyncio.Event()

    @property
    def allowed(self) -> int:
        """Calls that may run at once now; always one, so that a batch ends also where there is no rest."""
        return max(1, int(self._limit) - self._others())

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None]:
        """Wait for a place, and hold it."""
        while self._running >= self.allowed or self._monotonic() < self._quiet_until:
            self._changed.clear()
            rest = max(_SHORTEST_PAUSE, self._quiet_until - self._monotonic())
            with suppress(TimeoutError):
                async with asyncio.timeout(min(_LOOK_SECONDS, rest)):
                    await self._changed.wait()
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self._changed.set()

    def went_through(self) -> None:
        """A call was answered."""
        self._limit = min(float(self._most), self._limit + 1.0 / self._limit)

    def no_room(self, wait: float | None) -> float:
        """A call was refused because there were too many; how long to leave it alone."""
        now = self._monotonic()
        pause = min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, 1.0 if wait is None else wait))
        # Calls that were refused together say one thing, not many.
        if now - self._halved_at >= _LOOK_SECONDS:
            self._halved_at = now
            self._limit = max(1.0, self._limit / 2)
        self._quiet_until = max(self._quiet_until, now + min(pause, _LOOK_SECONDS))
        return pause
