"""Tenancy in SQL: a store is given handles on tables as one tenant sees them, and no session to go around them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, RowMapping, Table, and_, delete, insert, select, update

from polyforge.database.sessions import Query, ReadSession, WriteSession

Refine = Callable[[Query], Query]
"""Adds conditions, an order, a limit or groups to a query; nothing that it does can take the scope away again."""


class Scope(msgspec.Struct, frozen=True):
    """Whose rows: those of one project, or without one those of a whole organization."""

    organization_id: str
    project_id: str | None = None


class ScopedReader:
    """The rows of one table that belong to a scope."""

    def __init__(self, session: ReadSession, scope: Scope, table: Table) -> None:
        self.__session = session
        self._scope = scope
        self._table = table

    async def all(self, *columns: ColumnElement[Any], refine: Refine | None = None) -> Sequence[RowMapping]:
        """Rows of `columns`, all of them when none are named."""
        return await self.__session.all(self._select(columns, refine))

    async def first(self, *columns: ColumnElement[Any], refine: Refine | None = None) -> RowMapping | None:
        """The first of such rows, or None."""
        return await self.__session.first(self._select(columns, refine))

    def _select(self, columns: tuple[ColumnElement[Any], ...], refine: Refine | None) -> Query:
        query = select(*(columns or self._table.c)).select_from(self._table)
        return (refine(query) if refine else query).where(self._mine())

    def _mine(self) -> ColumnElement[bool]:
        columns = self._table.c
        mine = columns.organization_id == self._scope.organization_id
        return mine if self._scope.project_id is None else and_(mine, columns.project_id == self._scope.project_id)


class ScopedWriter(ScopedReader):
    """The same rows, to be changed as well."""

    def __init__(self, session: WriteSession, scope: Scope, table: Table) -> None:
        super().__init__(session, scope, table)
        self.__session = session

    async def insert(self, values: Mapping[str, Any]) -> None:
        """Add a row that belongs to the scope, whatever `values` say."""
        await self.__session.change(insert(self._table).values(self._owned(values)))

    async def insert_many(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows of the same columns; there is at least one."""
        await self.__session.change_many(insert(self._table), [self._owned(values) for values in rows])

    async def update_many(
        self, where: ColumnElement[bool], values: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
    ) -> None:
        """Change rows of the scope, once with each of these parameters of `where` and `values`."""
        await self.__session.change_many(update(self._table).where(where, self._mine()).values(values), rows)

    async def update(self, where: ColumnElement[bool], values: Mapping[str, Any]) -> int:
        """Change the rows of the scope that match, which stay in it; how many."""
        return await self.__session.change(update(self._table).where(where, self._mine()).values(self._owned(values)))

    async def delete(self, where: ColumnElement[bool]) -> int:
        """Remove the rows of the scope that match; how many."""
        return await self.__session.change(delete(self._table).where(where, self._mine()))

    def _owned(self, values: Mapping[str, Any]) -> dict[str, Any]:
        own: dict[str, Any] = {"organization_id": self._scope.organization_id}
        if self._scope.project_id is not None:
            own["project_id"] = self._scope.project_id
        return {**values, **own}
