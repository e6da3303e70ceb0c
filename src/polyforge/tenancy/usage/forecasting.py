"""What a month will come to, from the days before: pure.

The method: a day is the factor of its weekday times a straight line, plus chance. Of the last complete days, at most 56
and none before the first one with a call, the factor is the mean of such weekdays over the mean of all days, and the
line goes through them by least squares. With fewer than 14 days all factors are 1, and the line is level. The line
times the factors gives the days to come, none below zero; of today only the share that is left. The range holds the sum
of them in four of five cases, if chance is independent and normal: 1.282 standard errors of a sum of predictions
(Draper and Smith, Applied Regression Analysis, 3rd ed., chapter 3), with the line's own uncertainty.
"""

from collections.abc import Sequence
from math import sqrt
from statistics import fmean
from typing import Final, NamedTuple

MOST_DAYS: Final = 56
LEAST_DAYS: Final = 7
_LEAST_FOR_SHAPE: Final = 14
_WEEK: Final = 7
_QUANTILE: Final = 1.282
"""Of the normal distribution, for 80 % between both ends."""


class Expected(NamedTuple):
    """A sum over days to come, and between what it lies in four of five cases."""

    mean: float
    low: float
    high: float


class _Line(NamedTuple):
    level: float
    """At the middle of the days that it goes through."""
    slope: float
    middle: float
    weight: float
    """The sum of the squared factors of these days."""
    spread: float
    """The same, each times the squared distance of its day from the middle."""
    error: float
    """The standard deviation of chance."""

    def at(self, day: float) -> float:
        return self.level + self.slope * (day - self.middle)


def expected(values: Sequence[float], weekday: int, shares: Sequence[float]) -> Expected:
    """The sum over the days after `values`, of each as much as its share.

    `values` are of complete days in a row, the first of which is a `weekday` (0 to 6); at least LEAST_DAYS of them.
    `shares` are those of the following days, from 0 to 1.
    """
    by_weekday = _factors(values, weekday)
    count = len(values)
    factors = [by_weekday[(weekday + day) % _WEEK] for day in range(count + len(shares))]
    line = _line(values, factors[:count])
    coming = [
        (share, factor, day) for day, (share, factor) in enumerate(zip(shares, factors[count:], strict=True), count)
    ]
    mean = sum(share * factor * max(0.0, line.at(day)) for share, factor, day in coming)
    margin = _QUANTILE * _error_of_sum(line, coming)
    return Expected(mean, max(0.0, mean - margin), mean + margin)


def _factors(values: Sequence[float], weekday: int) -> list[float]:
    mean = fmean(values)
    if len(values) < _LEAST_FOR_SHAPE or mean <= 0:
        return [1.0] * _WEEK
    by_weekday = [values[(at - weekday) % _WEEK :: _WEEK] for at in range(_WEEK)]
    return [fmean(of_weekday) / mean for of_weekday in by_weekday]


def _line(values: Sequence[float], factors: Sequence[float]) -> _Line:
    weight = sum(factor**2 for factor in factors)
    days = list(enumerate(zip(values, factors, strict=True)))
    middle = sum(factor**2 * day for day, (_, factor) in days) / weight
    level = sum(factor * value for _, (value, factor) in days) / weight
    spread = sum((factor * (day - middle)) ** 2 for day, (_, factor) in days)
    sloped = len(values) >= _LEAST_FOR_SHAPE
    slope = sum(factor * value * (day - middle) for day, (value, factor) in days) / spread if sloped else 0.0
    strays = sum((value - factor * (level + slope * (day - middle))) ** 2 for day, (value, factor) in days)
    return _Line(level, slope, middle, weight, spread, sqrt(strays / (len(values) - (2 if sloped else 1))))


def _error_of_sum(line: _Line, coming: Sequence[tuple[float, float, int]]) -> float:
    """The standard error of a sum of predictions: of the days themselves, of the level, and of the slope."""
    own = sum(share**2 for share, _, _ in coming)
    level = sum(share * factor for share, factor, _ in coming) ** 2 / line.weight
    reach = sum(share * factor * (day - line.middle) for share, factor, day in coming)
    slope = reach**2 / line.spread if line.slope else 0.0
    return line.error * sqrt(own + level + slope)
