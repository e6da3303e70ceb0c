"""When a budget period began, in UTC."""

from datetime import UTC, datetime, timedelta

from polyforge.tenancy.callers import Period


def period_bounds(period: Period, now: float) -> tuple[int, float]:
    """First second of the period that holds `now`, and the first second after it; (0, inf) for `total`."""
    if period == "total":
        return 0, float("inf")
    midnight = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        start, end = midnight, midnight + timedelta(days=1)
    elif period == "week":
        start = midnight - timedelta(days=midnight.weekday())
        end = start + timedelta(days=7)
    else:
        start = midnight.replace(day=1)
        end = (start + timedelta(days=32)).replace(day=1)
    return int(start.timestamp()), end.timestamp()


class PeriodClock:
    """Remembers the current period of each kind, because dates are dear and change once a day at most."""

    def __init__(self) -> None:
        self._known: dict[Period, tuple[int, float]] = {"total": (0, float("inf"))}

    def start(self, period: Period, now: float) -> int:
        """First second of the period that holds `now`; 0 for `total`."""
        known = self._known.get(period)
        if known is None or not known[0] <= now < known[1]:
            known = period_bounds(period, now)
            self._known[period] = known
        return known[0]

    def end(self, period: Period, now: float) -> float:
        """First second after the period that holds `now`."""
        self.start(period, now)
        return self._known[period][1]
