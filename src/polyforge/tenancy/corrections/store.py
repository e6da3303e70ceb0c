"""All SQL of corrections."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import RowMapping, Select, func, or_, select, text

from polyforge.database.scopes import Scope, ScopedReader, ScopedWriter
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.kernel.errors import NotFound
from polyforge.kernel.money import Micros
from polyforge.tenancy.corrections.records import CorrectedTotal, Correction
from polyforge.tenancy.ledger.records import CORRECTION, REFUSED
from polyforge.tenancy.ledger_minutes import MINUTE_TYPES, adding_minutes, minutes_of
from polyforge.tenancy.ledger_rows import (
    DAY_SECONDS,
    SERIES_TYPES,
    SUM_TYPES,
    TYPES,
    adding_series,
    adding_sums,
    sums_of,
)
from polyforge.tenancy.tables import budget_counters, usage_corrections, usage_records

_COUNT = text(
    "INSERT INTO budget_counters (key_id, period_start, spent_micros) VALUES (:key_id, :period_start, :price) "
    "ON CONFLICT (key_id, period_start) DO UPDATE SET "
    "spent_micros = budget_counters.spent_micros + excluded.spent_micros"
)
_SUM = f"VALUES ({', '.join(f':{name}' for name in SUM_TYPES)})"
_ADD_SERIES = text(adding_series(f"VALUES ({', '.join(f':{name}' for name in SERIES_TYPES)})"))
_ADD_HOUR = text(adding_sums("usage_hours", "hour", _SUM))
_ADD_DAY = text(adding_sums("usage_days", "day", _SUM))
_ADD_MINUTE = text(adding_minutes(f"VALUES ({', '.join(f':{name}' for name in MINUTE_TYPES)})"))
_ABOUT = ("task", "provider", "deployment", "http_status", "stream", "user_id", "end_user", "tags")
"""What a correction of a call has in common with it."""


class CorrectionStore:
    """The corrections of one project."""

    def __init__(self, session: ReadSession, scope: Scope) -> None:
        self._corrections = ScopedReader(session, scope, usage_corrections)

    async def page(self, limit: int, before: str | None) -> list[Correction]:
        """Up to `limit`, newest first, older than the id `before`."""
        columns = usage_corrections.c

        def refine(query: Select[Any]) -> Select[Any]:
            query = query if before is None else query.where(columns.id < before)
            return query.order_by(columns.id.desc()).limit(limit)

        return [_correction_of(row) for row in await self._corrections.all(refine=refine)]


class CorrectionEditor:
    """Adds corrections to the ledger of one project."""

    def __init__(self, session: WriteSession, scope: Scope) -> None:
        self._session = session
        self._scope = scope
        self._corrections = ScopedWriter(session, scope, usage_corrections)
        self._records = ScopedWriter(session, scope, usage_records)

    async def record(self, record_id: str) -> RowMapping:
        """The row of a call; NotFound when the project's ledger has none."""
        columns = usage_records.c
        found = await self._records.first(
            refine=lambda query: query.where(columns.id == record_id, columns.status.not_in((CORRECTION, REFUSED)))
        )
        if found is None:
            raise NotFound(f"there is no usage record {record_id[:40]!r}")
        return found

    async def add(self, correction: Correction, called: RowMapping | None) -> None:
        """Add one, to the counters as well; `called` is the row that it is about.

        Whoever corrects the same key in the same period waits from here on until this transaction ends.
        """
        counted = {"key_id": correction.key_id, "period_start": correction.period_start}
        await self._session.change(_COUNT.bindparams(**counted, price=correction.price_micros))
        await self._corrections.insert(msgspec.structs.asdict(correction))
        row = _row_of(correction, called)
        await self._records.insert(row)
        await self._add_to_sums(row)

    async def _add_to_sums(self, row: Mapping[str, Any]) -> None:
        whose = {"organization_id": self._scope.organization_id, "project_id": self._scope.project_id}
        rows = [tuple({**row, **whose}.get(name, 0) for name in TYPES)]
        sums = sums_of(rows)
        for statement, names, (values,) in (
            (_ADD_HOUR, SUM_TYPES, sums.hours),
            (_ADD_DAY, SUM_TYPES, sums.days),
            (_ADD_MINUTE, MINUTE_TYPES, minutes_of(rows)),
            (_ADD_SERIES, SERIES_TYPES, sums.series),
        ):
            await self._session.change(statement.bindparams(**dict(zip(names, values, strict=True))))

    async def spent(self, key_id: str, period_start: int) -> Micros:
        """What a key has spent in a period, by the counters."""
        columns = budget_counters.c
        query = select(columns.spent_micros).where(columns.key_id == key_id, columns.period_start == period_start)
        return await self._session.scalar(query) or 0

    async def worth(self, record_id: str) -> tuple[Micros, Micros]:
        """What the call with this row cost and was priced, with all its corrections."""
        corrected = select(usage_corrections.c.id).where(usage_corrections.c.record_id == record_id)
        columns = usage_records.c
        row = await self._records.first(
            func.sum(columns.cost_micros).label("cost"),
            func.sum(columns.price_micros).label("price"),
            refine=lambda query: query.where(or_(columns.id == record_id, columns.id.in_(corrected))),
        )
        return (int(row["cost"] or 0), int(row["price"] or 0)) if row else (0, 0)


class SystemCorrections:
    """Corrections across all projects, for the counters that limit keys; never for answering a caller."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def totals(self, key_ids: Iterable[str] | None) -> list[CorrectedTotal]:
        """What keys were corrected by, in each period with a correction; None: all keys."""
        columns = usage_corrections.c
        query = select(columns.key_id, columns.period_start, func.sum(columns.price_micros).label("price"))
        if key_ids is not None:
            query = query.where(columns.key_id.in_(list(key_ids)))
        query = query.group_by(columns.key_id, columns.period_start).order_by(columns.key_id, columns.period_start)
        rows = await self._session.all(query)
        return [CorrectedTotal(row["key_id"], row["period_start"], int(row["price"])) for row in rows]


def _row_of(correction: Correction, called: RowMapping | None) -> dict[str, Any]:
    """The row of the ledger that sums go over: it holds amounts, and nothing that was used."""
    about = called or dict.fromkeys(_ABOUT, "") | {"http_status": 0, "stream": False}
    named = {name: about[name] for name in _ABOUT}
    tokens = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
    return {
        **named,
        **dict.fromkeys(tokens, 0),
        "id": correction.id,
        "key_id": correction.key_id,
        "model": correction.model,
        "status": CORRECTION,
        "started_at": correction.at,
        "day": int(correction.at // DAY_SECONDS),
        "duration_ms": 0,
        "period_start": correction.period_start,
        "exact": True,
        "cached": "",
        "cost_micros": correction.cost_micros,
        "price_micros": correction.price_micros,
    }


def _correction_of(row: RowMapping) -> Correction:
    fields: dict[str, Any] = {name: row[name] for name in Correction.__struct_fields__}
    return Correction(**fields)
