"""What rows of calls come to by minute and by latency, pure: for who watches the last hour, and yesterday at this time.

Latencies are kept as counts per step, so that a minute of a million calls takes as little room as one of ten: to the
millisecond below 40 ms, and in steps of at most 5 % above.
"""

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Final

from polyforge.tenancy.ledger.records import CORRECTION, REFUSED
from polyforge.tenancy.ledger_rows import FAILED, TYPES, Row
from polyforge.tenancy.tables import MINUTE_MEASURES

MINUTE_SECONDS: Final = 60
KEPT_MINUTES: Final = 26 * 60
"""A day, and what a look at the same time of yesterday may come late by."""
REFUSED_STEP: Final = -1
"""Of requests that never became calls."""
CORRECTION_STEP: Final = -2
"""Of corrections, which change what calls came to and are none."""

MINUTE_TYPES: Final = {
    "organization_id": "text",
    "project_id": "text",
    "minute": "integer",
    "step": "bigint",
    **dict.fromkeys(MINUTE_MEASURES, "bigint"),
}
"""The columns of a minute's step with their PostgreSQL types."""

_FINEST: Final = 40
_STEPS_PER_DOUBLING: Final = 20
_AT: Final = {name: index for index, name in enumerate(TYPES)}
_ORGANIZATION, _PROJECT, _STATUS = _AT["organization_id"], _AT["project_id"], _AT["status"]
_STARTED, _DURATION = _AT["started_at"], _AT["duration_ms"]
_TOKENS: Final = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
_SUMMED: Final = itemgetter(*(_AT[name] for name in ("duration_ms", *_TOKENS, "cost_micros", "price_micros")))
_NO_CALLS: Final = {REFUSED: REFUSED_STEP, CORRECTION: CORRECTION_STEP}


def step_of(milliseconds: int) -> int:
    """The lowest latency of the step that this one is in."""
    if milliseconds < _FINEST:
        return max(0, milliseconds)
    bits = (milliseconds // _STEPS_PER_DOUBLING).bit_length() - 1
    return milliseconds >> bits << bits


def middle_of(step: int) -> float:
    """What is told of a latency in this step, in milliseconds: it is off by 2.5 % at most."""
    if step < _FINEST:
        return float(step)
    width = 1 << (step // _STEPS_PER_DOUBLING).bit_length() - 1
    return step + (width - 1) / 2


def minutes_of(rows: Iterable[Row]) -> list[Row]:
    """What rows add to the steps of minutes, in the order of their keys, so that two writers cannot deadlock."""
    groups: dict[tuple[str, int, int], list[Row]] = {}
    for row in rows:
        status = row[_STATUS]
        step = step_of(row[_DURATION]) if status not in _NO_CALLS else _NO_CALLS[status]
        groups.setdefault((row[_PROJECT], int(row[_STARTED] // MINUTE_SECONDS), step), []).append(row)
    return [(groups[place][0][_ORGANIZATION], *place, *_measures(groups[place])) for place in sorted(groups)]


def _measures(rows: Sequence[Row]) -> tuple[int, ...]:
    """In the order of MINUTE_MEASURES, of rows of one step."""
    sums = [sum(column) for column in zip(*map(_SUMMED, rows), strict=True)]
    duration, fresh, read, written, output, cost, price = sums
    requests = 0 if rows[0][_STATUS] == CORRECTION else len(rows)
    failed = sum(row[_STATUS] in FAILED for row in rows)
    return requests, failed, duration, fresh + read + written, output, cost, price


def adding_minutes(source: str) -> str:
    """SQL that adds to minutes; `source` gives what, as `VALUES (...)` or a query."""
    columns = ", ".join(MINUTE_TYPES)
    adding = ", ".join(f"{name} = usage_minutes.{name} + excluded.{name}" for name in MINUTE_MEASURES)
    return (
        f"INSERT INTO usage_minutes ({columns}) {source} "  # constants
        f"ON CONFLICT (project_id, minute, step) DO UPDATE SET {adding}"
    )
