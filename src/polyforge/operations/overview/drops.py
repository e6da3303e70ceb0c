"""What was dropped lately: counters only rise, so what they were a while ago is remembered."""

from collections import deque
from collections.abc import Mapping
from typing import Final

from polyforge.kernel.clock import Clock
from polyforge.telemetry.aggregation import Totals
from polyforge.telemetry.families import (
    LOG_DROPPED,
    PAYLOADS_DROPPED,
    REFUSALS_DROPPED,
    REQUEST_LOG_REFUSED,
    TRACES_DROPPED,
    Family,
)

LATELY_SECONDS: Final = 900.0
_EVERY_SECONDS: Final = 60.0
_WATCHED: Final[Mapping[str, Family]] = {
    "log lines": LOG_DROPPED,
    "payloads of requests": PAYLOADS_DROPPED,
    "refused requests of the history": REFUSALS_DROPPED,
    "requests that a sink of the log refused": REQUEST_LOG_REFUSED,
    "traces": TRACES_DROPPED,
}


class Drops:
    """Compares with how it was up to LATELY_SECONDS ago; what was dropped before this process looked first is old."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, dict[str, float]]] = deque(maxlen=int(LATELY_SECONDS / _EVERY_SECONDS) + 2)

    def since_lately(self, totals: Totals) -> dict[str, int]:
        """How many of each were dropped; what lost none is left out."""
        now = self._clock.monotonic()
        counts = {name: sum(totals.get((family.name, ()), [0.0])) for name, family in _WATCHED.items()}
        while len(self._seen) > 1 and self._seen[1][0] <= now - LATELY_SECONDS:
            self._seen.popleft()
        if not self._seen or now - self._seen[-1][0] >= _EVERY_SECONDS:
            self._seen.append((now, counts))
        before = self._seen[0][1]
        return {name: int(count - before[name]) for name, count in counts.items() if count > before[name]}
