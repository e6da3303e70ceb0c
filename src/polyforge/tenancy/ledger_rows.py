"""Usage records into rows, many at once, in each driver's own words: here the cost of one row counts."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import func, select, text, update

from polyforge.database.sessions import WriteSession
from polyforge.kernel.errors import Conflict
from polyforge.kernel.money import Micros
from polyforge.tenancy.ledger.records import UsageRecord
from polyforge.tenancy.tables import journal_offsets, usage_records

DAY_SECONDS = 86_400

_TYPES = {
    "id": "text",
    "key_id": "text",
    "organization_id": "text",
    "project_id": "text",
    "task": "text",
    "model": "text",
    "provider": "text",
    "deployment": "text",
    "status": "text",
    "http_status": "smallint",
    "started_at": "double precision",
    "day": "integer",
    "duration_ms": "bigint",
    "period_start": "bigint",
    "input_tokens": "bigint",
    "cache_read_tokens": "bigint",
    "cache_write_tokens": "bigint",
    "output_tokens": "bigint",
    "reasoning_tokens": "bigint",
    "exact": "boolean",
    "cost_micros": "bigint",
    "price_micros": "bigint",
    "stream": "boolean",
    "audio_input_tokens": "bigint",
    "audio_output_tokens": "bigint",
    "image_input_tokens": "bigint",
    "images": "bigint",
    "milliseconds": "bigint",
    "characters": "bigint",
    "user_id": "text",
    "end_user": "text",
    "tags": "text",
    "cached": "text",
    "saved_micros": "bigint",
}
"""The columns in the order of `row_of`, with their PostgreSQL types."""

_COLUMNS = ", ".join(_TYPES)
_INSERT_SQLITE = (
    f"INSERT INTO usage_records ({_COLUMNS}) VALUES ({', '.join('?' * len(_TYPES))}) ON CONFLICT (id) DO NOTHING"  # noqa: S608  # constants
)
_COUNT_SQLITE = (
    "INSERT INTO budget_counters (key_id, period_start, spent_micros) VALUES (?, ?, ?) "
    "ON CONFLICT (key_id, period_start) DO UPDATE SET spent_micros = spent_micros + excluded.spent_micros"
)
_NEW_JOURNAL = text(
    "INSERT INTO journal_offsets (journal, position) VALUES (:journal, :position) ON CONFLICT (journal) DO NOTHING"
)
_APPEND_POSTGRES = f"""
WITH fresh AS (
    INSERT INTO usage_records ({_COLUMNS})
    SELECT * FROM unnest({", ".join(f"${n}::{type_}[]" for n, type_ in enumerate(_TYPES.values(), 1))})
    ON CONFLICT (id) DO NOTHING
    RETURNING key_id, period_start, price_micros
)
INSERT INTO budget_counters (key_id, period_start, spent_micros)
SELECT key_id, period_start, sum(price_micros)::bigint FROM fresh GROUP BY 1, 2 ORDER BY 1, 2
ON CONFLICT (key_id, period_start) DO UPDATE SET spent_micros = budget_counters.spent_micros + excluded.spent_micros
"""  # noqa: S608  # constants

Row = tuple[Any, ...]
Spending = dict[tuple[str, int], Micros]


async def advance(session: WriteSession, journal: str, start: int, end: int) -> None:
    """Move a journal's offset from `start` to `end`; Conflict when it is elsewhere."""
    columns = journal_offsets.c
    here = update(journal_offsets).where(columns.journal == journal, columns.position == start)
    moved = await session.change(here.values(position=end))
    if not moved and not start:
        moved = await session.change(_NEW_JOURNAL.bindparams(journal=journal, position=end))
    if not moved:
        raise Conflict(f"journal {journal} has not been read exactly to {start}")


async def append_sqlite(session: WriteSession, records: Sequence[UsageRecord]) -> None:
    """Insert the records that are new, and add their prices to the counters."""
    by_id = {record.id: record for record in reversed(records)}
    for known in await _known_ids(session, list(by_id)):
        del by_id[known]
    if not by_id:
        return
    fresh = by_id.values()
    await session.raw_many(_INSERT_SQLITE, [row_of(record) for record in fresh])
    await session.raw_many(_COUNT_SQLITE, [(*key, price) for key, price in _spending(fresh).items()])


async def _known_ids(session: WriteSession, ids: list[str]) -> list[str]:
    asked = func.json_each(json.dumps(ids)).table_valued("value")
    query = select(usage_records.c.id).where(usage_records.c.id.in_(select(asked.c.value)))
    return [row["id"] for row in await session.all(query)]


async def append_postgres(session: WriteSession, records: Sequence[UsageRecord]) -> None:
    """The same in one statement. Counters change in the order of their keys, so that two writers cannot deadlock."""
    columns = zip(*map(row_of, records), strict=True)
    await session.raw(_APPEND_POSTGRES, tuple(list(column) for column in columns))


def row_of(record: UsageRecord) -> Row:
    """One row, in the order of the columns."""
    usage = record.usage
    return (
        record.id,
        record.key_id,
        record.organization_id,
        record.project_id,
        record.task,
        _storable(record.model),
        _storable(record.provider),
        _storable(record.deployment),
        record.status,
        record.http_status,
        record.started_at,
        int(record.started_at // DAY_SECONDS),
        record.duration_ms,
        record.period_start,
        usage.input,
        usage.cache_read,
        usage.cache_write,
        usage.output,
        usage.reasoning,
        usage.exact,
        record.cost,
        record.price,
        record.stream,
        usage.audio_input,
        usage.audio_output,
        usage.image_input,
        usage.images,
        usage.milliseconds,
        usage.characters,
        record.user_id,
        _storable(record.end_user),
        _storable(record.tags),
        record.cached,
        record.saved,
    )


def _storable(text: str) -> str:
    """PostgreSQL cannot store NUL, and a record that can never be written would block its journal for ever."""
    return text.replace("\0", "\ufffd") if "\0" in text else text


def _spending(records: Iterable[UsageRecord]) -> Spending:
    spending: Spending = {}
    for record in records:
        key = (record.key_id, record.period_start)
        spending[key] = spending.get(key, 0) + record.price
    return spending
