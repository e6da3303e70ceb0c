"""Usage and cost, on behalf of a caller: of its project, or of its whole organization."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.database.sessions import ReadSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Invalid
from polyforge.kernel.money import Micros
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.ledger_rows import DAY_SECONDS
from polyforge.tenancy.store import KeyStore
from polyforge.tenancy.usage.forecasting import LEAST_DAYS, MOST_DAYS, Expected, expected
from polyforge.tenancy.usage.questions import GroupBy, Question
from polyforge.tenancy.usage.spans import Part
from polyforge.tenancy.usage.store import EXPORT_ROWS, MAX_USAGE_ROWS, UsageStore
from polyforge.tenancy.usage.sums import (
    NOTHING_USED,
    Traffic,
    UsageRow,
    UsageSummary,
    Used,
    by_tag,
    total,
)

DEFAULT_USAGE_SECONDS: Final = 30 * DAY_SECONDS
MOST_EXPORTED_DAYS: Final = 3_660
_EXPORTED_TOGETHER: Final = {"hour": 1, "day": 31}
"""Days whose sums are read together, by the unit of time."""


class MonthForecast(msgspec.Struct, frozen=True):
    """What the current month, in UTC, will come to; money in micro-USD."""

    start: float
    now: float
    end: float
    days: int
    """Complete days that it goes by."""
    so_far: Used
    cost: Expected | None
    """Together with what there is so far; None where there are too few days."""
    price: Expected | None


class UsageService:
    """Answers what calls used. `whole` asks for all projects of the caller's organization."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def report(
        self,
        caller: Caller,
        question: Question,
        since: datetime | None,
        until: datetime | None,
        *,
        limit: int = MAX_USAGE_ROWS,
        start: int = 0,
        whole: bool = False,
    ) -> UsageSummary:
        """Sums over the calls that started in [since, until), by default the 30 days up to now; a page of them."""
        begin, end = self._span(since, until)
        scope = _scope(caller, whole)
        async with self._database.read(scope) as session:
            store = UsageStore(session, scope)
            rows = await store.sums(question, begin, self._reach(until))
            # Taking tags apart may leave fewer groups than were summed, of which some are missing then.
            summed, totals, rows = len(rows), total(rows), _apart(rows, question)
            if max(summed, len(rows)) > MAX_USAGE_ROWS:
                raise Invalid(f"more than {MAX_USAGE_ROWS} groups; narrow the time or group by less", param="group_by")
            page = rows[start : start + limit]
            key_names = await _key_names(session, scope, _labels_of(page, question, "key"))
            project_names = await store.project_names(_labels_of(page, question, "project"))
        following = start + limit if len(rows) > start + limit else None
        return UsageSummary(begin, end, page, totals, key_names, project_names, following)

    async def traffic(
        self, caller: Caller, since: datetime | None, until: datetime | None
    ) -> tuple[float, float, list[Traffic]]:
        """What calls used, by deployment, over such a span, which is answered too."""
        begin, end = self._span(since, until)
        async with self._database.read(_scope(caller)) as session:
            rows = await UsageStore(session, _scope(caller)).traffic(begin, self._reach(until))
        if len(rows) > MAX_USAGE_ROWS:
            raise Invalid(f"more than {MAX_USAGE_ROWS} deployments; narrow the time", param="since")
        return begin, end, rows

    async def forecast(self, caller: Caller, question: Question, *, whole: bool = False) -> MonthForecast:
        """What the current month will come to, of the calls that the question is about; its groups do not matter."""
        now = self._clock.now()
        today = int(now // DAY_SECONDS)
        month = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        end = (month + timedelta(days=32)).replace(day=1).timestamp()
        scope = _scope(caller, whole)
        daily, plain = (msgspec.structs.replace(question, groups=groups) for groups in (("day",), ()))
        async with self._database.read(scope) as session:
            store = UsageStore(session, scope)
            rows = await store.sums(daily, (today - MOST_DAYS) * DAY_SECONDS, today * DAY_SECONDS)
            so_far = total(await store.sums(plain, month.timestamp(), self._reach(None)))
        by_day = {int(row.labels[0]): row.used for row in rows}
        first = min(by_day, default=today)
        days = [by_day.get(day, NOTHING_USED) for day in range(first, today)]
        # The rest of today, and every whole day after it.
        shares = [1 - now % DAY_SECONDS / DAY_SECONDS] + [1.0] * (int(end // DAY_SECONDS) - today - 1)
        weekday = datetime.fromtimestamp(first * DAY_SECONDS, UTC).weekday()
        costs = _expected([used.cost_micros for used in days], weekday, shares, so_far.cost_micros)
        prices = _expected([used.price_micros for used in days], weekday, shares, so_far.price_micros)
        return MonthForecast(month.timestamp(), now, end, len(days), so_far, costs, prices)

    def export(
        self,
        caller: Caller,
        question: Question,
        since: datetime | None,
        until: datetime | None,
        *,
        whole: bool = False,
    ) -> AsyncIterator[list[UsageRow]]:
        """All sums by hour or by day, some at a time, over the whole days that [since, until) touches.

        The group `tag` stands for all tags of a call together, so that every call is in one row.
        """
        if question.unit not in _EXPORTED_TOGETHER:
            raise Invalid("an export goes by hour or by day", param="group_by")
        begin, _ = self._span(since, until)
        first, last = int(begin // DAY_SECONDS), int(-(-self._reach(until) // DAY_SECONDS))
        if last - first > MOST_EXPORTED_DAYS:
            raise Invalid(f"spans more than {MOST_EXPORTED_DAYS} days", param="since")
        return self._pages(_scope(caller, whole), question, first, last)

    async def _pages(self, scope: Scope, question: Question, first: int, last: int) -> AsyncIterator[list[UsageRow]]:
        step = _EXPORTED_TOGETHER[question.unit or "day"]
        kept = "hours" if question.unit == "hour" else "days"
        for day in range(first, last, step):
            part = Part(kept, day * DAY_SECONDS, min(day + step, last) * DAY_SECONDS)
            after: UsageRow | None = None
            while True:
                async with self._database.read(scope) as session:
                    rows = await UsageStore(session, scope).page(question, part, after)
                if rows:
                    yield rows
                if len(rows) < EXPORT_ROWS:
                    break
                after = rows[-1]

    def _span(self, since: datetime | None, until: datetime | None) -> tuple[float, float]:
        end = max(0.0, until.timestamp() if until else self._clock.now())
        start = max(0.0, since.timestamp() if since else end - DEFAULT_USAGE_SECONDS)
        if start > end:
            raise Invalid("must not be later than `until`", param="since")
        return start, end

    def _reach(self, until: datetime | None) -> float:
        """Up to when to look. No call has begun after now, so that up to now is as far as the end of the day."""
        midnight = (self._clock.now() // DAY_SECONDS + 1) * DAY_SECONDS
        return min(max(0.0, until.timestamp()), midnight) if until else midnight


def _scope(caller: Caller, whole: bool = False) -> Scope:
    return Scope(caller.organization_id, None if whole else caller.project_id)


def _apart(rows: list[UsageRow], question: Question) -> list[UsageRow]:
    return by_tag(rows, question.groups.index("tag"), question.tag) if "tag" in question.groups else rows


def _labels_of(rows: list[UsageRow], question: Question, group: GroupBy) -> list[str]:
    if group not in question.groups:
        return []
    place = question.groups.index(group)
    return sorted({str(row.labels[place]) for row in rows})


async def _key_names(session: ReadSession, scope: Scope, ids: list[str]) -> dict[str, str]:
    return await KeyStore(session, scope).names(ids) if ids else {}


def _expected(values: list[Micros], weekday: int, shares: list[float], so_far: Micros) -> Expected | None:
    if len(values) < LEAST_DAYS:
        return None
    return Expected(*(so_far + amount for amount in expected(values, weekday, shares)))
