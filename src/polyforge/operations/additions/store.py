"""All SQL of additions. They are the installation's, so nothing here is scoped."""

from typing import Any, Final

import msgspec
from sqlalchemy import delete, insert, select, update

from polyforge.database.counting import take_number
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.operations.additions.content import Additions, Kind
from polyforge.operations.additions.tables import additions

_LOCK: Final = "configurations"
"""Additions and versions of the file change one at a time, all of them."""


class AdditionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One addition."""

    kind: Kind
    name: str
    content: str
    """JSON, its secrets only as references."""
    created_at: float
    created_by: str
    changed_at: float
    changed_by: str

    @property
    def value(self) -> dict[str, Any]:
        """The content, read."""
        return msgspec.json.decode(self.content, type=dict[str, Any])


class SystemAdditions:
    """The additions."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def rows(self) -> list[AdditionRow]:
        """Every addition, by kind and name; there are at most as many as may be made."""
        query = select(additions).order_by(additions.c.kind, additions.c.name)
        return [AdditionRow(**row) for row in await self._session.all(query)]

    async def get(self, kind: Kind, name: str) -> AdditionRow | None:
        """One addition."""
        query = select(additions).where(additions.c.kind == kind, additions.c.name == name)
        row = await self._session.first(query)
        return None if row is None else AdditionRow(**row)


class AdditionEditor(SystemAdditions):
    """The same, changed by one at a time."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._writer = session

    async def lock(self) -> None:
        """Wait until nobody else changes what is declared, and keep it so until this transaction ends."""
        await take_number(self._writer, _LOCK)

    async def put(self, row: AdditionRow) -> None:
        """Make an addition what `row` says. Needs the lock."""
        values = msgspec.structs.asdict(row)
        same = (additions.c.kind == row.kind, additions.c.name == row.name)
        if not await self._writer.change(update(additions).where(*same).values(values)):
            await self._writer.change(insert(additions).values(values))

    async def remove(self, kind: Kind, name: str) -> None:
        """Take an addition away. Needs the lock."""
        await self._writer.change(delete(additions).where(additions.c.kind == kind, additions.c.name == name))


def gathered(rows: list[AdditionRow]) -> Additions:
    """What rows say, in the order of names."""
    found: dict[str, dict[str, Any]] = {"provider": {}, "model": {}}
    for row in sorted(rows, key=lambda row: row.name):
        found[row.kind][row.name] = row.value
    changed = {row.name: row.changed_at for row in rows if row.kind == "provider"}
    return Additions(found["provider"], found["model"], changed)
