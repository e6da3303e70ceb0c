"""The requests of one model that wait, and which of them go into the next run.

The most urgent level comes first, and in it the oldest work, whatever its length: so nothing starves in its level. With
it go those of the next oldest that are most like it in length, as long as the plan says that this pays.
"""

from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice

from polyforge.serving.plan import Plan
from polyforge.serving.work import Ticket, Waiting, Work

WINDOW = 64
"""How many of the oldest are looked at to fill a run."""


class _Level:
    """One level of priority: what waits in time, and what has waited too long and may run behind it."""

    __slots__ = ("delays", "in_time", "late", "requests")

    def __init__(self) -> None:
        self.in_time: Waiting = OrderedDict()
        self.late: Waiting = OrderedDict()
        self.requests = 0
        self.delays = False

    @property
    def oldest(self) -> Work | None:
        for queue in (self.in_time, self.late):
            for work in queue:
                return work
        return None

    def put_back_late(self, now: float) -> None:
        while self.delays:
            late = [work for work in islice(self.in_time, WINDOW) if work.ticket.late_at <= now]
            if not late:
                return
            for work in late:
                del self.in_time[work]
                self.late[work] = None
                work.queue = self.late


class _Batch:
    """What goes into one run, within `limit` rows and the plan's padded bytes; the first always does."""

    def __init__(self, plan: Plan, limit: int) -> None:
        self.works: list[Work] = []
        self._limit = limit
        self._max_bytes = plan.batch_bytes
        self._rows = 0
        self._longest = 0

    @property
    def full(self) -> bool:
        return bool(self.works) and self._rows >= self._limit

    def add(self, work: Work) -> bool:
        rows = self._rows + work.rows
        longest = max(self._longest, work.length)
        if self.works and (rows > self._limit or 0 < self._max_bytes < longest * rows):
            return False
        self.works.append(work)
        self._rows = rows
        self._longest = longest
        return True


class ModelQueue:
    """What waits for one model. `requests` and `rows` count it; a request in parts is one until its last part goes."""

    def __init__(self) -> None:
        self.requests = 0
        self.rows = 0
        self._levels: dict[int, _Level] = {}

    def __iter__(self) -> Iterator[Work]:
        """All work, the most urgent level first."""
        for number in sorted(self._levels):
            level = self._levels[number]
            yield from (*level.in_time, *level.late)

    @property
    def head(self) -> Work | None:
        """What goes next: the oldest of the most urgent level."""
        if not self._levels:
            return None
        number = min(self._levels) if len(self._levels) > 1 else next(iter(self._levels))
        return self._levels[number].oldest

    def waiting_at(self, level: int) -> int:
        """How many requests wait at a level of priority."""
        return self._levels[level].requests if level in self._levels else 0

    def put(self, ticket: Ticket) -> None:
        """Let all the work of a request wait."""
        level = self._levels.setdefault(ticket.level, _Level())
        for work in ticket.works:
            level.in_time[work] = None
            work.queue = level.in_time
            self.rows += work.rows
        ticket.waiting = len(ticket.works)
        level.delays = level.delays or ticket.late_at < float("inf")
        level.requests += 1
        self.requests += 1

    def remove(self, work: Work) -> bool:
        """Let work go that waits here; whether all of its request has gone with it."""
        if work.queue is None:
            raise RuntimeError("the work does not wait")
        del work.queue[work]
        work.queue = None
        self.rows -= work.rows
        ticket = work.ticket
        ticket.waiting -= 1
        if ticket.waiting:
            return False
        self.requests -= 1
        level = self._levels[ticket.level]
        level.requests -= 1
        if not level.requests:
            del self._levels[ticket.level]
        return True

    def choose(self, plan: Plan, now: float) -> list[Work]:
        """What goes into the next run; it waits until it is removed."""
        batch = _Batch(plan, self._rows_worth(plan))
        for number in sorted(self._levels) if len(self._levels) > 1 else self._levels:
            level = self._levels[number]
            level.put_back_late(now)
            if not (_fill(batch, level.in_time, plan) and _fill(batch, level.late, plan)):
                break
        return batch.works

    def _rows_worth(self, plan: Plan) -> int:
        """Rows of one run; of preferred sizes the largest that can be met."""
        return max((size for size in plan.preferred_rows if size <= self.rows), default=plan.batch_rows)


def _fill(batch: _Batch, queue: Waiting, plan: Plan) -> bool:
    """Whether there is room for more."""
    if not queue:
        return not batch.full
    if not batch.works:
        batch.add(next(iter(queue)))
    if batch.full:
        return False
    anchor = batch.works[0]
    window = [work for work in islice(queue, WINDOW) if work is not anchor]
    if not plan.keep_order and any(work.length != anchor.length for work in window):
        window.sort(key=lambda work: abs(work.length - anchor.length))
    return all(batch.add(work) for work in window)
