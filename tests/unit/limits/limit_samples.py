"""Limits and their counters for tests."""

from pathlib import Path
from typing import Any

from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID
from polyforge.tenancy.limits.counters import Counter, LimitCounters, Start, counter_of
from polyforge.tenancy.limits.lanes import LanedCounters
from polyforge.tenancy.limits.records import Limit
from polyforge.tenancy.limits.windows import MICROS, window_start

NOW = 1_700_000_040.0
"""A moment 0 seconds into a minute, 14 minutes into an hour."""
PROJECT = "0000000000000000000000000P"


def limit(**changes: Any) -> Limit:
    """Ten requests of one project a day."""
    values: dict[str, Any] = {
        "id": "0000000000000000000000000L",
        "name": "sample",
        "organization_id": DEFAULT_ORGANIZATION_ID,
        "project_id": None,
        "subject": "project",
        "subject_id": PROJECT,
        "measure": "requests",
        "amount": 10,
        "window": "day",
        "thresholds": (),
        "hard": True,
    }
    return Limit(**{**values, **changes})


def opened(folder: Path, worker: int = 0, workers: int = 1, incarnation: int = 1) -> LimitCounters:
    """The counters of one worker."""
    counters = LanedCounters(folder / "counters", worker, workers, 64)
    counters.open(incarnation)
    counters.live()
    return counters


def begun(counters: LimitCounters, rule: Limit, used: int = 0, now: float = NOW, subject_id: str = PROJECT) -> Counter:
    """The counter of a limit, of which so much was used before."""
    counter = counter_of(rule, subject_id)
    if not counters.attach(counter):
        start = 0 if counter.tick_seconds or not rule.window else int(window_start(rule.window, now) * MICROS)
        counters.begin(counter, Start(start, used), now)
    return counter
