"""Sealing everything with the current master key, after that one was replaced: in the background, a few rows at a time.

A row is only replaced by the same value under the new key, and only if nobody changed it meanwhile, so every value can
be opened at every moment. What was done is seen from the rows themselves: a process that is killed leaves nothing to
repair, and the next one goes on.
"""

import asyncio
from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any, Final

import msgspec
from sqlalchemy import (
    ColumnElement,
    LargeBinary,
    RowMapping,
    Table,
    and_,
    func,
    literal_column,
    select,
    type_coerce,
    update,
)

from polyforge.database.counting import take_number
from polyforge.database.database import Database
from polyforge.database.sessions import WriteSession
from polyforge.kernel.errors import PolyforgeError
from polyforge.secrets.sealing import HEAD_BYTES, MasterKeys, Unsealable
from polyforge.telemetry.logs import get_logger

_LOCK: Final = "sealing"
_PAUSE_SECONDS: Final = 0.05
_RETRY_SECONDS: Final = 5.0

_log = get_logger(__name__)


class SealedColumn(msgspec.Struct, frozen=True):
    """A column of sealed values, in a table whose primary key is `id`.

    `belongs_to` is what its values are bound to, with the row's columns in braces. `master` is the column, if there is
    one, that says which master key was used. `rows` is how many are sealed again in one step.
    """

    table: Table
    column: str
    belongs_to: str
    master: str | None = None
    rows: int = 100

    @property
    def sealed(self) -> ColumnElement[bytes]:
        """The column itself."""
        return self.table.c[self.column]

    @property
    def sealed_with(self) -> ColumnElement[bytes]:
        """The beginning of a sealed value, which tells the master key."""
        # Literals, because PostgreSQL does not group by what holds parameters.
        head = func.substr(self.sealed, literal_column("1"), literal_column(str(HEAD_BYTES)))
        return type_coerce(head, LargeBinary())

    @property
    def needed(self) -> list[ColumnElement[Any]]:
        """What must be read of a row to seal it again."""
        named = [name for _, name, _, _ in Formatter().parse(self.belongs_to) if name]
        return [self.table.c[name] for name in dict.fromkeys(["id", *named, self.column])]


class SealingReport(msgspec.Struct, frozen=True):
    """How many rows each master key has sealed, by its id."""

    current: str
    available: frozenset[str]
    rows: Mapping[str, int]

    @property
    def left(self) -> int:
        """Rows that another than the current one sealed."""
        return sum(rows for master, rows in self.rows.items() if master != self.current)


class Batch(msgspec.Struct):
    """What became of some rows. `last` is the id of the last of them, None when there was none."""

    last: str | None
    renewed: int = 0
    failed: int = 0


class Sealing:
    """Renews the seals of all sealed columns."""

    def __init__(self, database: Database, master: MasterKeys, columns: Sequence[SealedColumn]) -> None:
        self._database = database
        self._master = master
        self._columns = columns

    async def report(self) -> SealingReport:
        """How far it has come. Reads every row: for people who ask, not for machines that ask all the time."""
        rows = {self._master.current: 0}
        for column in self._columns:
            query = select(column.sealed_with.label("head"), func.count().label("rows"))
            query = query.where(column.sealed.is_not(None)).group_by(column.sealed_with)
            async with self._database.read() as session:
                for row in await session.all(query):
                    master = self._master.sealed_with(row["head"])
                    rows[master] = rows.get(master, 0) + row["rows"]
        return SealingReport(self._master.current, self._master.known, rows)

    async def run(self) -> None:
        """Seal every row again that needs it, then return; waits for a database that is down, and tries again."""
        for column in self._columns:
            await self._renew(column)

    async def _renew(self, column: SealedColumn) -> None:
        after: str | None = ""
        table = str(column.table.name)
        renewed = failed = 0
        while after is not None:
            batch = await self._try(column, after)
            if batch is None:
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            after, renewed, failed = batch.last, renewed + batch.renewed, failed + batch.failed
            await asyncio.sleep(_PAUSE_SECONDS)
        if renewed:
            _log.info("sealed again with the current master key", table=table, rows=renewed)
        if failed:
            _log.error("some sealed values cannot be opened", table=table, rows=failed)

    async def _try(self, column: SealedColumn, after: str) -> "Batch | None":
        """Some rows, or None when that has to wait."""
        try:
            return await self.renew_some(column, after)
        except PolyforgeError as error:
            reason = error.message
        except Exception as error:  # noqa: BLE001  # whatever it was, nobody else would go on before the next start
            reason = repr(error)
        _log.warning("sealing again has to wait", table=str(column.table.name), reason=reason)
        return None

    async def renew_some(self, column: SealedColumn, after: str) -> "Batch":
        """Seal some rows again, of those beyond the id `after`."""
        query = select(*column.needed).where(and_(column.sealed.is_not(None), self._is_old(column)))
        query = query.where(column.table.c.id > after).order_by(column.table.c.id).limit(column.rows)
        async with self._database.read() as session:
            first = await session.first(query)
        if first is None:
            return Batch(None)
        async with self._database.write() as session:
            # Held until the commit, so that two processes take turns instead of doing the same twice.
            await take_number(session, _LOCK)
            batch = Batch(first["id"])
            for row in await session.all(query):
                batch.last = row["id"]
                await self._seal_again(session, column, row, batch)
        return batch

    def _is_old(self, column: SealedColumn) -> ColumnElement[bool]:
        return column.sealed_with != self._master.head

    async def _seal_again(self, session: WriteSession, column: SealedColumn, row: RowMapping, batch: "Batch") -> None:
        belongs_to = column.belongs_to.format(**row)
        try:
            value = self._master.open(row[column.column], belongs_to)
        except Unsealable:
            batch.failed += 1
            return
        values: dict[str, Any] = {column.column: self._master.seal(value, belongs_to)}
        if column.master is not None:
            values[column.master] = self._master.current
        same = and_(column.table.c.id == row["id"], column.sealed == row[column.column])
        batch.renewed += await session.change(update(column.table).where(same).values(values))
