"""All SQL of saved conversations, of one project each."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, RowMapping, Select, and_, or_

from polyforge.database.scopes import Scope, ScopedReader, ScopedWriter
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.tenancy.conversations.tables import conversations
from polyforge.tenancy.history.records import Place

_columns: Final = conversations.c


class ConversationRow(msgspec.Struct, frozen=True):
    """A conversation as it is kept, without its content."""

    id: str
    owner_id: str
    shared: bool
    version: int
    title: bytes
    size: int
    created_at: float
    updated_at: float


class ConversationStore:
    """The conversations of one project that somebody may see: their own, and those that are shared."""

    def __init__(self, session: ReadSession, scope: Scope, owner_id: str) -> None:
        self._rows = ScopedReader(session, scope, conversations)
        self._owner_id = owner_id

    async def page(self, limit: int, after: Place | None, *, shared: bool) -> list[ConversationRow]:
        """Up to `limit` of their own or of the shared ones, the latest changed first."""

        def refine(query: Select[Any]) -> Select[Any]:
            query = query.where(_columns.shared if shared else self._own())
            if after is not None:
                earlier = and_(_columns.updated_at == after.started_at, _columns.id < after.id)
                query = query.where(or_(_columns.updated_at < after.started_at, earlier))
            return query.order_by(_columns.updated_at.desc(), _columns.id.desc()).limit(limit)

        return [_row_of(row) for row in await self._rows.all(*_SHOWN, refine=refine)]

    async def find(self, id_: str) -> ConversationRow | None:
        """One of them."""
        row = await self._rows.first(*_SHOWN, refine=lambda query: query.where(_columns.id == id_, self._visible()))
        return None if row is None else _row_of(row)

    async def content(self, id_: str) -> tuple[ConversationRow, bytes] | None:
        """One of them with its sealed content."""
        row = await self._rows.first(
            *_SHOWN, _columns.content, refine=lambda query: query.where(_columns.id == id_, self._visible())
        )
        return None if row is None else (_row_of(row), row["content"])

    async def reaches(self, most: int) -> bool:
        """Whether they have so many of their own, or more."""
        rows = await self._rows.all(_columns.id, refine=lambda query: query.where(self._own()).limit(most))
        return len(rows) >= most

    def _own(self) -> ColumnElement[bool]:
        return _columns.owner_id == self._owner_id

    def _visible(self) -> ColumnElement[bool]:
        return or_(self._own(), _columns.shared)


class ConversationEditor(ConversationStore):
    """The same, of which their own may be changed."""

    def __init__(self, session: WriteSession, scope: Scope, owner_id: str) -> None:
        super().__init__(session, scope, owner_id)
        self._editor = ScopedWriter(session, scope, conversations)

    async def add(self, values: Mapping[str, Any]) -> None:
        """Save one."""
        await self._editor.insert({**values, "owner_id": self._owner_id})

    async def change(self, id_: str, version: int, values: Mapping[str, Any]) -> bool:
        """Set columns of one that still has this version; whether it had."""
        same = and_(_columns.id == id_, self._own(), _columns.version == version)
        return await self._editor.update(same, {**values, "version": version + 1}) == 1

    async def remove(self, id_: str) -> bool:
        """Delete one; whether it was there."""
        return await self._editor.delete(and_(_columns.id == id_, self._own())) == 1


_SHOWN: Final = tuple(_columns[name] for name in ConversationRow.__struct_fields__)


def _row_of(row: RowMapping) -> ConversationRow:
    return ConversationRow(**{name: row[name] for name in ConversationRow.__struct_fields__})
