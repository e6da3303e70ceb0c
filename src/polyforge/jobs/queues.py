"""Queues: their limits, and which of the jobs that are due go first. Pure."""

import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

QUEUE_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
RATE_SECONDS: Final = 60.0

Running = Mapping[tuple[str, str], int]
"""Running jobs by queue and project."""


class Queue(msgspec.Struct, frozen=True):
    """A queue's limits over all workers; None: no limit."""

    name: str
    running: int | None = None
    per_project: int | None = None
    per_minute: int | None = None


class Candidate(msgspec.Struct, frozen=True):
    """A job that is due."""

    id: str
    queue: str
    project_id: str
    rank: int
    run_after: float


def choose(
    candidates: Iterable[Candidate],
    running: Running,
    started: Mapping[str, int],
    queue_of: Callable[[str], Queue],
    room: int,
) -> list[str]:
    """The ids of up to `room` jobs to start now, in this order.

    By rank, then those of the project that has the fewest running, then by age; none beyond the limits of its queue.
    """
    lines = _lines(candidates)
    by_project: Counter[str] = Counter()
    by_queue: Counter[str] = Counter()
    by_both: Counter[tuple[str, str]] = Counter(dict(running))
    begun: Counter[str] = Counter(dict(started))
    for (queue, project), count in running.items():
        by_project[project] += count
        by_queue[queue] += count
    chosen: list[str] = []
    while len(chosen) < room:
        open_lines = [
            (line[0].rank, by_project[project], line[0].run_after, line[0].id, queue, project)
            for (queue, project), line in lines.items()
            if line and _has_room(queue_of(queue), by_queue[queue], by_both[queue, project], begun[queue])
        ]
        if not open_lines:
            break
        *_, queue, project = min(open_lines)
        chosen.append(lines[queue, project].popleft().id)
        by_project[project] += 1
        by_queue[queue] += 1
        by_both[queue, project] += 1
        begun[queue] += 1
    return chosen


def within(candidates: Iterable[Candidate], left: Callable[[str], int]) -> list[Candidate]:
    """Of each project only the first, as many as it has `left`."""
    taken: Counter[str] = Counter()
    found: list[Candidate] = []
    for candidate in sorted(candidates, key=_age):
        if taken[candidate.project_id] < left(candidate.project_id):
            taken[candidate.project_id] += 1
            found.append(candidate)
    return found


def _age(candidate: Candidate) -> tuple[int, float, str]:
    return candidate.rank, candidate.run_after, candidate.id


def _lines(candidates: Iterable[Candidate]) -> dict[tuple[str, str], deque[Candidate]]:
    """The candidates of each project in each queue, the first to go first."""
    lines: dict[tuple[str, str], deque[Candidate]] = defaultdict(deque)
    for candidate in sorted(candidates, key=_age):
        lines[candidate.queue, candidate.project_id].append(candidate)
    return lines


def _has_room(queue: Queue, running: int, of_project: int, started: int) -> bool:
    return not (
        _reached(queue.running, running)
        or _reached(queue.per_project, of_project)
        or _reached(queue.per_minute, started)
    )


def _reached(limit: int | None, count: int) -> bool:
    return limit is not None and count >= limit
