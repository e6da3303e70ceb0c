"""Looking at what was declared, and returning to it, on behalf of a caller."""

import asyncio

import msgspec

from polyforge.database.database import Database
from polyforge.kernel.errors import Conflict, NotFound, SettingsError
from polyforge.operations.configuration.content import decode, is_masked
from polyforge.operations.configuration.following import Following
from polyforge.operations.configuration.source import Source
from polyforge.operations.configuration.store import ConfigurationRow, SystemConfigurations
from polyforge.operations.configuration.versions import Versions
from polyforge.tenancy.callers import Caller


class Known(msgspec.Struct, frozen=True):
    """A version, and whether it is in force."""

    row: ConfigurationRow
    active: bool


class ConfigurationService:
    """Shows versions and rolls back to them."""

    def __init__(self, database: Database, versions: Versions, source: Source, following: Following) -> None:
        self._database = database
        self._versions = versions
        self._source = source
        self._following = following

    @property
    def running(self) -> int | None:
        """The version that this process runs."""
        return self._following.version

    async def page(self, limit: int, before: int | None) -> tuple[list[Known], int | None]:
        """Up to `limit` versions, newest first, and before which the next page ends, None after the last."""
        async with self._database.read() as session:
            store = SystemConfigurations(session)
            found = await store.page(limit + 1, before)
            active = await store.active()
        following = found[limit - 1].version if len(found) > limit else None
        return [_known(row, active) for row in found[:limit]], following

    async def get(self, version: int) -> Known:
        """One version; NotFound when there is none."""
        async with self._database.read() as session:
            store = SystemConfigurations(session)
            row = await store.get(version)
            if row is None:
                raise NotFound(f"there is no configuration {version}")
            return _known(row, await store.active())

    async def roll_back(self, caller: Caller, version: int) -> Known:
        """Return to an earlier version, as a new one that every machine then takes.

        Conflict when that one was refused, holds stars in place of secrets, or does not work on this machine any more.
        """
        row = (await self.get(version)).row
        if not row.accepted:
            raise Conflict(f"version {version} was refused: {row.reason}")
        sections = decode(row.content)
        if is_masked(sections):
            raise Conflict(
                f"version {version} held secrets that were written out in the file, which the database does not keep; "
                "refer to them with env:, file: or secret:, and return to such a version"
            )
        try:
            await asyncio.to_thread(self._source.build, sections)
        except SettingsError as error:
            raise Conflict(f"version {version} does not work any more: {error.message}") from error
        needs_restart = self._source.needs_restart(sections)
        return Known(await self._versions.roll_back(caller, row, list(needs_restart)), active=True)


def _known(row: ConfigurationRow, active: ConfigurationRow | None) -> Known:
    return Known(row, active is not None and active.version == row.version)
