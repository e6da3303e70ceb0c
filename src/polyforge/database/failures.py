"""Where the errors of drivers become ours: a database that cannot answer now is `Unavailable`, whoever asked."""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, InterfaceError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from polyforge.kernel.errors import SettingsError, Unavailable

RETRY_AFTER = 1.0
"""Seconds that a refused caller is told to wait."""

_UNREADABLE = (
    "database.url: this address cannot be read; special characters of the password have to be percent-encoded, the "
    "port is a number, and parameters are such as libpq has"
)

# https://www.postgresql.org/docs/current/errcodes-appendix.html: connection, credentials, no such database, deadlock
# and serialization, resources, lock not available, operator intervention, system error.
_POSTGRES_CLASSES = frozenset({"08", "28", "3D", "40", "53", "55", "57", "58"})

# https://www.sqlite.org/rescode.html, primary codes: BUSY, LOCKED, NOMEM, READONLY, IOERR, CORRUPT, FULL, CANTOPEN,
# PROTOCOL, NOTADB.
_SQLITE_CODES = frozenset({5, 6, 7, 8, 10, 11, 13, 14, 15, 26})


@contextmanager
def translated() -> Generator[None]:
    """Unavailable in place of what a driver or the pool raises when the database is down, full, locked or too slow."""
    try:
        yield
    except (OSError, PoolTimeout, PendingRollbackError) as error:
        # The last of them: the connection was lost earlier in this transaction.
        raise _unavailable() from error
    except DBAPIError as error:
        if is_transient(error):
            raise _unavailable() from error
        raise
    except sqlite3.Error as error:
        if _may_pass(error):
            raise _unavailable() from error
        raise


@contextmanager
def connecting() -> Generator[None]:
    """The same around connecting; SettingsError when the driver can make nothing of the address."""
    try:
        with translated():
            yield
    except (ValueError, OverflowError, InterfaceError):
        # Without the driver's words and traceback: they may repeat a part of the password.
        raise SettingsError(_UNREADABLE) from None


def is_transient(error: DBAPIError) -> bool:
    """Whether the statement failed because of the state of the database, not because of what it says."""
    if error.connection_invalidated:
        return True
    if state := sqlstate(error):
        return state[:2] in _POSTGRES_CLASSES
    return _may_pass(error.orig)


def _may_pass(error: BaseException | None) -> bool:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _SQLITE_CODES


def sqlstate(error: BaseException | None) -> str | None:
    """PostgreSQL's five-character code of an error, if it has one."""
    return getattr(getattr(error, "orig", None), "sqlstate", None)


def _unavailable() -> Unavailable:
    return Unavailable("the database does not answer; try again", retry_after=RETRY_AFTER)
