"""The ledger's writing in PostgreSQL: few statements, because handing one over costs as much as many rows do."""

from collections.abc import Mapping, Sequence
from typing import Final

from polyforge.database.sessions import WriteSession
from polyforge.kernel.errors import Conflict
from polyforge.tenancy.ledger.records import UsageRecord
from polyforge.tenancy.ledger_minutes import MINUTE_TYPES, adding_minutes, minutes_of
from polyforge.tenancy.ledger_rows import (
    DAY_SECONDS,
    HOURS_PER_DAY,
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
from polyforge.tenancy.tables import MEASURES

_COUNTED: Final = {"key_id": "text", "period_start": "bigint", "spent_micros": "bigint"}


def _unnest(types: Mapping[str, str], after: int = 0) -> str:
    places = enumerate(types.values(), after + 1)
    return f"unnest({', '.join(f'${number}::{type_}[]' for number, type_ in places)})"


_COLUMNS: Final = ", ".join(TYPES)
_INSERT: Final = f"""
WITH given AS (SELECT * FROM {_unnest(TYPES)} AS given ({_COLUMNS})),
fresh AS (
    INSERT INTO usage_records ({_COLUMNS}, day)
    SELECT *, floor(started_at / {DAY_SECONDS})::integer FROM given ON CONFLICT (id) DO NOTHING RETURNING id
)
SELECT id FROM given EXCEPT SELECT id FROM fresh
"""  # noqa: S608  # constants
"""Inserts, and answers with the ids that were there already: nearly always none."""

# The counts, which are never less than nothing, are there for the order alone: without them PostgreSQL might lock rows
# of different tables in another order than somebody else does, and each would wait for the other.
_SUM_COLUMNS: Final = ", ".join(SUM_TYPES)
_HOURLY: Final = "SELECT * FROM sums WHERE (SELECT count(*) FROM counted) >= 0"
_DAILY: Final = f"""
SELECT organization_id, project_id, span / {HOURS_PER_DAY}, series_id,
    {", ".join(f"sum({name})::bigint" for name in MEASURES)}
FROM sums WHERE (SELECT count(*) FROM hourly) >= 0 GROUP BY 1, 2, 3, 4 ORDER BY 2, 3, 4
"""  # noqa: S608  # constants
_MINUTES: Final = (
    f"SELECT * FROM {_unnest(MINUTE_TYPES, len(SUM_TYPES) + len(_COUNTED))} AS minutes "  # noqa: S608  # constants
    "WHERE (SELECT count(*) FROM daily) >= 0"
)
_ADD: Final = f"""
WITH sums AS (SELECT * FROM {_unnest(SUM_TYPES)} AS sums ({_SUM_COLUMNS})),
counted AS (
    INSERT INTO budget_counters ({", ".join(_COUNTED)}) SELECT * FROM {_unnest(_COUNTED, len(SUM_TYPES))}
    ON CONFLICT (key_id, period_start) DO UPDATE
    SET spent_micros = budget_counters.spent_micros + excluded.spent_micros
    RETURNING 1
),
hourly AS ({adding_sums("usage_hours", "hour", _HOURLY)} RETURNING 1),
daily AS ({adding_sums("usage_days", "day", _DAILY)} RETURNING 1)
{adding_minutes(_MINUTES)}
"""  # noqa: S608  # constants
_NAME: Final = adding_series(f"SELECT * FROM {_unnest(SERIES_TYPES)}")  # noqa: S608  # constants
_MOVE: Final = "UPDATE journal_offsets SET position = $1 WHERE journal = $2 AND position = $3"
_BEGIN: Final = "INSERT INTO journal_offsets (journal, position) VALUES ($1, $2) ON CONFLICT (journal) DO NOTHING"


async def advance(session: WriteSession, journal: str, start: int, end: int) -> None:
    """Move a journal's offset from `start` to `end`; Conflict when it is elsewhere."""
    moved = await session.raw(_MOVE, (end, journal, start))
    if not moved and not start:
        moved = await session.raw(_BEGIN, (journal, end))
    if not moved:
        raise Conflict(f"journal {journal} has not been read exactly to {start}")


async def append(session: WriteSession, records: Sequence[UsageRecord], known: KnownSeries) -> list[Row]:
    """Insert the records that are new, and add them to the counters and the sums; the series that were not known."""
    by_id: dict[str, Row] = {}
    for record in records:
        by_id.setdefault(record.id, row_of(record))
    for (there,) in await session.raw_returning(_INSERT, _columns(list(by_id.values()), len(TYPES))):
        del by_id[there]
    sums = sums_of(by_id.values())
    unknown = known.lacks(sums.series)
    if minutes := minutes_of(by_id.values()):
        # Requests that were refused are in minutes alone.
        spent = _columns(sums.spending, len(_COUNTED))
        await session.raw(_ADD, _columns(sums.hours, len(SUM_TYPES)) + spent + _columns(minutes, len(MINUTE_TYPES)))
    if unknown:
        await session.raw(_NAME, _columns(unknown, len(SERIES_TYPES)))
    return unknown


def _columns(rows: Sequence[Row], width: int) -> Row:
    return tuple([row[place] for row in rows] for place in range(width))
