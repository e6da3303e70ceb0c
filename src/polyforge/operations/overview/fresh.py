"""What is found out at most so often, however many ask."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from polyforge.kernel.clock import Clock
from polyforge.tenancy.flights import Flights

Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")


class Fresh(Generic[Key, Found]):
    """Answers by key that are at most `seconds` old; the `most` that were asked for last. One look-up per key at once.

    A look-up that fails is not kept: the next caller looks again.
    """

    def __init__(self, noun: str, clock: Clock, seconds: float, most: int) -> None:
        self._clock = clock
        self._seconds = seconds
        self._most = most
        self._kept: OrderedDict[Key, tuple[float, Found]] = OrderedDict()
        self._flights: Flights[Key, Found] = Flights(noun, most)

    async def get(self, key: Key, look: Callable[[], Awaitable[Found]]) -> Found:
        """What `look` finds, or found a moment ago."""
        known = self._kept.get(key)
        if known is not None and self._clock.monotonic() - known[0] < self._seconds:
            return known[1]

        async def looking() -> Found:
            began = self._clock.monotonic()
            found = await look()
            self._keep(key, began, found)
            return found

        return await self._flights.join(key, looking)

    async def close(self) -> None:
        """Stop what is under way."""
        await self._flights.close()

    def _keep(self, key: Key, began: float, found: Found) -> None:
        self._kept[key] = began, found
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
