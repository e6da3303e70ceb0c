"""All SQL of flags. They are the installation's, so nothing here is scoped."""

from typing import Any, Final

import msgspec
from sqlalchemy import delete, func, insert, select, update

from polyforge.database.counting import take_number
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.operations.flags.tables import flag_history, flags

_FLAGS: Final = "flags"


class FlagRow(msgspec.Struct, frozen=True):
    """One version of a flag; `value` is None where it was removed."""

    name: str
    value: Any
    version: int
    changed_at: float
    changed_by: str


class SystemFlags:
    """The flags and their history."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def all(self) -> list[FlagRow]:
        """Every flag; there are at most as many as may be made."""
        return [FlagRow(**row) for row in await self._session.all(select(flags))]

    async def get(self, name: str) -> FlagRow | None:
        """One flag as it is now."""
        row = await self._session.first(select(flags).where(flags.c.name == name))
        return FlagRow(**row) if row else None

    async def page(self, limit: int, after: str | None) -> list[FlagRow]:
        """Up to `limit` flags by name, those after the name `after`."""
        query = select(flags).order_by(flags.c.name).limit(limit)
        if after is not None:
            query = query.where(flags.c.name > after)
        return [FlagRow(**row) for row in await self._session.all(query)]

    async def history(self, name: str, limit: int, before: int | None) -> list[FlagRow]:
        """Up to `limit` versions of a flag, newest first, earlier than `before`."""
        query = select(flag_history).where(flag_history.c.name == name)
        if before is not None:
            query = query.where(flag_history.c.version < before)
        rows = await self._session.all(query.order_by(flag_history.c.version.desc()).limit(limit))
        return [FlagRow(**row) for row in rows]

    async def version(self, name: str, version: int) -> FlagRow | None:
        """One version of a flag."""
        query = select(flag_history).where(flag_history.c.name == name, flag_history.c.version == version)
        row = await self._session.first(query)
        return FlagRow(**row) if row else None


class FlagEditor(SystemFlags):
    """The same, to be changed by one at a time."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._writer = session

    async def lock(self) -> None:
        """Wait until nobody else changes flags, and keep it so until this transaction ends."""
        await take_number(self._writer, _FLAGS)

    async def count(self) -> int:
        """How many flags there are."""
        return await self._session.scalar(select(func.count()).select_from(flags))

    async def last_version(self, name: str) -> int:
        """The version that a flag, present or removed, was last given; 0 for a name that never was one."""
        query = select(func.max(flag_history.c.version)).where(flag_history.c.name == name)
        return await self._session.scalar(query) or 0

    async def put(self, row: FlagRow) -> None:
        """Make a flag what `row` says, and remember it. Needs the lock."""
        values = msgspec.structs.asdict(row)
        await self._writer.change(insert(flag_history).values(values))
        if row.value is None:
            await self._writer.change(delete(flags).where(flags.c.name == row.name))
        elif not await self._writer.change(update(flags).where(flags.c.name == row.name).values(values)):
            await self._writer.change(insert(flags).values(values))
