"""SQLAlchemy engines, set up for how this house uses SQLite and PostgreSQL."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from polyforge.database.settings import DatabaseSettings

SQLITE_FILE = "polyforge.db"
SQLITE_READERS = 4
"""Most reading connections per process; each is a thread and a page cache of up to 2 MB."""

# FULL, not NORMAL: with WAL, NORMAL may lose the last commits when the power fails. A revocation that was answered, and
# ledger rows whose journal file was deleted on the strength of their commit, must survive that. One fsync per commit is
# paid in the driver's thread, and commits are few: the request path writes to the journal, not here.
SQLITE_PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "journal_size_limit = 67108864")


@dataclass(frozen=True)
class Engines:
    """One engine to read with and one to write with; on PostgreSQL they share their connections."""

    read: AsyncEngine
    write: AsyncEngine

    def each(self) -> Iterable[AsyncEngine]:
        """Every engine that has connections of its own."""
        return (self.read,) if self.read.pool is self.write.pool else (self.read, self.write)


def sqlite_path(data: Path) -> Path:
    """The database file in the data folder."""
    return data / SQLITE_FILE


def sqlite_engines(data: Path, patience: float) -> Engines:
    """Several readers that cannot write, and one writer per process, because SQLite has one anyway."""
    path = sqlite_path(data)
    read = _sqlite_engine(path, patience, SQLITE_READERS, ("query_only = ON",), "BEGIN")
    write = _sqlite_engine(path, patience, 1, SQLITE_PRAGMAS, "BEGIN IMMEDIATE")
    return Engines(read, write)


def _sqlite_engine(path: Path, patience: float, size: int, pragmas: tuple[str, ...], begin: str) -> AsyncEngine:
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        # isolation_level None: the driver starts no transactions of its own, the listener below does.
        connect_args={"timeout": patience, "isolation_level": None},
        pool_size=size,
        max_overflow=0,
        pool_timeout=patience,
        pool_use_lifo=True,
        hide_parameters=True,
    )

    def set_up(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine.sync_engine, "connect", set_up)
    event.listen(engine.sync_engine, "begin", start)
    return engine


def postgres_engines(settings: DatabaseSettings, patience: float) -> Engines:
    """One pool; readers get transactions that PostgreSQL itself keeps from writing."""
    engine = create_async_engine(
        "postgresql+asyncpg://",
        connect_args={
            # The address goes to the driver as it is, so that what libpq knows (sslmode, ...) means the same here.
            "dsn": settings.address(),
            "timeout": settings.timeout_seconds,
            "command_timeout": patience,
            "server_settings": {"application_name": "polyforge"},
        },
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=settings.timeout_seconds,
        pool_use_lifo=True,
        pool_pre_ping=True,
        hide_parameters=True,
    )
    return Engines(engine.execution_options(postgresql_readonly=True), engine)
