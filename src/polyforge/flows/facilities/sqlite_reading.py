"""Reads from a SQLite file, which is opened so that nothing can be written, and allowed nothing but to be read."""

import asyncio
import sqlite3
import time
from collections.abc import Mapping
from concurrent.futures import Executor
from contextlib import closing, suppress
from threading import Event
from typing import Any, Final
from urllib.parse import quote

from polyforge.flows.document import Json
from polyforge.flows.facilities.cells import Gathering, ReadLimits, bindable
from polyforge.flows.running.contract import SqlTable
from polyforge.kernel.errors import Invalid, PolyforgeError, TimedOut, Unavailable

_ALLOWED: Final = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
_FORBIDDEN: Final = frozenset({"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"})
_LOOK_STEPS: Final = 10_000
"""Steps of SQLite's machine between looks at the clock: a fraction of a millisecond."""
_LOCKED_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 5.0


async def read(threads: Executor, path: str, sql: str, values: Mapping[str, Json], limits: ReadLimits) -> SqlTable:
    """What a query finds in a file; it is stopped when the call is cancelled."""
    stop = Event()
    work = asyncio.get_running_loop().run_in_executor(threads, _read, path, sql, values, limits, stop)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait({asyncio.gather(work, return_exceptions=True)}, timeout=_STOP_SECONDS)
        raise


def _read(path: str, sql: str, values: Mapping[str, Json], limits: ReadLimits, stop: Event) -> SqlTable:
    over = time.monotonic() + limits.seconds
    bound = {name: bindable(value) for name, value in values.items()}
    try:
        with closing(_connect(path, limits)) as connection:
            connection.set_progress_handler(lambda: stop.is_set() or time.monotonic() > over, _LOOK_STEPS)
            return _gathered(connection, sql, bound, limits)
    except PolyforgeError:
        raise
    except sqlite3.OperationalError as error:
        raise _told(error, limits, timed_out=time.monotonic() > over) from error
    except (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeEncodeError) as error:
        raise Invalid(f"the database does not take the query: {error}", param="query") from error


def _connect(path: str, limits: ReadLimits) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", timeout=_LOCKED_SECONDS, uri=True)
    connection.execute("PRAGMA query_only = ON")
    with suppress(sqlite3.Error):
        connection.execute("PRAGMA trusted_schema = OFF")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, limits.max_bytes)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.set_authorizer(_authorize)
    return connection


def _authorize(action: int, one: str | None, other: str | None, *_: Any) -> int:
    if action not in _ALLOWED or (action == sqlite3.SQLITE_FUNCTION and other in _FORBIDDEN):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _gathered(connection: sqlite3.Connection, sql: str, values: dict[str, Any], limits: ReadLimits) -> SqlTable:
    cursor = connection.execute(sql, values)
    found = Gathering([column[0] for column in cursor.description or ()], limits)
    for row in cursor:
        if not found.add(row):
            break
    return found.table()


def _told(error: sqlite3.OperationalError, limits: ReadLimits, *, timed_out: bool) -> PolyforgeError:
    if timed_out:
        return TimedOut(f"the query took longer than {limits.seconds:g} seconds and was stopped")
    if error.sqlite_errorname in ("SQLITE_CANTOPEN", "SQLITE_BUSY", "SQLITE_IOERR"):
        return Unavailable("the database cannot be opened, or is busy", retry_after=1.0)
    return Invalid(f"the database does not take the query: {error}", param="query")
