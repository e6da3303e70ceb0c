"""All SQL of usage."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Integer, RowMapping, Select, case, func, literal, select, tuple_

from polyforge.database.scopes import Scope, ScopedReader
from polyforge.database.sessions import ReadSession
from polyforge.tenancy.ledger.records import CORRECTION, REFUSED
from polyforge.tenancy.ledger_rows import ANSWERED, DAY_SECONDS, FAILED, HOUR_SECONDS
from polyforge.tenancy.tables import MEASURES, projects, usage_days, usage_hours, usage_records, usage_series
from polyforge.tenancy.usage.questions import UNITS, GroupBy, Question
from polyforge.tenancy.usage.spans import Part, month_of, parts_of
from polyforge.tenancy.usage.sums import Label, Traffic, UsageRow, Used

MAX_USAGE_ROWS: Final = 10_000
EXPORT_ROWS: Final = 5_000
_NAMES: Final[dict[GroupBy, str]] = {
    "project": "project_id",
    "key": "key_id",
    "user": "user_id",
    "end_user": "end_user",
    "model": "model",
    "provider": "provider",
    "deployment": "deployment",
    "task": "task",
    "tag": "tags",
}
"""From groups that are no time to the columns that hold them."""
_SUMMED: Final = {name: func.sum(usage_records.c[name]) for name in MEASURES if name in usage_records.c}
_OF_CALLS: Final = {
    "requests": func.sum(case((usage_records.c.status == CORRECTION, 0), else_=1)),
    "errors": func.sum(case((usage_records.c.status.in_(FAILED), 1), else_=0)),
    "answered": func.sum(case((usage_records.c.status.in_(ANSWERED), 1), else_=0)),
    "cached": func.sum(case((usage_records.c.cached != "", 1), else_=0)),
}


class UsageStore:
    """What the calls of one project, or of all projects of an organization, used."""

    def __init__(self, session: ReadSession, scope: Scope) -> None:
        self._calls = ScopedReader(session, scope, usage_records)
        self._hours = ScopedReader(session, scope, usage_hours)
        self._days = ScopedReader(session, scope, usage_days)
        self._projects = ScopedReader(session, Scope(scope.organization_id), projects)
        self._scope = scope

    async def sums(self, question: Question, since: float, until: float) -> list[UsageRow]:
        """Sums over calls that started in [since, until), sorted; not all when there are more than MAX_USAGE_ROWS.

        The group `tag` is not taken apart yet: its label is all tags of a call.
        """
        found: dict[tuple[Label, ...], Used] = {}
        for part in parts_of(since, until, hourly=question.unit == "hour"):
            for row in await self._sums_of(question, part, MAX_USAGE_ROWS + 1, None):
                known = found.get(row.labels)
                found[row.labels] = row.used if known is None else known + row.used
        return [UsageRow(labels, found[labels]) for labels in sorted(found)]

    async def traffic(self, since: float, until: float) -> list[Traffic]:
        """What calls that were answered in [since, until) used, by deployment; as above."""
        rows = await self.sums(Question(("provider", "deployment")), since, until)
        return [
            Traffic(str(row.labels[0]), str(row.labels[1]), row.used.answered, row.used.usage, row.used.cost_micros)
            for row in rows
            if row.labels[1]
        ]

    async def page(self, question: Question, part: Part, after: UsageRow | None) -> list[UsageRow]:
        """Up to EXPORT_ROWS sums of one part, in the order of their labels, after a row; the group `tag` as above."""
        return await self._sums_of(question, part, EXPORT_ROWS, after)

    async def project_names(self, ids: Sequence[str]) -> dict[str, str]:
        """Names by id."""
        if not ids:
            return {}
        columns = projects.c
        rows = await self._projects.all(columns.id, columns.name, refine=lambda query: query.where(columns.id.in_(ids)))
        return {row["id"]: row["name"] for row in rows}

    async def _sums_of(self, question: Question, part: Part, most: int, after: UsageRow | None) -> list[UsageRow]:
        groups = _groups(question, part)
        columns = list(groups.values())

        def refine(query: Select[Any]) -> Select[Any]:
            query = _within(query, part).where(*self._indexed(part), *_filters(question, part))
            if after is not None:
                values = [label for label, name in zip(after.labels, question.groups, strict=True) if name in groups]
                query = query.where(tuple_(*columns) > tuple_(*map(literal, values)))
            return query.group_by(*columns).order_by(*columns).limit(most)

        reader = {"calls": self._calls, "hours": self._hours, "days": self._days}[part.kept]
        named = [column.label(f"by_{name}") for name, column in groups.items()]
        rows = await reader.all(*named, *_measures(part), refine=refine)
        constant = _constant(question, part)
        # A sum over no rows at all is one row of NULL.
        return [_row_of(question, row, constant) for row in rows if row["requests"] is not None]

    def _indexed(self, part: Part) -> list[ColumnElement[bool]]:
        """What an index needs to find the calls of a whole organization, since calls are kept by project."""
        if part.kept != "calls" or self._scope.project_id is not None:
            return []
        own = select(projects.c.id).where(projects.c.organization_id == self._scope.organization_id)
        return [usage_records.c.project_id.in_(own)]


def _within(query: Select[Any], part: Part) -> Select[Any]:
    if part.kept == "calls":
        columns = usage_records.c
        within = query.where(columns.started_at >= part.start, columns.started_at < part.end)
        return within.where(columns.status != REFUSED)
    table, size = (usage_hours, HOUR_SECONDS) if part.kept == "hours" else (usage_days, DAY_SECONDS)
    span = _span(part)
    series = usage_series.c
    query = query.join(usage_series, (series.project_id == table.c.project_id) & (series.id == table.c.series_id))
    return query.where(span >= int(part.start // size), span < int(part.end // size))


def _span(part: Part) -> ColumnElement[int]:
    return usage_hours.c.hour if part.kept == "hours" else usage_days.c.day


def _column(part: Part, group: GroupBy) -> ColumnElement[str]:
    if part.kept == "calls":
        return usage_records.c[_NAMES[group]]
    return usage_series.c[_NAMES[group]]


def _groups(question: Question, part: Part) -> dict[GroupBy, ColumnElement[Any]]:
    """The columns to group by. The time is none of them where all of the part lies in the same unit of it."""
    groups: dict[GroupBy, ColumnElement[Any]] = {}
    for name in question.groups:
        if name not in UNITS:
            groups[name] = _column(part, name)
        elif (name, part.kept) in (("hour", "hours"), ("day", "days")):
            groups[name] = _span(part)
        elif part.kept == "days":
            groups[name] = _months(part)
    return groups


def _months(part: Part) -> ColumnElement[int]:
    """The month of a day, by where the months of the part begin."""
    last = datetime.fromtimestamp(part.end - 1, UTC)
    at = datetime.fromtimestamp(part.start, UTC).replace(day=1)
    begun: list[tuple[ColumnElement[bool], ColumnElement[int]]] = []
    while at <= last:
        following = (at + timedelta(days=32)).replace(day=1)
        is_before = usage_days.c.day < _written(int(following.timestamp() // DAY_SECONDS))
        begun.append((is_before, _written(month_of(at.year, at.month))))
        at = following
    return case(*begun)


def _written(number: int) -> ColumnElement[int]:
    """A number in the SQL itself: PostgreSQL takes two parameters for two expressions, and cannot group by them."""
    return literal(number, Integer, literal_execute=True)


def _constant(question: Question, part: Part) -> Label | None:
    """The label of the time of a part that lies in one unit of it."""
    if question.unit == "hour":
        return int(part.start // HOUR_SECONDS)
    if question.unit == "day":
        return int(part.start // DAY_SECONDS)
    at = datetime.fromtimestamp(part.start, UTC)
    return month_of(at.year, at.month)


def _filters(question: Question, part: Part) -> list[ColumnElement[bool]]:
    return [
        _tagged(_column(part, name), values) if name == "tag" else _column(part, name).in_(values)
        for name, values in question.filters.items()
    ]


def _tagged(column: ColumnElement[str], values: Sequence[str]) -> ColumnElement[bool]:
    """Whether one of the tags is among those of a call; not LIKE, which takes some characters for others."""
    listed = literal(",") + column + literal(",")
    misses = [func.replace(listed, f",{value},", "") == listed for value in values]
    return ~_all(misses)


def _all(conditions: Sequence[ColumnElement[bool]]) -> ColumnElement[bool]:
    result = conditions[0]
    for condition in conditions[1:]:
        result &= condition
    return result


def _measures(part: Part) -> list[ColumnElement[Any]]:
    if part.kept == "calls":
        sums = {**_SUMMED, **_OF_CALLS}
        return [sums[name].label(name) for name in MEASURES]
    table = usage_hours if part.kept == "hours" else usage_days
    return [func.sum(table.c[name]).label(name) for name in MEASURES]


def _row_of(question: Question, row: RowMapping, constant: Label | None) -> UsageRow:
    labels = tuple(row.get(f"by_{name}", constant) for name in question.groups)
    # PostgreSQL sums bigint into numeric.
    return UsageRow(labels, Used(*(int(row[name]) for name in MEASURES)))
