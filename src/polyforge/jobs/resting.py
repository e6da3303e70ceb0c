"""Jobs that only wait: what for, and when their worker lets go of them. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from polyforge.jobs.records import WaitingFor

KEPT: Final = 500
"""Waiting jobs that one worker holds on to; of more, it lets go of those that waited longest."""
KEPT_OF_PROJECT: Final = 100
"""Of them, those of one project."""
AT_ONCE: Final = 20
"""Jobs of which a worker lets go at a time, so that others can write meanwhile."""
SOON: Final = 5.0
"""Seconds; what is due by then is held on to, however many wait."""
_OFTEN: Final = 20
"""A job that was begun so often is held on to for longer: what it kept is read again each time."""


class Wait(msgspec.Struct, frozen=True):
    """One wait of a job."""

    waiting_for: WaitingFor
    until: float | None
    """When it is over by itself; None: it is not."""
    topic: str | None = None
    """A message on it ends it."""


class Rest(msgspec.Struct, frozen=True):
    """What a job waits for that does nothing else."""

    waiting_for: WaitingFor
    until: float | None
    """When the first of its waits is over by itself."""
    topics: tuple[str, ...]
    """A message on any of them is for it."""
    steps: tuple[str, ...]
    """The steps that wait for those messages."""


class Resting(msgspec.Struct, frozen=True):
    """A job that only waits, as its worker sees it."""

    job_id: str
    project_id: str
    run: int
    seconds: float
    """For how long."""
    until: float | None


def rest_of(waits: Mapping[str, Wait]) -> Rest:
    """What a job with these waits rests on, of which there is at least one."""
    told = {name: wait.topic for name, wait in waits.items() if wait.topic is not None}
    first, topics = next(iter(waits.values())), tuple(sorted(set(told.values())))
    return Rest(first.waiting_for, first_end(waits.values()), topics, tuple(told))


def first_end(waits: Iterable[Wait]) -> float | None:
    """When the first of them is over by itself; None: none is."""
    return min((wait.until for wait in waits if wait.until is not None), default=None)


def to_let_go(resting: Sequence[Resting], now: float, hold: float) -> list[str]:
    """The ids of those that nobody has to hold: that wait for long, and where many wait, those that waited longest."""
    left, of_project = len(resting), Counter(each.project_id for each in resting)
    chosen: list[str] = []
    for each in sorted(resting, key=lambda each: each.seconds, reverse=True):
        if len(chosen) == AT_ONCE:
            break
        many = left > KEPT or of_project[each.project_id] > KEPT_OF_PROJECT
        if each.until is not None and each.until - now < (SOON if many else hold):
            continue
        if many or each.seconds >= hold * (1 + each.run // _OFTEN):
            chosen.append(each.job_id)
            left -= 1
            of_project[each.project_id] -= 1
    return chosen
