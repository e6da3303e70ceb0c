"""Looking at what was declared, and returning to it, on behalf of a caller."""

import asyncio
from typing import Any

import msgspec

from polyforge.database.database import Database
from polyforge.database.sessions import ReadSession
from polyforge.kernel.errors import Conflict, NotFound, SettingsError
from polyforge.operations.additions.content import NOTHING_ADDED
from polyforge.operations.configuration.content import decode, is_masked
from polyforge.operations.configuration.following import Following
from polyforge.operations.configuration.source import Source
from polyforge.operations.configuration.store import ConfigurationFacts, ConfigurationRow, SystemConfigurations
from polyforge.operations.configuration.versions import Versions
from polyforge.tenancy.callers import Caller


class Known(msgspec.Struct, frozen=True):
    """What is known of a version, and whether it is in force."""

    facts: ConfigurationFacts
    active: bool
    masked: bool
    """Whether secrets were written out in it, which nobody can return to."""


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
            active = await store.active_version()
        following = found[limit - 1].version if len(found) > limit else None
        return [Known(each, each.version == active, each.masked) for each in found[:limit]], following

    async def get(self, version: int) -> tuple[Known, dict[str, Any]]:
        """One version and what it declares; NotFound when there is none."""
        async with self._database.read() as session:
            row = await _found(session, version)
            active = await SystemConfigurations(session).active_version()
        sections = decode(row.content)
        return Known(row, row.version == active, is_masked(sections)), sections

    async def roll_back(self, caller: Caller, version: int) -> Known:
        """Return to an earlier version, as a new one that every machine then takes.

        Conflict when that one was refused, holds stars in place of secrets, or does not work on this machine any more.
        """
        async with self._database.read() as session:
            row = await _found(session, version)
        if not row.accepted:
            raise Conflict(f"version {version} was refused: {row.reason}")
        sections = decode(row.content)
        if is_masked(sections):
            raise Conflict(
                f"version {version} held secrets that were written out in the file, which the database does not keep; "
                "refer to them with env:, file: or secret:, and return to such a version"
            )
        try:
            await asyncio.to_thread(self._source.build, sections, NOTHING_ADDED)
        except SettingsError as error:
            raise Conflict(f"version {version} does not work any more: {error.message}") from error
        needs_restart = self._source.needs_restart(sections)
        made = await self._versions.roll_back(caller, row, list(needs_restart))
        return Known(made, active=True, masked=False)


async def _found(session: ReadSession, version: int) -> ConfigurationRow:
    row = await SystemConfigurations(session).get(version)
    if row is None:
        raise NotFound(f"there is no configuration {version}")
    return row
