"""One call for whole answers to the same request that are asked for at once: the first makes it, the others wait.

Each gateway worker knows of its own requests only. Streams neither wait nor are waited for: who streams wants the first
words soon, and who reads slowly would hold the others up.
"""

import asyncio

import msgspec


class Turn(msgspec.Struct, eq=False):
    """An answer that is being made."""

    key: str
    over: asyncio.Event | None = None
    """Set at its end, where somebody waits."""
    through: bool = False
    """Whether it was made, or could not be; not where nobody waited for it to the end."""


class Turns:
    """The answers that are being made, by the keys under which they will be kept."""

    def __init__(self) -> None:
        self._under_way: dict[str, Turn] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, key: str) -> Turn | None:
        """The turn to make an answer, which has to be ended; None where another has it, as `take` waits for."""
        if key in self._under_way:
            return None
        made = self._under_way[key] = Turn(key)
        return made

    async def take(self, key: str, seconds: float) -> Turn | None:
        """The same, but once another is through, or takes too long, None.

        Where another gave up, one of those who waited has the turn, and the rest go on waiting.
        """
        try:
            async with asyncio.timeout(seconds):
                while (other := self._under_way.get(key)) is not None:
                    other.over = other.over or asyncio.Event()
                    await other.over.wait()
                    if other.through:
                        return None
        except TimeoutError:
            return None
        return self.begin(key)

    def end(self, turn: Turn, *, through: bool) -> None:
        """Let the others go on: each to what was made if it was kept, or one of them to make it."""
        del self._under_way[turn.key]
        turn.through = through
        if turn.over is not None:
            turn.over.set()
