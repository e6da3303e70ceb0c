"""Look-ups that one makes and many may wait for."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from polyforge.kernel.errors import Unavailable

Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")


class Flights(Generic[Key, Found]):
    """The look-ups that are under way: one for each key, and at most `most` of them, of what `noun` names."""

    def __init__(self, noun: str, most: int) -> None:
        self._noun = noun
        self._most = most
        self._under_way: dict[Key, asyncio.Task[Found]] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    async def join(self, key: Key, look: Callable[[], Coroutine[Any, Any, Found]]) -> Found:
        """What the look-up of a key finds, or raises; it begins unless one is under way.

        Who stops waiting stops nobody else's look-up. Unavailable when too many others are under way.
        """
        flight = self._under_way.get(key) or self._take_off(key, look)
        return await asyncio.shield(flight)

    async def close(self) -> None:
        """Let go of who still waits."""
        flights = list(self._under_way.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _take_off(self, key: Key, look: Callable[[], Coroutine[Any, Any, Found]]) -> asyncio.Task[Found]:
        if len(self._under_way) >= self._most:
            raise Unavailable(f"too many {self._noun} at once; try again", retry_after=1.0)
        flight = asyncio.create_task(look())
        self._under_way[key] = flight
        flight.add_done_callback(lambda done: self._land(key, done))
        return flight

    def _land(self, key: Key, flight: asyncio.Task[Found]) -> None:
        del self._under_way[key]
        if not flight.cancelled():
            flight.exception()  # Read here too, because whoever waited for it may have gone.
