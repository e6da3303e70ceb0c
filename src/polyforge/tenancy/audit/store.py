"""All SQL that reads the audit log: `AuditStore` for a tenant, `SystemAuditStore` for verification and export."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, RowMapping, Select, func, select, tuple_

from polyforge.database.scopes import Scope, ScopedReader
from polyforge.database.sessions import ReadSession
from polyforge.kernel.errors import Invalid
from polyforge.tenancy.audit.log import FIRST_HASH, HEAD, AuditEvent
from polyforge.tenancy.audit.search import Search
from polyforge.tenancy.audit.tables import audit_events, audit_heads
from polyforge.tenancy.people.paging import check_id, not_found

LOOKED_AT: Final = 5_000
"""Most events that one page of a search for several things at once goes through."""
_columns = audit_events.c
_FIELDS: Final = tuple(audit_events.c[name] for name in AuditEvent.__struct_fields__)


class Entry(NamedTuple):
    """An event and its place in the chain."""

    event: AuditEvent
    hash: bytes


class Place(NamedTuple):
    """Where an event stands in the order of time."""

    at: float
    sequence: int


class Mark(NamedTuple):
    """Where an event stands in the chain; the default is before the first one."""

    sequence: int = 0
    hash: bytes = FIRST_HASH


class Page(NamedTuple):
    """Some events, and the sequence number to go on from, None after the last."""

    entries: list[Entry]
    cursor: int | None


class _Span(NamedTuple):
    """A stretch of time. It ends before `below` and does not reach further back than to `floor`."""

    since: float | None = None
    until: float | None = None
    below: Place | None = None
    floor: Place | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        place = tuple_(_columns.at, _columns.sequence)
        bounds = (
            None if self.since is None else _columns.at >= self.since,
            None if self.until is None else _columns.at < self.until,
            None if self.below is None else place < tuple_(*self.below),
            None if self.floor is None else place >= tuple_(*self.floor),
        )
        return [bound for bound in bounds if bound is not None]


class AuditStore:
    """The events of one organization."""

    def __init__(self, session: ReadSession, scope: Scope) -> None:
        self._events = ScopedReader(session, scope, audit_events)

    async def get(self, event_id: str) -> Entry:
        """One event; NotFound when there is none, or it belongs to somebody else."""
        check_id(event_id, "audit event")
        row = await self._events.first(*_FIELDS, _columns.hash, refine=lambda query: query.where(_is("id", event_id)))
        if row is None:
            raise not_found("audit event", event_id)
        return _entry_of(row)

    async def page(self, search: Search, limit: int, cursor: int | None) -> Page:
        """Up to `limit` events, latest first, of those before the event with the sequence number `cursor`.

        Whatever is searched for, a page reads a bounded part of an index. Looking for several things at once it goes
        through at most LOOKED_AT events that have the rarest of them, so it may come back short, or even empty, and yet
        have a cursor.
        """
        below = None if cursor is None else await self._place(cursor)
        span = _Span(search.since, search.until, below)
        driver, floor = await self._rarest(search.named, span)
        rest = {name: value for name, value in search.named.items() if name not in driver}
        found = await self._rows(driver, rest, span._replace(floor=floor), limit + 1)
        if len(found) > limit:
            return Page(found[:limit], found[limit - 1].event.sequence)
        return Page(found, None if floor is None else floor.sequence)

    async def between(self, since: float, until: float, after: Place | None, limit: int) -> list[Entry]:
        """Up to `limit` events of a span of time, earliest first, of those after `after`."""

        def refine(query: Select[Any]) -> Select[Any]:
            query = query.where(*_Span(since, until).conditions())
            if after is not None:
                query = query.where(tuple_(_columns.at, _columns.sequence) > tuple_(*after))
            return query.order_by(_columns.at, _columns.sequence).limit(limit)

        return [_entry_of(row) for row in await self._events.all(*_FIELDS, _columns.hash, refine=refine)]

    async def _place(self, sequence: int) -> Place:
        row = await self._events.first(
            _columns.at, _columns.sequence, refine=lambda query: query.where(_columns.sequence == sequence)
        )
        if row is None:
            raise Invalid("the cursor is not one that a list gave", param="cursor")
        return Place(row["at"], row["sequence"])

    async def _rarest(self, named: Mapping[str, str], span: _Span) -> tuple[Mapping[str, str], Place | None]:
        """The condition that goes furthest back with LOOKED_AT events, and where they end; None: they are fewer."""
        if len(named) <= 1:
            return named, None
        floors: list[tuple[Place | None, str]] = []
        for name, value in named.items():
            floor = await self._floor({name: value}, span)
            if floor is None:
                return {name: value}, None
            floors.append((floor, name))
        floor, name = min(floors)
        return {name: named[name]}, floor

    async def _floor(self, driver: Mapping[str, str], span: _Span) -> Place | None:
        """Where the events that one page may go through end; None when they are fewer."""

        def refine(query: Select[Any]) -> Select[Any]:
            return _latest_first(query, driver, span).offset(LOOKED_AT - 1).limit(1)

        row = await self._events.first(_columns.at, _columns.sequence, refine=refine)
        return None if row is None else Place(row["at"], row["sequence"])

    async def _rows(self, driver: Mapping[str, str], rest: Mapping[str, str], span: _Span, limit: int) -> list[Entry]:
        # Something appended to a column keeps its index out of the plan: only the driver's ends where the span does.
        others = [_columns[name].concat("") == value for name, value in rest.items()]

        def refine(query: Select[Any]) -> Select[Any]:
            return _latest_first(query, driver, span).where(*others).limit(limit)

        return [_entry_of(row) for row in await self._events.all(*_FIELDS, _columns.hash, refine=refine)]


class SystemAuditStore:
    """The whole log in the order of the chain, for what stands behind all tenants."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def head(self) -> Mark:
        """The newest event there must be."""
        row = await self._session.first(select(audit_heads).where(audit_heads.c.name == HEAD))
        return Mark() if row is None else Mark(row["sequence"], row["hash"])

    async def hash_of(self, sequence: int) -> bytes | None:
        """The hash of an event; None when there is none."""
        return await self._session.scalar(select(_columns.hash).where(_columns.sequence == sequence))

    async def rows_after(self, sequence: int, limit: int) -> Sequence[RowMapping]:
        """Up to `limit` rows as they are, in the order of the chain; after 0 also those that can be no part of it."""
        query = select(audit_events).order_by(_columns.sequence).limit(limit)
        return await self._session.all(query.where(_columns.sequence > sequence) if sequence else query)

    async def entries(self, after: int, through: int) -> list[Entry]:
        """The events of a stretch of the chain, or one of them with `after` just before it."""
        query = select(*_FIELDS, _columns.hash).where(_columns.sequence > after, _columns.sequence <= through)
        return [_entry_of(row) for row in await self._session.all(query.order_by(_columns.sequence))]

    async def sizes_after(self, sequence: int, limit: int) -> list[tuple[int, int]]:
        """Sequence numbers of up to `limit` events, each with the length of `before` and `after` together."""
        size = func.coalesce(func.length(_columns.before), 0) + func.coalesce(func.length(_columns.after), 0)
        query = select(_columns.sequence, size.label("size")).where(_columns.sequence > sequence)
        rows = await self._session.all(query.order_by(_columns.sequence).limit(limit))
        return [(row["sequence"], row["size"]) for row in rows]


def event_of(row: RowMapping) -> AuditEvent:
    """The event that a row says; msgspec.ValidationError when it has values of other kinds."""
    return msgspec.convert({name: row[name] for name in AuditEvent.__struct_fields__}, AuditEvent)


def _entry_of(row: RowMapping) -> Entry:
    return Entry(AuditEvent(**{name: row[name] for name in AuditEvent.__struct_fields__}), row["hash"])


def _is(name: str, value: str) -> ColumnElement[bool]:
    return _columns[name] == value


def _latest_first(query: Select[Any], driver: Mapping[str, str], span: _Span) -> Select[Any]:
    query = query.where(*(_is(name, value) for name, value in driver.items()), *span.conditions())
    return query.order_by(_columns.at.desc(), _columns.sequence.desc())
