"""All SQL of the exports. It stands behind all tenants: an export has the events of every organization."""

from typing import Any

import msgspec
from sqlalchemy import RowMapping, delete, func, insert, or_, select, text, update

from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.tenancy.audit.tables import audit_dead_letters, audit_exports

MOST_COUNTED = 10_000
"""Dead letters are not counted any further."""
_ENSURE = text(
    "INSERT INTO audit_exports (name, sequence, failures, retry_at, changed_at, held_until) "
    "VALUES (:name, 0, 0, 0, :now, 0) ON CONFLICT (name) DO NOTHING"
)
_exports = audit_exports.c
_letters = audit_dead_letters.c


class ExportState(msgspec.Struct, frozen=True):
    """How far an export is."""

    name: str
    sequence: int
    """The sink has every event up to this one, but for the dead letters."""
    failures: int
    """Tries that failed since the last that did not."""
    retry_at: float
    error: str | None
    changed_at: float
    holder: str | None
    held_until: float

    def held_by_another(self, holder: str, now: float) -> bool:
        """Whether another process sends."""
        return self.holder not in (None, holder) and self.held_until > now


class DeadLetter(msgspec.Struct, frozen=True):
    """An event that a sink refused for good."""

    id: str
    export: str
    sequence: int
    reason: str
    at: float
    wanted_at: float | None = None


class SystemExportStore:
    """The state of the exports, and their dead letters."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def state(self, name: str) -> ExportState | None:
        """One export; None when it never ran."""
        row = await self._session.first(select(audit_exports).where(_exports.name == name))
        return None if row is None else _state_of(row)

    async def states(self) -> dict[str, ExportState]:
        """Every export that ever ran, by name."""
        rows = await self._session.all(select(audit_exports).order_by(_exports.name).limit(MOST_COUNTED))
        return {row["name"]: _state_of(row) for row in rows}

    async def letter(self, letter_id: str) -> DeadLetter | None:
        """One dead letter."""
        row = await self._session.first(select(audit_dead_letters).where(_letters.id == letter_id))
        return None if row is None else _letter_of(row)

    async def letters(self, export: str | None, limit: int, before: str | None) -> list[DeadLetter]:
        """Up to `limit` dead letters, of one export or of all, newest first, older than the id `before`."""
        query = select(audit_dead_letters).order_by(_letters.id.desc()).limit(limit)
        if export is not None:
            query = query.where(_letters.export == export)
        if before is not None:
            query = query.where(_letters.id < before)
        return [_letter_of(row) for row in await self._session.all(query)]

    async def letter_count(self, export: str) -> int:
        """How many dead letters an export has, up to MOST_COUNTED."""
        some = select(_letters.id).where(_letters.export == export).limit(MOST_COUNTED).subquery()
        return await self._session.scalar(select(func.count()).select_from(some)) or 0

    async def wanted(self, export: str, limit: int) -> list[DeadLetter]:
        """Dead letters that somebody wants sent again, in the order of their wishes."""
        query = select(audit_dead_letters).where(_letters.export == export, _letters.wanted_at > 0)
        query = query.order_by(_letters.wanted_at, _letters.id).limit(limit)
        return [_letter_of(row) for row in await self._session.all(query)]


class SystemExportEditor(SystemExportStore):
    """The same, to be changed."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._writer = session

    async def claim(self, name: str, holder: str, now: float, until: float) -> ExportState | None:
        """Become, or stay, the one that sends; None when another process does."""
        if not await self._take(name, holder, now, until):
            await self._writer.change(_ENSURE.bindparams(name=name, now=now))
            if not await self._take(name, holder, now, until):
                return None
        return await self.state(name)

    async def _take(self, name: str, holder: str, now: float, until: float) -> bool:
        free = or_(_exports.holder.is_(None), _exports.holder == holder, _exports.held_until <= now)
        values = {"holder": holder, "held_until": until}
        return await self._writer.change(update(audit_exports).where(_exports.name == name, free).values(values)) > 0

    async def change(self, name: str, holder: str, sequence: int, values: dict[str, Any]) -> bool:
        """Change an export that this process holds, and that is where it should be; False when that is not so."""
        mine = (_exports.name == name, _exports.holder == holder, _exports.sequence == sequence)
        return await self._writer.change(update(audit_exports).where(*mine).values(values)) > 0

    async def release(self, holder: str) -> None:
        """Let other processes send."""
        values = {"holder": None, "held_until": 0.0}
        await self._writer.change(update(audit_exports).where(_exports.holder == holder).values(values))

    async def bury(self, letter: DeadLetter) -> None:
        """Add a dead letter."""
        await self._writer.change(insert(audit_dead_letters).values(msgspec.structs.asdict(letter)))

    async def want(self, letter: DeadLetter) -> None:
        """Have a dead letter sent again, from when it says."""
        values = {"wanted_at": letter.wanted_at}
        await self._writer.change(update(audit_dead_letters).where(_letters.id == letter.id).values(values))

    async def refuse_again(self, letter_id: str, reason: str, now: float) -> None:
        """A dead letter that was sent again to no avail."""
        values = {"wanted_at": None, "reason": reason, "at": now}
        await self._writer.change(update(audit_dead_letters).where(_letters.id == letter_id).values(values))

    async def remove(self, letter_id: str) -> None:
        """A dead letter that was delivered after all."""
        await self._writer.change(delete(audit_dead_letters).where(_letters.id == letter_id))


def _state_of(row: RowMapping) -> ExportState:
    return ExportState(**dict(row))


def _letter_of(row: RowMapping) -> DeadLetter:
    return DeadLetter(**dict(row))
