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
    String,
    Table,
    and_,
    func,
    literal,
    literal_column,
    select,
    true,
    tuple_,
    type_coerce,
    update,
)

from polyforge.database.counting import take_number
from polyforge.database.database import Database
from polyforge.database.sessions import WriteSession
from polyforge.kernel.errors import PolyforgeError
from polyforge.secrets.sealed_text import HEAD_LENGTH, MARK, head_of, seal_again, sealed_bytes
from polyforge.secrets.sealing import HEAD_BYTES, MasterKeys, Unsealable
from polyforge.telemetry.logs import get_logger

_LOCK: Final = "sealing"
_PAUSE_SECONDS: Final = 0.05
_RETRY_SECONDS: Final = 5.0

_log = get_logger(__name__)


class SealedColumn(msgspec.Struct, frozen=True):
    """A column of sealed values, in a table whose primary key is `key`.

    `belongs_to` is what its values are bound to, with the row's columns in braces. `master` is the column, if there is
    one, that says which master key was used. `rows` is how many are sealed again in one step. With `text` it holds
    sealed texts, and others that were never sealed.
    """

    table: Table
    column: str
    belongs_to: str
    master: str | None = None
    rows: int = 100
    key: tuple[str, ...] = ("id",)
    text: bool = False

    @property
    def sealed(self) -> ColumnElement[Any]:
        """The column itself."""
        return self.table.c[self.column]

    @property
    def sealed_with(self) -> ColumnElement[Any]:
        """The beginning of a sealed value, which tells the master key."""
        # Literals, because PostgreSQL does not group by what holds parameters.
        length: ColumnElement[int] = literal_column(str(HEAD_LENGTH if self.text else HEAD_BYTES))
        head = func.substr(self.sealed, literal_column("1"), length)
        return type_coerce(head, String() if self.text else LargeBinary())

    @property
    def is_sealed(self) -> ColumnElement[bool]:
        """Whether there is a sealed value."""
        return self.sealed.startswith(MARK) if self.text else self.sealed.is_not(None)

    @property
    def order(self) -> list[ColumnElement[Any]]:
        """The primary key."""
        return [self.table.c[name] for name in self.key]

    def beyond(self, after: "Place") -> ColumnElement[bool]:
        """The rows that come after one, or with the empty text all of them."""
        if not after:
            return true()
        given = after if isinstance(after, tuple) else (after,)
        return tuple_(*self.order) > tuple_(*map(literal, given))

    def place(self, row: RowMapping) -> "Place":
        """Where a row comes."""
        return row[self.key[0]] if len(self.key) == 1 else tuple(row[name] for name in self.key)

    @property
    def needed(self) -> list[ColumnElement[Any]]:
        """What must be read of a row to seal it again."""
        named = [name for _, name, _, _ in Formatter().parse(self.belongs_to) if name]
        return [self.table.c[name] for name in dict.fromkeys([*self.key, *named, self.column])]


Place = str | tuple[Any, ...]
"""The primary key of a row: its id, or all columns of it."""


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
    """What became of some rows. `last` is where the last of them comes, None when there was none."""

    last: "Place | None"
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
            query = query.where(column.is_sealed).group_by(column.sealed_with)
            async with self._database.read() as session:
                for row in await session.all(query):
                    head = sealed_bytes(row["head"]) if column.text else row["head"]
                    master = self._master.sealed_with(head)
                    rows[master] = rows.get(master, 0) + row["rows"]
        return SealingReport(self._master.current, self._master.known, rows)

    async def run(self) -> None:
        """Seal every row again that needs it, then return; waits for a database that is down, and tries again."""
        for column in self._columns:
            # These are too long to be read at every start, and with one master key there is nothing to be opened.
            if not column.text or len(self._master.known) > 1:
                await self._renew(column)

    async def _renew(self, column: SealedColumn) -> None:
        after: Place | None = ""
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

    async def _try(self, column: SealedColumn, after: Place) -> "Batch | None":
        """Some rows, or None when that has to wait."""
        try:
            return await self.renew_some(column, after)
        except PolyforgeError as error:
            reason = error.message
        except Exception as error:  # noqa: BLE001  # whatever it was, nobody else would go on before the next start
            reason = repr(error)
        _log.warning("sealing again has to wait", table=str(column.table.name), reason=reason)
        return None

    async def renew_some(self, column: SealedColumn, after: Place) -> "Batch":
        """Seal some rows again, of those beyond `after`."""
        query = select(*column.needed).where(and_(column.is_sealed, self._is_old(column)))
        query = query.where(column.beyond(after)).order_by(*column.order).limit(column.rows)
        async with self._database.read() as session:
            first = await session.first(query)
        if first is None:
            return Batch(None)
        async with self._database.write() as session:
            # Held until the commit, so that two processes take turns instead of doing the same twice.
            await take_number(session, _LOCK)
            batch = Batch(column.place(first))
            for row in await session.all(query):
                batch.last = column.place(row)
                await self._seal_again(session, column, row, batch)
        return batch

    def _is_old(self, column: SealedColumn) -> ColumnElement[bool]:
        return column.sealed_with != (head_of(self._master) if column.text else self._master.head)

    async def _seal_again(self, session: WriteSession, column: SealedColumn, row: RowMapping, batch: "Batch") -> None:
        belongs_to = column.belongs_to.format(**row)
        try:
            sealed = self._sealed_again(column, row[column.column], belongs_to)
        except Unsealable:
            batch.failed += 1
            return
        values: dict[str, Any] = {column.column: sealed}
        if column.master is not None:
            values[column.master] = self._master.current
        same = and_(*(column.table.c[name] == row[name] for name in (*column.key, column.column)))
        batch.renewed += await session.change(update(column.table).where(same).values(values))

    def _sealed_again(self, column: SealedColumn, sealed: Any, belongs_to: str) -> bytes | str:
        if column.text:
            return seal_again(self._master, sealed, belongs_to)
        return self._master.seal(self._master.open(sealed, belongs_to), belongs_to)
