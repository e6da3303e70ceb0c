"""The ledger's writing in SQLite: one transaction, run by one thread."""

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

from polyforge.kernel.errors import Conflict
from polyforge.tenancy.ledger.records import UsageRecord
from polyforge.tenancy.ledger_minutes import MINUTE_TYPES, adding_minutes, minutes_of
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

_Item = TypeVar("_Item")

_TURN: Final = 64
_PAUSE_SECONDS: Final = 0.0001
_PLACES: Final = ", ".join(f"?{number}" for number in range(1, len(TYPES) + 1))
_STARTED: Final = list(TYPES).index("started_at") + 1
_INSERT: Final = (
    f"INSERT INTO usage_records ({', '.join(TYPES)}, day) "  # noqa: S608  # constants
    f"VALUES ({_PLACES}, CAST(?{_STARTED} / {DAY_SECONDS} AS INTEGER)) ON CONFLICT (id) DO NOTHING"
)
_KNOWN: Final = "SELECT id FROM usage_records WHERE id IN (SELECT value FROM json_each(?))"
_COUNT: Final = (
    "INSERT INTO budget_counters (key_id, period_start, spent_micros) VALUES (?, ?, ?) "
    "ON CONFLICT (key_id, period_start) DO UPDATE SET spent_micros = spent_micros + excluded.spent_micros"
)
_SUM: Final = f"VALUES ({', '.join('?' * len(SUM_TYPES))})"
_ADD_SERIES: Final = adding_series(f"VALUES ({', '.join('?' * len(SERIES_TYPES))})")
_ADD_HOURS: Final = adding_sums("usage_hours", "hour", _SUM)
_ADD_DAYS: Final = adding_sums("usage_days", "day", _SUM)
_ADD_MINUTES: Final = adding_minutes(f"VALUES ({', '.join('?' * len(MINUTE_TYPES))})")
_MOVE: Final = "UPDATE journal_offsets SET position = ? WHERE journal = ? AND position = ?"
_BEGIN: Final = "INSERT INTO journal_offsets (journal, position) VALUES (?, ?) ON CONFLICT (journal) DO NOTHING"


def advance(connection: sqlite3.Connection, journal: str, start: int, end: int) -> None:
    """Move a journal's offset from `start` to `end`; Conflict when it is elsewhere."""
    moved = connection.execute(_MOVE, (end, journal, start)).rowcount
    if not moved and not start:
        moved = connection.execute(_BEGIN, (journal, end)).rowcount
    if not moved:
        raise Conflict(f"journal {journal} has not been read exactly to {start}")


def append(connection: sqlite3.Connection, records: Sequence[UsageRecord], known: KnownSeries) -> list[Row]:
    """Insert the records that are new, and add them to the counters and the sums; the series that were not known."""
    rows = _insert(connection, [row_of(record) for record in _in_turns(records)])
    sums = sums_of(_in_turns(rows))
    fresh = known.lacks(sums.series)
    connection.executemany(_COUNT, sums.spending)
    connection.executemany(_ADD_SERIES, fresh)
    connection.executemany(_ADD_HOURS, sums.hours)
    connection.executemany(_ADD_DAYS, sums.days)
    connection.executemany(_ADD_MINUTES, minutes_of(_in_turns(rows)))
    return fresh


def _in_turns(items: Iterable[_Item]) -> Iterator[_Item]:
    """The items, with pauses in which the event loop, which serves requests meanwhile, gets the interpreter's lock."""
    for number, item in enumerate(items):
        if number % _TURN == _TURN - 1:
            time.sleep(_PAUSE_SECONDS)
        yield item


def _insert(connection: sqlite3.Connection, rows: list[Row]) -> list[Row]:
    """The rows that were not there. Nearly always that is all of them, so they are not looked up before."""
    connection.execute("SAVEPOINT before")
    if connection.executemany(_INSERT, rows).rowcount < len(rows):
        connection.execute("ROLLBACK TO before")
        by_id = {row[0]: row for row in reversed(rows)}
        for (known,) in connection.execute(_KNOWN, (json.dumps(list(by_id)),)):
            del by_id[known]
        rows = list(by_id.values())
        connection.executemany(_INSERT, rows)
    connection.execute("RELEASE before")
    return rows
