"""Budget periods in UTC."""

from datetime import UTC, datetime

import pytest

from polyforge.tenancy.callers import Period
from polyforge.tenancy.periods import PeriodClock, period_bounds


def at(*when: int) -> float:
    return datetime(*when, tzinfo=UTC).timestamp()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        ("day", (2026, 12, 31), (2027, 1, 1)),
        ("week", (2026, 12, 28), (2027, 1, 4)),
        ("month", (2026, 12, 1), (2027, 1, 1)),
    ],
)
def test_bounds(period: Period, start: tuple[int, ...], end: tuple[int, ...]) -> None:
    assert period_bounds(period, at(2026, 12, 31, 23, 59)) == (at(*start), at(*end))


def test_the_clock_notices_midnight() -> None:
    clock = PeriodClock()
    assert clock.start("day", at(2026, 1, 1, 23)) == at(2026, 1, 1)
    assert clock.start("day", at(2026, 1, 2)) == at(2026, 1, 2)
    assert clock.start("total", at(2026, 1, 2)) == 0
