"""Which schema this code needs, and whether the database has it; knows nothing of how one becomes the other.

Kept apart from `migrating` because that needs Alembic, which a gateway has no use for once its database is current.
Migrations are expand-then-contract over one release: a release only adds what the one before can ignore, and removes
what the one before no longer uses, so that both can run on one database while a new version rolls out.
"""

import asyncio
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence

from sqlalchemy import Column, MetaData, String, Table, select
from sqlalchemy import inspect as inspect_schema
from sqlalchemy.exc import DBAPIError

from polyforge.database.database import Database
from polyforge.database.failures import sqlstate
from polyforge.kernel.errors import SettingsError, Unavailable

REVISIONS = ("0001", "0002")
"""Every schema that this code knows, oldest first."""
HEAD = REVISIONS[-1]

EXIT_SETTINGS = 78
EXIT_UNAVAILABLE = 75
"""How a migrating process says what went wrong (sysexits.h: EX_CONFIG, EX_TEMPFAIL); its message is on stderr."""

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


async def ensure_current(database: Database, command: Sequence[str], *, timeout_seconds: float = 600.0) -> bool:
    """Bring the schema up to date by running `command` in a process of its own; False when it was current already.

    Safe when several processes start at once: the migration takes a lock, and who comes second finds nothing to do.
    Unavailable when the database does not answer, SettingsError when no waiting will help.
    """
    if await _is_current_or_misconfigured(database):
        return False
    await _run(command, timeout_seconds)
    if not await is_current(database):
        raise SettingsError("database: the schema is not current after migrating; is `database.url` the same for all?")
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


async def _run(command: Sequence[str], timeout_seconds: float) -> None:
    process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE)
    try:
        async with asyncio.timeout(timeout_seconds):
            _, output = await process.communicate()
    except TimeoutError as error:
        raise Unavailable(f"database: migrating took longer than {timeout_seconds:g} s; it was rolled back") from error
    finally:
        await _end(process)
    if process.returncode:
        raise _failure(process.returncode, output.decode(errors="replace").strip())


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


def _failure(code: int, message: str) -> Exception:
    if code == EXIT_SETTINGS:
        return SettingsError(message)
    if code == EXIT_UNAVAILABLE:
        return Unavailable(message)
    return RuntimeError(f"migrating the database failed with exit status {code}:\n{message}")
