"""All SQL of the history of requests."""

import re
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, Select, and_, func, literal, or_

from polyforge.database.scopes import Scope, ScopedReader
from polyforge.database.sessions import ReadSession
from polyforge.tenancy.history.records import Entry, Place, Which
from polyforge.tenancy.ledger.details import decode_details
from polyforge.tenancy.ledger.records import CORRECTION
from polyforge.tenancy.ledger_reading import usage_of
from polyforge.tenancy.tables import usage_records

MOST_SEEN: Final = 20_000
"""How many requests one page looks at, at most: a filter that few requests pass is answered in several pages."""
_ID: Final = re.compile(r"[0-9A-Z]{26}")
_columns = usage_records.c
_NEWEST_FIRST: Final = (_columns.started_at.desc(), _columns.id.desc())


class HistoryStore:
    """The requests of one project."""

    def __init__(self, session: ReadSession, scope: Scope) -> None:
        self._records = ScopedReader(session, scope, usage_records)

    async def get(self, request_id: str) -> Entry | None:
        """One of them."""
        if not _ID.fullmatch(request_id):
            return None
        found = await self._records.first(
            refine=lambda query: query.where(_columns.id == request_id, _columns.status != CORRECTION)
        )
        return None if found is None else _entry_of(found)

    async def page(self, which: Which, limit: int, after: Place | None) -> tuple[list[Entry], Place | None]:
        """Up to `limit` of those that are asked for, newest first, and where to go on; None: there are no more."""
        end = await self.end(which, after) if which.filters else None

        def refine(query: Select[Any]) -> Select[Any]:
            query = query.where(*within(which, after, end), *_conditions(which))
            return query.order_by(*_NEWEST_FIRST).limit(limit + 1)

        found = [_entry_of(row) for row in await self._records.all(refine=refine)]
        if len(found) > limit:
            return found[:limit], Place(found[limit - 1].started_at, found[limit - 1].id)
        return found, end

    async def end(self, which: Which, after: Place | None) -> Place | None:
        """How far down a page looks; None: to the end."""

        def refine(query: Select[Any]) -> Select[Any]:
            query = query.where(*within(which, after, None)).order_by(*_NEWEST_FIRST)
            return query.offset(MOST_SEEN - 1).limit(1)

        last = await self._records.first(_columns.started_at, _columns.id, refine=refine)
        return None if last is None else Place(last["started_at"], last["id"])


def within(which: Which, after: Place | None, end: Place | None) -> list[ColumnElement[bool]]:
    """The part of the history between two places, `end` included, within the time that is asked for.

    One bound on each side, the nearer one: of two, SQLite finds its way by one and goes through all that is beyond the
    other. `end` was looked for within the time that is asked for.
    """
    at, id_ = _columns.started_at, _columns.id
    within: list[ColumnElement[bool]] = []
    if after is not None and (which.until is None or after.started_at < which.until):
        within += [at <= after.started_at, or_(at < after.started_at, id_ < after.id)]
    elif which.until is not None:
        within.append(at < which.until)
    if end is not None:
        within += [at >= end.started_at, or_(at > end.started_at, id_ >= end.id)]
    elif which.since is not None:
        within.append(at >= which.since)
    return within


def _conditions(which: Which) -> list[ColumnElement[bool]]:
    named = {
        _columns.key_id: which.key,
        _columns.user_id: which.user,
        _columns.end_user: which.end_user,
        _columns.model: which.model,
        _columns.provider: which.provider,
        _columns.status: which.status,
        _columns.error: which.error,
    }
    conditions = [column.in_(values) for column, values in named.items() if values]
    conditions += [_tagged(tag) for tag in which.tag]
    if which.error_text:
        conditions.append(_holds(_columns.error, which.error_text))
    if which.min_duration_ms is not None:
        conditions.append(_columns.duration_ms >= which.min_duration_ms)
    if which.min_price is not None:
        conditions.append(_columns.price_micros >= which.min_price)
    return [and_(_columns.status != CORRECTION, *conditions)]


def _tagged(tag: str) -> ColumnElement[bool]:
    """Whether it is among the tags of a request."""
    return _holds(literal(",") + _columns.tags + literal(","), f",{tag},")


def _holds(text: ColumnElement[str], part: str) -> ColumnElement[bool]:
    """Whether a text holds another; not LIKE, which takes some characters for others."""
    return func.replace(text, part, "") != text


def _entry_of(row: RowMapping) -> Entry:
    return Entry(
        id=row["id"],
        key_id=row["key_id"],
        user_id=row["user_id"],
        end_user=row["end_user"],
        task=row["task"],
        model=row["model"],
        provider=row["provider"],
        deployment=row["deployment"],
        status=row["status"],
        http_status=row["http_status"],
        error=row["error"],
        started_at=row["started_at"],
        duration_ms=row["duration_ms"],
        stream=row["stream"],
        tags=row["tags"],
        cached=row["cached"],
        usage=usage_of(row),
        cost=row["cost_micros"],
        price=row["price_micros"],
        saved=row["saved_micros"],
        details=decode_details(row["details"]),
    )
