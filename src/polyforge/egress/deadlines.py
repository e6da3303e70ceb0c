"""A deadline that is cheap to move: the timer looks at the clock when it fires instead of being replaced per chunk."""

import asyncio
from types import TracebackType

from polyforge.kernel.errors import TimedOut

_LOOK_SECONDS = 1.0


class Deadline:
    """Ends the enclosed await with TimedOut once loop time `when` has passed. `when` may be moved meanwhile."""

    NEVER = float("inf")

    __slots__ = ("_fired", "_handle", "_loop", "_task", "message", "when")

    def __init__(self, when: float, message: str) -> None:
        self.when = when
        self.message = message
        self._loop = asyncio.get_running_loop()
        self._fired = False

    @staticmethod
    def now() -> float:
        """Loop time, in seconds."""
        return asyncio.get_running_loop().time()

    def pause(self) -> None:
        """Stop the clock until `when` is set again."""
        self.when = Deadline.NEVER

    def __enter__(self) -> "Deadline":
        self._task = asyncio.current_task(self._loop)
        self._handle = self._loop.call_at(self.when, self._check)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.cancel()
        if self._fired and self._task is not None:
            if self._task.uncancel() > 0 and kind is not None:
                return
            if kind is asyncio.CancelledError:
                raise TimedOut(self.message) from error

    def _check(self) -> None:
        if self._loop.time() < self.when:
            self._handle = self._loop.call_at(min(self.when, self._loop.time() + _LOOK_SECONDS), self._check)
        elif self._task is not None:
            self._fired = True
            self._task.cancel()
