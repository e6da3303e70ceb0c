"""When to start a process again that has ended."""

from collections import deque

WINDOW_SECONDS = 10.0
AT_ONCE = 5
FIRST_DELAY = 0.25
LONGEST_DELAY = 10.0


class RestartPolicy:
    """At once, until it ends more than five times in ten seconds or fails to start five times in a row.

    A process that fails to start again and again is left alone for longer each time; one that gets ready and is then
    killed is started after a moment, however often that happens.
    """

    def __init__(self) -> None:
        self._ends: deque[float] = deque(maxlen=AT_ONCE + 1)
        self.failed_starts = 0
        """How many times in a row it has ended without getting ready."""

    def ready(self) -> None:
        """The process serves."""
        self.failed_starts = 0

    def ended(self, now: float, *, was_ready: bool) -> float:
        """Seconds to wait before starting it again."""
        self._ends.append(now)
        if not was_ready:
            self.failed_starts += 1
        often = len(self._ends) > AT_ONCE and now - self._ends[0] < WINDOW_SECONDS
        if not often and self.failed_starts <= AT_ONCE:
            return 0.0
        doublings = max(0, self.failed_starts - AT_ONCE - 1)
        return min(LONGEST_DELAY, FIRST_DELAY * 2**doublings)
