"""Which schema this code needs, and whether the database has it; knows nothing of how one becomes the other.

Migrations are expand-then-contract over one release: a release only adds what the one before can ignore, and removes
what the one before no longer uses, so that both can run on one database while a new version rolls out.
"""

from sqlalchemy import Column, MetaData, String, Table, select
from sqlalchemy import inspect as inspect_schema

from polyforge.database.database import Database
from polyforge.kernel.errors import SettingsError

REVISIONS = tuple(f"{number:04}" for number in range(1, 26))
"""Every schema that this code knows, oldest first."""
HEAD = REVISIONS[-1]

VERSION_TABLE = "alembic_version"
_version_table = Table(VERSION_TABLE, MetaData(), Column("version_num", String(32), primary_key=True))


async def current_revision(database: Database) -> str | None:
    """The revision that the database is at, None for an empty one."""
    async with database.read() as session:
        if not await session.inspect(lambda connection: inspect_schema(connection).has_table(VERSION_TABLE)):
            return None
        return await session.scalar(select(_version_table.c.version_num))


async def is_current(database: Database) -> bool:
    """Whether the database has the schema of this code; SettingsError when it has a newer one."""
    revision = await current_revision(database)
    refuse_newer(revision)
    return revision == HEAD


def refuse_newer(revision: str | None) -> None:
    """SettingsError for a schema that this code does not know."""
    if revision is not None and revision not in REVISIONS:
        raise SettingsError(
            f"database: its schema is {revision}, this version knows up to {HEAD}: a newer version wrote to it. "
            "Install that version again, or restore a backup from before"
        )
