"""One transaction, in two types: what takes a `ReadSession` cannot write, and says so in its signature."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Delete, Executable, Insert, Row, RowMapping, Select, TextClause, Update
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncConnection

from polyforge.database.failures import translated

Query = Select[*tuple[Any, ...]]
Answer = TypeVar("Answer")
Change = Insert | Update | Delete | TextClause


class ReadSession:
    """A transaction that sees one database and changes nothing in it."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def all(self, statement: Query) -> Sequence[RowMapping]:
        """Every row, by column name."""
        return (await self._run(statement)).mappings().all()

    async def first(self, statement: Query) -> RowMapping | None:
        """The first row, or None."""
        return (await self._run(statement)).mappings().first()

    async def scalar(self, statement: Query) -> Any:
        """The first column of the first row, or None."""
        return (await self._run(statement)).scalar()

    async def inspect(self, ask: Callable[[Connection], Answer]) -> Answer:
        """What `ask` finds out about the schema."""
        with translated():
            return await self._connection.run_sync(ask)

    async def _run(self, statement: Executable) -> CursorResult[Any]:
        with translated():
            return await self._connection.execute(statement)


class WriteSession(ReadSession):
    """A transaction that may change rows; it commits when its block ends, and rolls back when that raises.

    On SQLite it holds the write lock from its start, so that what it reads is still true when it writes.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        super().__init__(connection)
        self.tells = False
        """Whether it added events, so that the tail of this process looks for them once it has committed."""

    async def change(self, statement: Change) -> int:
        """Run one statement; the number of rows that it touched."""
        return (await self._run(statement)).rowcount

    async def change_many(self, statement: Insert | Update, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run one statement once for each row of parameters."""
        with translated():
            await self._connection.execute(statement, rows)

    async def returning(self, statement: Change) -> RowMapping | None:
        """Run one statement with RETURNING; its first row."""
        return (await self._run(statement)).mappings().first()

    async def raw(self, sql: str, parameters: tuple[Any, ...]) -> int:
        """One statement in the driver's own words, for bulk work; the number of rows that it touched."""
        with translated():
            return (await self._connection.exec_driver_sql(sql, parameters)).rowcount

    async def raw_returning(self, sql: str, parameters: tuple[Any, ...]) -> Sequence[Row[Any]]:
        """The same with RETURNING; every row."""
        with translated():
            return (await self._connection.exec_driver_sql(sql, parameters)).all()
