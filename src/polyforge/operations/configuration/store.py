"""All SQL of configurations. They are the installation's, so nothing here is scoped."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import RowMapping, insert, select

from polyforge.database.counting import take_number
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.operations.configuration.tables import configurations
from polyforge.telemetry.masking import MASK

_CONFIGURATIONS: Final = "configurations"

Source = Literal["file", "rollback"]


class ConfigurationFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One version of what is declared, but for its content."""

    version: int
    source: Source
    of_version: int | None
    """The version that a rollback returned to."""
    needs_restart: list[str]
    """Paths of other settings that changed with it."""
    created_at: float
    created_by: str
    host: str
    accepted: bool
    reason: str | None
    """Why it was refused."""


class ListedConfiguration(ConfigurationFacts, frozen=True, kw_only=True):
    """One version as lists have it."""

    masked: bool
    """Whether there are stars in its content, in place of secrets."""


class ConfigurationRow(ConfigurationFacts, frozen=True, kw_only=True):
    """One version with its content."""

    digest: bytes
    content: str
    """JSON, its secrets only as references."""


_FACTS: Final = tuple(configurations.c[name] for name in ConfigurationFacts.__struct_fields__)


class SystemConfigurations:
    """The versions of what is declared."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def get(self, version: int) -> ConfigurationRow | None:
        """One version."""
        return self._row(await self._session.first(select(configurations).where(configurations.c.version == version)))

    async def page(self, limit: int, before: int | None) -> list[ListedConfiguration]:
        """Up to `limit` versions, newest first, earlier than `before`; their contents stay in the database."""
        masked = configurations.c.content.contains(MASK, autoescape=True).label("masked")
        query = select(*_FACTS, masked).order_by(configurations.c.version.desc()).limit(limit)
        if before is not None:
            query = query.where(configurations.c.version < before)
        return [ListedConfiguration(**row) for row in await self._session.all(query)]

    async def newest(self) -> ConfigurationRow | None:
        """The latest version, refused or not."""
        return await self._latest()

    async def active(self) -> ConfigurationRow | None:
        """The version that is to be in force: the latest that was accepted."""
        return await self._latest(configurations.c.accepted.is_(True))

    async def active_version(self) -> int | None:
        """The number of that version."""
        columns = configurations.c
        query = select(columns.version).where(columns.accepted.is_(True)).order_by(columns.version.desc()).limit(1)
        return await self._session.scalar(query)

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
