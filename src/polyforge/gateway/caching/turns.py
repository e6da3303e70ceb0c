"""One call for whole answers to the same request that are asked for at once: the first makes it, the others wait.

Each gateway worker knows of its own requests only. Streams neither wait nor are waited for: who streams wants the first
words soon, and who reads slowly would hold the others up.
"""

import asyncio

import msgspec


class _Waiting(msgspec.Struct, eq=False):
    """Those who wait for an answer that another makes."""

    over: asyncio.Event
    through: bool = False
    """Whether it was made, or could not be; not where nobody waited for it to the end."""


class Turns:
    """The answers that are being made, by the keys under which they will be kept."""

    def __init__(self) -> None:
        self._under_way: dict[str, _Waiting | None] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, key: str) -> bool:
        """Whether it is one's turn to make an answer, which has to be ended; else another has it: `take` waits."""
        if key in self._under_way:
            return False
        self._under_way[key] = None
        return True

    async def take(self, key: str, seconds: float) -> bool:
        """The same, but once another is through, or takes too long, False.

        Where another gave up, one of those who waited has the turn, and the rest go on waiting.
        """
        try:
            async with asyncio.timeout(seconds):
                while key in self._under_way:
                    other = self._under_way[key] = self._under_way[key] or _Waiting(asyncio.Event())
                    await other.over.wait()
                    if other.through:
                        return False
        except TimeoutError:
            return False
        return self.begin(key)

    def end(self, key: str, *, through: bool) -> None:
        """Let the others go on: each to what was made if it was kept, or one of them to make it."""
        waiting = self._under_way.pop(key)
        if waiting is not None:
            waiting.through = through
            waiting.over.set()
