"""Upgrading a database that is not current, and loading what that takes only then.

Alembic and its templates take a tenth of a second and some megabytes, which a process whose database is current, as it
nearly always is, has no use for.
"""

import asyncio
from importlib import import_module
from pathlib import Path

from sqlalchemy import MetaData
from sqlalchemy.exc import DBAPIError

from polyforge.database.database import Database
from polyforge.database.failures import sqlstate
from polyforge.database.schema import is_current
from polyforge.database.settings import DatabaseSettings
from polyforge.kernel.errors import SettingsError, Unavailable

MIGRATING = "polyforge.database.migrating"


async def ensure_current(
    database: Database, settings: DatabaseSettings, data: Path, metadata: MetaData, *, wait_seconds: float = 600.0
) -> bool:
    """Bring the schema up to date; False when it was current already.

    Safe when several processes start at once: the migration takes a lock, and who comes second finds nothing to do.
    Unavailable when the database does not answer, SettingsError when no waiting will help.
    """
    if await _is_current_or_misconfigured(database):
        return False
    migrating = await asyncio.to_thread(import_module, MIGRATING)
    await migrating.upgrade(settings, data, metadata, wait_seconds=wait_seconds)
    return True


async def _is_current_or_misconfigured(database: Database) -> bool:
    try:
        return await is_current(database)
    except Unavailable as error:
        state = sqlstate(error.__cause__)
        if state and state[:2] in {"28", "3D"}:
            raise SettingsError(f"database.url: {_reason(error.__cause__)}") from error
        raise


def _reason(error: BaseException | None) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return str(cause)
