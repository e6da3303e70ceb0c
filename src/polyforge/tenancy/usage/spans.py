"""A span of time as whole days, whole hours and what is left over at its ends, pure.

Days and hours are summed up already; only the calls of the broken hours at both ends are looked at one by one, so that
any span costs about the same.
"""

from math import ceil, floor
from typing import Final, Literal, NamedTuple

from polyforge.tenancy.ledger_rows import DAY_SECONDS, HOUR_SECONDS

Kept = Literal["days", "hours", "calls"]
_FAR: Final = 253_402_300_800.0
"""The year 10000."""


class Part(NamedTuple):
    """What is kept of [start, end), in seconds since the epoch."""

    kept: Kept
    start: float
    end: float


def parts_of(since: float, until: float, *, hourly: bool) -> list[Part]:
    """The parts of [since, until), the earliest first; without `hourly`, days are taken where they are whole.

    But for the days, and for the hours where they are asked for, no part reaches over midnight.
    """
    found: list[Part] = []
    for start, end, whole in _cut(max(0.0, since), min(until, _FAR), HOUR_SECONDS):
        if not whole:
            found.append(Part("calls", start, end))
        elif hourly:
            found.append(Part("hours", start, end))
        else:
            found += [Part("days" if days else "hours", *edges) for *edges, days in _cut(start, end, DAY_SECONDS)]
    return found


def _cut(start: float, end: float, unit: int) -> list[tuple[float, float, bool]]:
    """The span as what comes before whole units, the whole units, and what comes after; empty ones are left out."""
    first, last = ceil(start / unit) * unit, floor(end / unit) * unit
    if last < first:
        return [(start, end, False)] if start < end else []
    cut = [(start, first, False), (first, last, True), (last, end, False)]
    return [each for each in cut if each[0] < each[1]]


def month_of(year: int, month: int) -> int:
    """Months since year 0."""
    return year * 12 + month - 1
