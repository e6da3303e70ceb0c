"""The database of one process: its connections, and the transactions that are made of them."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from polyforge.database.bulk import Answer, SqliteBulk
from polyforge.database.engine import SQLITE_PRAGMAS, Engines, postgres_engines, sqlite_engines, sqlite_path
from polyforge.database.failures import connecting, translated
from polyforge.database.scopes import Scope
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.database.settings import DatabaseSettings, Dialect
from polyforge.kernel.errors import SettingsError

_NAME_TENANT = text(
    "SELECT set_config('polyforge.organization', :organization, true), set_config('polyforge.project', :project, true)"
)


def _nobody() -> None:
    """The listener of a process that follows no events."""


class Database:
    """Rows in SQLite or PostgreSQL. `data` is the folder of the SQLite file.

    `patience` is how many seconds one statement may take, where that is not what the settings say.
    """

    def __init__(self, settings: DatabaseSettings, data: Path, *, patience: float | None = None) -> None:
        self._settings = settings
        self._data = data
        self._patience = settings.timeout_seconds if patience is None else patience
        self._engines: Engines | None = None
        self._bulk: SqliteBulk | None = None
        self.told: Callable[[], None] = _nobody
        """Called after each transaction of this process that added events."""

    @property
    def dialect(self) -> Dialect:
        """Which database it is."""
        return self._settings.dialect

    async def open(self) -> None:
        """Prepare the pools. Nothing connects yet, so a database that is down is noticed at the first session."""
        if self.dialect == "sqlite":
            await asyncio.to_thread(_make_folder, self._data)
            self._engines = sqlite_engines(self._data, self._patience)
            self._bulk = SqliteBulk(sqlite_path(self._data), self._patience, SQLITE_PRAGMAS)
        else:
            self._engines = postgres_engines(self._settings, self._patience)

    async def close(self) -> None:
        """Close every connection."""
        bulk, self._bulk = self._bulk, None
        if bulk:
            await bulk.close()
        engines, self._engines = self._engines, None
        if engines:
            for engine in engines.each():
                await engine.dispose()

    @asynccontextmanager
    async def read(self, scope: Scope | None = None) -> AsyncGenerator[ReadSession]:
        """A transaction that reads. Unavailable when the database does not answer in time.

        With a scope, PostgreSQL itself hides the rows of other tenants from it.
        """
        async with _transaction(self._open_engines().read) as connection:
            await self._wall_off(connection, scope)
            yield ReadSession(connection)

    @asynccontextmanager
    async def write(self, scope: Scope | None = None) -> AsyncGenerator[WriteSession]:
        """A transaction that writes. Unavailable when the database does not answer, or is locked for too long.

        With a scope, PostgreSQL itself keeps it from reading and writing the rows of other tenants.
        """
        async with _transaction(self._open_engines().write) as connection:
            await self._wall_off(connection, scope)
            session = WriteSession(connection)
            yield session
        if session.tells:
            self.told()

    async def write_at_once(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """A transaction of SQLite that a thread runs from end to end, for bulk work; RuntimeError on PostgreSQL."""
        if self._bulk is None:
            raise RuntimeError("only an open SQLite database has it")
        return await self._bulk.write(work)

    @asynccontextmanager
    async def bare(self) -> AsyncGenerator[AsyncConnection]:
        """A writing transaction as SQLAlchemy has it, for migrations only."""
        async with _transaction(self._open_engines().write) as connection:
            yield connection

    async def _wall_off(self, connection: AsyncConnection, scope: Scope | None) -> None:
        """Name the tenant that the policies of row-level security go by, until the transaction ends."""
        if scope is None or self.dialect == "sqlite":
            return
        names = {"organization": scope.organization_id, "project": scope.project_id or ""}
        with translated():
            await connection.execute(_NAME_TENANT, names)

    def _open_engines(self) -> Engines:
        if self._engines is None:
            raise RuntimeError("the database is not open")
        return self._engines


@asynccontextmanager
async def _transaction(engine: AsyncEngine) -> AsyncGenerator[AsyncConnection]:
    with connecting():
        connection = await engine.connect()
    try:
        with translated():
            await connection.begin()
        yield connection
        with translated():
            await connection.commit()
    finally:
        await _release(connection)


def _make_folder(data: Path) -> None:
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"data: cannot create the folder {data}: {error.strerror}") from error


async def _release(connection: AsyncConnection) -> None:
    with translated():
        await asyncio.shield(connection.close())
