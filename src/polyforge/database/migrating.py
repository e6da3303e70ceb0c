"""Bringing the schema up to date with Alembic, one process at a time."""

import asyncio
import fcntl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.ext.asyncio import AsyncConnection

from polyforge.database.database import Database
from polyforge.database.engine import sqlite_path
from polyforge.database.failures import translated
from polyforge.database.schema import HEAD, refuse_newer
from polyforge.database.settings import DatabaseSettings
from polyforge.kernel.errors import Unavailable

SCRIPTS = "polyforge.database:migrations"
_ADVISORY_LOCK = 0x706F_6C79_666F_7267
"""PostgreSQL's name for our lock: "polyforg" as a 64-bit number."""
_POLL_SECONDS = 0.05


def configuration() -> Config:
    """What Alembic needs to find the migrations; there is no alembic.ini."""
    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    return config


async def upgrade(
    settings: DatabaseSettings, data: Path, metadata: MetaData, *, wait_seconds: float = 600.0
) -> tuple[str | None, str]:
    """Bring the schema to HEAD in one transaction, under a lock; from which revision to which.

    A migration may take up to `wait_seconds`, as may waiting for another process that migrates. SettingsError when the
    database is newer than this code, Unavailable when it does not answer or the wait is over.
    """
    database = Database(settings, data, patience=wait_seconds)
    await database.open()
    try:
        async with file_lock(database, data, wait_seconds), database.bare() as connection:
            with translated():
                await advisory_lock(database, connection)
                before = await connection.run_sync(_upgrade, metadata)
    finally:
        await database.close()
    return before, HEAD


def _upgrade(connection: Connection, metadata: MetaData) -> str | None:
    before = MigrationContext.configure(connection).get_current_revision()
    refuse_newer(before)
    config = configuration()
    config.attributes["connection"] = connection
    config.attributes["metadata"] = metadata
    if before != HEAD:
        command.upgrade(config, HEAD)
    return before


async def advisory_lock(database: Database, connection: AsyncConnection) -> None:
    """One migrating process per PostgreSQL database, until the transaction of `connection` ends."""
    if database.dialect == "postgresql":
        await connection.execute(text("SELECT pg_advisory_xact_lock(:name)"), {"name": _ADVISORY_LOCK})


@asynccontextmanager
async def file_lock(database: Database, data: Path, wait_seconds: float) -> AsyncGenerator[None]:
    """One migrating process per SQLite file: switching a new file to WAL does not wait for other connections."""
    if database.dialect != "sqlite":
        yield
        return
    with sqlite_path(data).with_suffix(".db.lock").open("ab") as file:
        await _wait_for(file.fileno(), wait_seconds)
        yield


async def _wait_for(descriptor: int, wait_seconds: float) -> None:
    try:
        async with asyncio.timeout(wait_seconds):
            while not _try_lock(descriptor):  # noqa: ASYNC110  # another process has it
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError as error:
        raise Unavailable(f"database: another process has been migrating for more than {wait_seconds:g} s") from error


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
