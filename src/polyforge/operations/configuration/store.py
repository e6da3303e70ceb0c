"""All SQL of configurations. They are the installation's, so nothing here is scoped."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import RowMapping, insert, select

from polyforge.database.counting import take_number
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.operations.configuration.tables import configurations

_CONFIGURATIONS: Final = "configurations"

Source = Literal["file", "rollback"]


class ConfigurationRow(msgspec.Struct, frozen=True):
    """One version of what is declared."""

    version: int
    source: Source
    of_version: int | None
    """The version that a rollback returned to."""
    digest: bytes
    content: str
    """JSON, its secrets only as references."""
    needs_restart: list[str]
    """Paths of other settings that changed with it."""
    created_at: float
    created_by: str
    host: str
    accepted: bool
    reason: str | None
    """Why it was refused."""


class SystemConfigurations:
    """The versions of what is declared."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def get(self, version: int) -> ConfigurationRow | None:
        """One version."""
        return self._row(await self._session.first(select(configurations).where(configurations.c.version == version)))

    async def page(self, limit: int, before: int | None) -> list[ConfigurationRow]:
        """Up to `limit` versions, newest first, earlier than `before`."""
        query = select(configurations).order_by(configurations.c.version.desc()).limit(limit)
        if before is not None:
            query = query.where(configurations.c.version < before)
        return [ConfigurationRow(**row) for row in await self._session.all(query)]

    async def newest(self) -> ConfigurationRow | None:
        """The latest version, refused or not."""
        return next(iter(await self.page(1, None)), None)

    async def active(self) -> ConfigurationRow | None:
        """The version that is to be in force: the latest that was accepted."""
        return await self._latest(configurations.c.accepted.is_(True))

    async def newest_of_file(self) -> ConfigurationRow | None:
        """The latest version that came from a file and was accepted."""
        return await self._latest(configurations.c.accepted.is_(True), configurations.c.source == "file")

    async def _latest(self, *conditions: Any) -> ConfigurationRow | None:
        query = select(configurations).where(*conditions).order_by(configurations.c.version.desc()).limit(1)
        return self._row(await self._session.first(query))

    def _row(self, row: RowMapping | None) -> ConfigurationRow | None:
        return None if row is None else ConfigurationRow(**row)


class ConfigurationEditor(SystemConfigurations):
    """The same, added to by one at a time."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._writer = session

    async def lock(self) -> None:
        """Wait until nobody else adds a version, and keep it so until this transaction ends."""
        await take_number(self._writer, _CONFIGURATIONS)

    async def add(self, values: Mapping[str, Any]) -> ConfigurationRow:
        """One more version. Needs the lock."""
        newest = await self.newest()
        row = ConfigurationRow(version=newest.version + 1 if newest else 1, **values)
        await self._writer.change(insert(configurations).values(msgspec.structs.asdict(row)))
        return row
