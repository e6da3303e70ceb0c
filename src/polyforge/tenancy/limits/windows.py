"""How long a limit lasts before it starts again, in UTC; weeks begin on Monday.

Windows of the calendar begin at the same moment for everybody. `minute` and `rolling:<seconds>` have no beginning: they
hold in every span of that length, counted in twelfths.
"""

import re
from functools import lru_cache
from typing import Final

from polyforge.tenancy.callers import Period
from polyforge.tenancy.periods import PeriodClock

NEVER: Final = float("inf")
MICROS: Final = 1_000_000
"""Windows are named by their first microsecond, so that one which was started again has a name of its own."""
CALENDAR: Final = ("hour", "day", "week", "month", "total")
MINUTE: Final = "minute"
SHORTEST_ROLLING: Final = 60
LONGEST_ROLLING: Final = 30 * 86_400
_ROLLING: Final = re.compile(r"rolling:([1-9][0-9]{0,7})")
_PERIODS: Final[dict[str, Period]] = {"day": "day", "week": "week", "month": "month", "total": "total"}
_HOUR: Final = 3600


def check_window(text: str) -> str:
    """A window as it is written; ValueError when there is no such one."""
    if text in CALENDAR or text == MINUTE:
        return text
    rolling = _ROLLING.fullmatch(text)
    if rolling is None:
        raise ValueError(f"must be one of minute, {', '.join(CALENDAR)}, rolling:<seconds>")
    if not SHORTEST_ROLLING <= int(rolling[1]) <= LONGEST_ROLLING:
        raise ValueError(f"must roll over {SHORTEST_ROLLING} to {LONGEST_ROLLING} seconds")
    return text


@lru_cache(maxsize=1024)
def rolling_seconds(window: str) -> int:
    """How long a window is that has no beginning; 0 for those of the calendar."""
    if window == MINUTE:
        return 60
    rolling = _ROLLING.fullmatch(window)
    return int(rolling[1]) if rolling else 0


def window_start(window: str, now: float) -> float:
    """When the usage began that counts now; 0 for `total`."""
    seconds = rolling_seconds(window)
    return max(0.0, now - seconds) if seconds else float(WindowClock().start(window, now))


def window_end(window: str, now: float) -> float:
    """When it starts again; of a window that rolls, when all that was used so far is forgotten."""
    seconds = rolling_seconds(window)
    return now + seconds if seconds else WindowClock().end(window, now)


class WindowClock:
    """Remembers the current windows of the calendar, because dates are dear and change once an hour at most."""

    def __init__(self) -> None:
        self._periods = PeriodClock()
        self._hour = 0

    def start(self, window: str, now: float) -> int:
        """First second of the window that holds `now`; 0 for `total`."""
        if window == "hour":
            if not self._hour <= now < self._hour + _HOUR:
                self._hour = int(now // _HOUR) * _HOUR
            return self._hour
        return self._periods.start(_PERIODS[window], now)

    def end(self, window: str, now: float) -> float:
        """First second after the window that holds `now`; infinite for `total`."""
        if window == "hour":
            return float(self.start(window, now) + _HOUR)
        return self._periods.end(_PERIODS[window], now)
