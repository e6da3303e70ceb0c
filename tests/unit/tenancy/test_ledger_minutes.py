"""What calls come to by minute: steps of latency that tell what was, and sums that are those of the calls."""

import random
from typing import Any

from polyforge.tenancy.ledger_minutes import CORRECTION_STEP, MINUTE_TYPES, REFUSED_STEP, middle_of, minutes_of, step_of
from polyforge.tenancy.ledger_rows import TYPES, Row, row_of
from tests.unit.tenancy.samples import record

AT = 28_333_334
"""A minute since the epoch."""


def test_what_a_step_tells_is_near_every_latency_in_it() -> None:
    dice = random.Random(3)
    edges = [0, 1, 39, 40, 41, 79, 80, 81, 83, 84, 159, 160, 163, 3_600_000]
    for latency in edges + [int(dice.expovariate(1 / 5_000)) for _ in range(1_000)]:
        step = step_of(latency)
        assert step <= latency
        assert step_of(step) == step
        assert abs(middle_of(step) - latency) <= 0.025 * latency


def test_a_longer_latency_is_never_in_a_lower_step() -> None:
    steps = [step_of(latency) for latency in range(20_000)]
    assert steps == sorted(steps)
    assert len(set(steps)) < 250


def test_a_clock_that_went_back_makes_no_step_of_its_own() -> None:
    assert step_of(-2) == 0


def test_calls_of_one_minute_and_step_are_one_row() -> None:
    quick = [row_of(record(started_at=AT * 60.0 + second, duration_ms=100 + second)) for second in (0, 1, 3)]
    failed = row_of(record(started_at=AT * 60.0 + 59.9, duration_ms=101, status="error"))
    later = row_of(record(started_at=AT * 60.0 + 60, duration_ms=100))
    found = minutes_of([*quick, failed, later])
    assert [(each["minute"], each["step"], each["requests"], each["errors"]) for each in map(named, found)] == [
        (AT, 100, 4, 1),
        (AT + 1, 100, 1, 0),
    ]
    assert (named(found[0])["duration_ms"], named(found[0])["price_micros"]) == (405, 200)


def test_what_is_no_call_has_a_step_of_its_own() -> None:
    refused = row_of(record(started_at=AT * 60.0, status="refused"))
    correction = list(row_of(record(started_at=AT * 60.0, duration_ms=0)))
    correction[list(TYPES).index("status")] = "correction"
    found = map(named, minutes_of([refused, tuple(correction)]))
    assert [(each["step"], each["requests"], each["price_micros"]) for each in found] == [
        (CORRECTION_STEP, 0, 50),
        (REFUSED_STEP, 1, 50),
    ]


def named(row: Row) -> dict[str, Any]:
    return dict(zip(MINUTE_TYPES, row, strict=True))
