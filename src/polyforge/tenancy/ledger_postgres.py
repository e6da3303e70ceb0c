"""The ledger's writing in PostgreSQL: many rows in each statement."""

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import text, update

from polyforge.database.sessions import WriteSession
from polyforge.kernel.errors import Conflict
from polyforge.tenancy.ledger.records import UsageRecord
from polyforge.tenancy.ledger_rows import (
    DAY_SECONDS,
    SERIES_TYPES,
    SUM_TYPES,
    TYPES,
    KnownSeries,
    Row,
    adding_series,
    adding_sums,
    row_of,
    sums_of,
)
from polyforge.tenancy.tables import journal_offsets


def _unnest(types: Mapping[str, str]) -> str:
    return f"unnest({', '.join(f'${number}::{type_}[]' for number, type_ in enumerate(types.values(), 1))})"


_COLUMNS: Final = ", ".join(TYPES)
_INSERT: Final = (
    f"INSERT INTO usage_records ({_COLUMNS}, day) "  # noqa: S608  # constants
    f"SELECT *, floor(started_at / {DAY_SECONDS})::integer FROM {_unnest(TYPES)} AS fresh ({_COLUMNS}) "
    "ON CONFLICT (id) DO NOTHING RETURNING id"
)
_COUNTED: Final = {"key_id": "text", "period_start": "bigint", "spent_micros": "bigint"}
_COUNT: Final = (
    f"INSERT INTO budget_counters ({', '.join(_COUNTED)}) SELECT * FROM {_unnest(_COUNTED)} "  # noqa: S608  # constants
    "ON CONFLICT (key_id, period_start) DO UPDATE "
    "SET spent_micros = budget_counters.spent_micros + excluded.spent_micros"
)
_SUMS: Final = f"SELECT * FROM {_unnest(SUM_TYPES)}"  # noqa: S608  # constants
_ADD_SERIES: Final = adding_series(f"SELECT * FROM {_unnest(SERIES_TYPES)}")  # noqa: S608  # constants
_ADD_HOURS: Final = adding_sums("usage_hours", "hour", _SUMS)
_ADD_DAYS: Final = adding_sums("usage_days", "day", _SUMS)
_BEGIN: Final = text(
    "INSERT INTO journal_offsets (journal, position) VALUES (:journal, :position) ON CONFLICT (journal) DO NOTHING"
)


async def advance(session: WriteSession, journal: str, start: int, end: int) -> None:
    """Move a journal's offset from `start` to `end`; Conflict when it is elsewhere."""
    columns = journal_offsets.c
    here = update(journal_offsets).where(columns.journal == journal, columns.position == start)
    moved = await session.change(here.values(position=end))
    if not moved and not start:
        moved = await session.change(_BEGIN.bindparams(journal=journal, position=end))
    if not moved:
        raise Conflict(f"journal {journal} has not been read exactly to {start}")


async def append(session: WriteSession, records: Sequence[UsageRecord], known: KnownSeries) -> list[Row]:
    """Insert the records that are new, and add them to the counters and the sums; the series that were not known."""
    by_id = {record.id: row_of(record) for record in reversed(records)}
    fresh = await session.raw_returning(_INSERT, _columns(list(reversed(by_id.values()))))
    sums = sums_of([by_id[id_] for (id_,) in fresh])
    unknown = known.lacks(sums.series)
    for statement, rows in (
        (_COUNT, sums.spending),
        (_ADD_SERIES, unknown),
        (_ADD_HOURS, sums.hours),
        (_ADD_DAYS, sums.days),
    ):
        if rows:
            await session.raw(statement, _columns(rows))
    return unknown


def _columns(rows: Sequence[Row]) -> Row:
    return tuple(list(column) for column in zip(*rows, strict=True))
