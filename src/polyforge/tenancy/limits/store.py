"""All SQL of limits.

`LimitStore` and `LimitEditor` are built for an organization. `SystemLimits` is for what happens before or behind a
caller: following limits, and what counters begin with.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    FromClause,
    RowMapping,
    Select,
    and_,
    case,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)

from polyforge.database.counting import take_number
from polyforge.database.scopes import Scope, ScopedReader, ScopedWriter
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.kernel.errors import NotFound
from polyforge.kernel.ids import encode
from polyforge.tenancy.ledger.records import CORRECTION, REFUSED
from polyforge.tenancy.limits.records import Limit, LimitState, SubjectKind
from polyforge.tenancy.limits.tables import limit_states, limits
from polyforge.tenancy.limits.windows import NEVER
from polyforge.tenancy.people.tables import group_members, groups
from polyforge.tenancy.tables import (
    api_keys,
    daily_usage,
    hourly_usage,
    organizations,
    projects,
    usage_corrections,
    usage_records,
)

MOST_LIMITS: Final = 50_000
"""More than anybody has; a bound on what one process reads."""
_GENERATION: Final = "limits"
_HOUR: Final = 3600
_DAY: Final = 86_400
_ID_SLACK: Final = 3600
"""Seconds by which the id of a call, which its request had from the start, may be older than the call."""
_COLUMN_OF: Final[Mapping[SubjectKind, str]] = {
    "organization": "organization_id",
    "project": "project_id",
    "user": "user_id",
    "key": "key_id",
    "model": "model",
    "provider": "provider",
    "end_user": "end_user",
}


class LimitStore:
    """The limits of one organization."""

    def __init__(self, session: ReadSession, scope: Scope) -> None:
        self._limits = ScopedReader(session, scope, limits)
        self._states = ScopedReader(session, scope, limit_states)
        self._places = {
            "project": ScopedReader(session, scope, projects),
            "group": ScopedReader(session, scope, groups),
            "key": ScopedReader(session, scope, api_keys),
        }

    async def get(self, limit_id: str) -> Limit:
        """One limit; NotFound when the organization has none with this id."""
        found = await self.find(limit_id)
        if found is None:
            raise no_such_limit(limit_id)
        return found

    async def find(self, limit_id: str) -> Limit | None:
        """One limit, None when the organization has none with this id."""
        row = await self._limits.first(refine=lambda query: query.where(limits.c.id == limit_id))
        return _limit_of(row) if row else None

    async def named(self, name: str) -> Limit | None:
        """The limit of this name."""
        row = await self._limits.first(refine=lambda query: query.where(limits.c.name == name))
        return _limit_of(row) if row else None

    async def page(self, limit: int, before: str | None, measure: str | None) -> list[Limit]:
        """Up to `limit` limits, newest first, older than the id `before`."""

        def refine(query: Select[Any]) -> Select[Any]:
            query = query if before is None else query.where(limits.c.id < before)
            query = query if measure is None else query.where(limits.c.measure == measure)
            return query.order_by(limits.c.id.desc()).limit(limit)

        return [_limit_of(row) for row in await self._limits.all(refine=refine)]

    async def count(self) -> int:
        """How many the organization has."""
        row = await self._limits.first(func.count().label("count"))
        return row["count"] if row else 0

    async def has(self, kind: str, id_: str) -> bool:
        """Whether the organization has this project, group or key; of other kinds of subjects nobody keeps a list."""
        place = self._places.get(kind)
        if place is None:
            return True
        found = {"project": projects, "group": groups, "key": api_keys}[kind].c.id
        return await place.first(found, refine=lambda query: query.where(found == id_)) is not None


class LimitEditor(LimitStore):
    """The same limits, to be changed. Call `lock` first: changes of limits go one after the other."""

    def __init__(self, session: WriteSession, scope: Scope) -> None:
        super().__init__(session, scope)
        self._session = session
        self._organization_id = scope.organization_id
        self._rows = ScopedWriter(session, scope, limits)

    async def lock(self) -> None:
        """Wait until nobody else changes the organization's limits, and keep it so until this transaction ends."""
        mine = select(organizations.c.id).where(organizations.c.id == self._organization_id)
        await self._session.first(mine.with_for_update(key_share=True))

    async def add(self, values: Mapping[str, Any]) -> Limit:
        """A new limit."""
        await self._rows.insert(values)
        return await self.get(values["id"])

    async def change(self, limit_id: str, values: Mapping[str, Any]) -> Limit:
        """The limit after the change."""
        await self._rows.update(limits.c.id == limit_id, values)
        return await self.get(limit_id)

    async def remove(self, limit_id: str) -> None:
        """Take a limit away, with what was done to it."""
        await self._rows.delete(limits.c.id == limit_id)
        await self._session.change(delete(limit_states).where(limit_states.c.limit_id == limit_id))


class SystemLimits:
    """Limits of every tenant, for the processes that hold to them; never for answering a caller."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def all(self) -> list[Limit]:
        """Every limit that is not declared."""
        rows = await self._session.all(select(limits).order_by(limits.c.id).limit(MOST_LIMITS))
        return [_limit_of(row) for row in rows]

    async def states(self, limit_ids: Sequence[str] | None = None) -> list[LimitState]:
        """What was done to these limits, or to all."""
        query = select(limit_states).order_by(limit_states.c.version.desc()).limit(MOST_LIMITS)
        if limit_ids is not None:
            query = query.where(limit_states.c.limit_id.in_(limit_ids))
        return [_state_of(row) for row in await self._session.all(query)]

    async def state(self, limit_id: str, subject_id: str) -> LimitState | None:
        """What was done to a limit for one subject."""
        columns = limit_states.c
        query = select(limit_states).where(columns.limit_id == limit_id, columns.subject_id == subject_id)
        row = await self._session.first(query)
        return _state_of(row) if row else None

    async def used(self, limit: Limit, subject_id: str, since: float) -> int:
        """What the ledger says was used of a limit by calls that began at `since` or later, corrections included.

        Whole hours and days are summed up already; only the beginning of a broken hour is looked for call by call.
        """
        if since <= 0:
            return await self._sum(daily_usage, limit, subject_id, [])
        hour = -int(-since // _HOUR)
        whole = await self._sum(hourly_usage, limit, subject_id, [hourly_usage.c.hour >= hour])
        if hour * _HOUR == since:
            return whole
        columns = usage_records.c
        broken = [columns.started_at >= since, columns.started_at < hour * _HOUR, columns.id >= _id_before(since)]
        return whole + await self._sum(usage_records, limit, subject_id, broken)

    async def spans(self, limit: Limit, subject_id: str, edges: Sequence[float]) -> list[int]:
        """The same between each two of the moments that follow each other; spans of hours go by whole hours."""
        hourly = edges[-1] - edges[0] >= _HOUR * len(edges)
        table = hourly_usage if hourly else usage_records
        moment = (hourly_usage.c.hour + 1) * _HOUR - 1 if hourly else usage_records.c.started_at
        spans = list(pairwise(edges))
        sums = [
            _amount(table, limit, and_(moment >= start, moment < end)).label(f"span{place}")
            for place, (start, end) in enumerate(spans)
        ]
        query = select(*sums).where(moment >= edges[0], *_counted(table, limit, subject_id))
        if not hourly:
            query = query.where(usage_records.c.id >= _id_before(edges[0]))
        row = await self._session.first(query)
        return [int(row[f"span{place}"] or 0) if row else 0 for place in range(len(spans))]

    async def corrected(self, limit: Limit, subject_id: str, since: float) -> int:
        """What corrections of such calls come to; only money is corrected."""
        if limit.measure != "money":
            return 0
        joined = usage_corrections.join(usage_records, usage_records.c.id == usage_corrections.c.id)
        query = select(func.sum(usage_records.c.price_micros)).select_from(joined)
        query = query.where(usage_records.c.started_at >= since, *_counted(usage_records, limit, subject_id))
        return int(await self._session.scalar(query) or 0)

    async def by_subject(self, limit: Limit, since: float, most: int) -> list[tuple[str, int]]:
        """Who used most of a limit that each subject has for itself, by the ledger; from `since` on, by the hour."""
        if limit.subject == "group":
            return []
        column = hourly_usage.c[_COLUMN_OF[limit.subject]]
        used = _amount(hourly_usage, limit)
        query = select(column.label("subject"), used.label("used")).where(hourly_usage.c.hour >= int(since // _HOUR))
        query = query.where(column != "", *_counted(hourly_usage, limit, None))
        query = query.group_by(column).order_by(used.desc(), column).limit(most)
        return [(row["subject"], int(row["used"] or 0)) for row in await self._session.all(query)]

    async def _sum(self, table: FromClause, limit: Limit, subject_id: str, where: Sequence[ColumnElement[bool]]) -> int:
        query = select(_amount(table, limit)).select_from(table).where(*where, *_counted(table, limit, subject_id))
        return int(await self._session.scalar(query) or 0)


class SystemLimitEditor(SystemLimits):
    """What was done to limits, to be changed."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._writer = session

    async def lock(self) -> int:
        """Wait until nobody else changes states, keep it so until the end, and take the next version."""
        return await take_number(self._writer, _GENERATION)

    async def put(self, state: LimitState, organization_id: str | None) -> None:
        """Set the state of a limit for a subject. Needs the lock."""
        columns = limit_states.c
        until = None if state.extra_until == NEVER else state.extra_until
        values = {"reset_at": state.reset_at, "extra": state.extra, "extra_until": until, "version": state.version}
        here = update(limit_states).where(columns.limit_id == state.limit_id, columns.subject_id == state.subject_id)
        if not await self._writer.change(here.values(values)):
            whose = {"limit_id": state.limit_id, "subject_id": state.subject_id, "organization_id": organization_id}
            await self._writer.change(insert(limit_states).values({**values, **whose}))


def no_such_limit(limit_id: str) -> NotFound:
    """What is said of a limit that does not exist or belongs to somebody else."""
    return NotFound(f"there is no limit {limit_id[:40]!r}")


def _amount(table: FromClause, limit: Limit, among: ColumnElement[bool] | None = None) -> ColumnElement[Any]:
    """What calls come to in what the limit measures, those `among` them that are asked for."""
    amount = _worth(table, limit)
    return func.sum(amount if among is None else case((among, amount), else_=0))


def _worth(table: FromClause, limit: Limit) -> ColumnElement[Any]:
    columns = table.c
    if limit.measure == "money":
        return columns.price_micros
    if limit.measure == "tokens":
        return columns.input_tokens + columns.cache_read_tokens + columns.cache_write_tokens + columns.output_tokens
    return literal(1) if table is usage_records else columns.requests


def _counted(table: FromClause, limit: Limit, subject_id: str | None) -> list[ColumnElement[bool]]:
    """Which calls count for a limit; with a subject, for this one."""
    columns = table.c
    conditions: list[ColumnElement[bool]] = []
    if limit.organization_id is not None:
        conditions.append(columns.organization_id == limit.organization_id)
    if limit.project_id is not None:
        conditions.append(columns.project_id == limit.project_id)
    if limit.measure == "requests" and table is usage_records:
        conditions.append(columns.status.not_in((CORRECTION, REFUSED)))
    if limit.measure == "tokens":
        # Of a call that nobody answered, the tokens are those of an answer that was kept: they were used by another.
        conditions.append(columns.provider != "")
    if subject_id is None:
        return conditions
    if limit.subject == "group":
        theirs = select(group_members.c.user_id).where(group_members.c.group_id == subject_id)
        return [*conditions, columns.user_id.in_(theirs)]
    return [*conditions, columns[_COLUMN_OF[limit.subject]] == subject_id]


def _id_before(moment: float) -> str:
    """An id that no call which began then or later is below."""
    return encode(max(0, int((moment - _ID_SLACK) * 1000)) << 80)


def _limit_of(row: RowMapping) -> Limit:
    values: dict[str, Any] = {**row, "thresholds": tuple(row["thresholds"])}
    return Limit(**values)


def _state_of(row: RowMapping) -> LimitState:
    return LimitState(
        limit_id=row["limit_id"],
        subject_id=row["subject_id"],
        version=row["version"],
        reset_at=row["reset_at"],
        extra=row["extra"],
        extra_until=NEVER if row["extra_until"] is None else row["extra_until"],
    )
