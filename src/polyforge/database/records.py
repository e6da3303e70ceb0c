"""What stores of one tenant have in common whose rows are records: any of their tables is read and changed alike."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Table

from polyforge.database.scopes import Scope, ScopedReader, ScopedWriter
from polyforge.database.sessions import Query, ReadSession, WriteSession

_Record = TypeVar("_Record", bound=msgspec.Struct)


class RecordStore:
    """Reads records, whose fields are columns of their table."""

    def __init__(self, session: ReadSession, scope: Scope) -> None:
        self._session = session
        self._scope = scope

    async def _first(self, table: Table, kind: type[_Record], where: ColumnElement[bool]) -> _Record | None:
        found = await self._all(table, kind, where, None, 1)
        return found[0] if found else None

    async def _all(
        self,
        table: Table,
        kind: type[_Record],
        where: ColumnElement[bool],
        order: ColumnElement[Any] | None = None,
        limit: int | None = None,
    ) -> list[_Record]:
        def refine(query: Query) -> Query:
            return query.where(where).order_by(order).limit(limit)

        wanted = [table.c[name] for name in kind.__struct_fields__]
        return [kind(**row) for row in await self._reader(table).all(*wanted, refine=refine)]

    def _reader(self, table: Table) -> ScopedReader:
        return ScopedReader(self._session, self._scope, table)


class RecordEditor(RecordStore):
    """The same, to be changed."""

    def __init__(self, session: WriteSession, scope: Scope) -> None:
        super().__init__(session, scope)
        self._writing = session

    async def add(self, table: Table, values: Mapping[str, Any] | msgspec.Struct) -> None:
        """A new row."""
        row = msgspec.structs.asdict(values) if isinstance(values, msgspec.Struct) else values
        await self._writer(table).insert(row)

    async def change(self, table: Table, where: ColumnElement[bool], values: Mapping[str, Any]) -> int:
        """Change rows; how many."""
        return await self._writer(table).update(where, values)

    async def remove(self, table: Table, where: ColumnElement[bool]) -> int:
        """Remove rows; how many."""
        return await self._writer(table).delete(where)

    def _writer(self, table: Table) -> ScopedWriter:
        return ScopedWriter(self._writing, self._scope, table)
