"""All SQL of files, of one project each, but for what is deleted by its time."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, and_, delete, func, or_, select

from polyforge.batch.files.records import File
from polyforge.batch.files.tables import files
from polyforge.database.scopes import Scope, ScopedReader, ScopedWriter
from polyforge.database.sessions import Query, ReadSession, WriteSession

_columns: Final = files.c
_SHOWN: Final = tuple(_columns[name] for name in File.__struct_fields__)


def _visible(now: float) -> ColumnElement[bool]:
    return and_(_columns.complete, or_(_columns.expires_at.is_(None), _columns.expires_at > now))


class FileStore:
    """The files of one project."""

    def __init__(self, session: ReadSession, scope: Scope) -> None:
        self._rows = ScopedReader(session, scope, files)

    async def find(self, file_id: str, now: float) -> File | None:
        """One that is whole and has not expired."""
        row = await self._rows.first(*_SHOWN, refine=lambda query: query.where(_columns.id == file_id, _visible(now)))
        return None if row is None else _file_of(row)

    async def page(
        self, now: float, limit: int, *, after: str | None, descending: bool, purpose: str | None
    ) -> list[File]:
        """So many of them, by id."""

        def refine(query: Query) -> Query:
            query = query.where(_visible(now))
            if purpose is not None:
                query = query.where(_columns.purpose == purpose)
            if after is not None:
                query = query.where(_columns.id < after if descending else _columns.id > after)
            return query.order_by(_columns.id.desc() if descending else _columns.id).limit(limit)

        return [_file_of(row) for row in await self._rows.all(*_SHOWN, refine=refine)]

    async def total_bytes(self) -> int:
        """What all of them take, those that have expired and are still there too."""
        row = await self._rows.first(func.coalesce(func.sum(_columns.size), 0).label("total"))
        return 0 if row is None else int(row["total"])

    async def of_user(self, user_id: str, limit: int) -> list[str]:
        """Ids of files that somebody uploaded."""
        rows = await self._rows.all(
            _columns.id,
            refine=lambda query: query.where(_columns.user_id == user_id).order_by(_columns.id).limit(limit),
        )
        return [row["id"] for row in rows]


class FileEditor(FileStore):
    """The same files, to be added, changed and removed."""

    def __init__(self, session: WriteSession, scope: Scope) -> None:
        super().__init__(session, scope)
        self._editor = ScopedWriter(session, scope, files)

    async def add(self, values: Mapping[str, Any]) -> None:
        """Have one."""
        await self._editor.insert(values)

    async def change(self, file_id: str, values: Mapping[str, Any]) -> bool:
        """Set columns of one; whether it is there."""
        return await self._editor.update(_columns.id == file_id, values) == 1

    async def remove(self, file_ids: Sequence[str]) -> int:
        """Let go of rows; how many there were."""
        return await self._editor.delete(_columns.id.in_(file_ids))


class ExpiredFiles:
    """Files of whatever project that have had their time."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def page(self, now: float, limit: int) -> list[tuple[Scope, str]]:
        """Whose they are and their ids, the oldest first."""
        query = select(_columns.organization_id, _columns.project_id, _columns.id)
        rows = await self._session.all(
            query.where(_columns.expires_at <= now).order_by(_columns.expires_at).limit(limit)
        )
        return [(Scope(row["organization_id"], row["project_id"]), row["id"]) for row in rows]


async def remove_expired(session: WriteSession, file_ids: Sequence[str], now: float) -> int:
    """Let go of rows that have had their time, of whatever project; how many there were."""
    return await session.change(delete(files).where(_columns.id.in_(file_ids), _columns.expires_at <= now))


def _file_of(row: RowMapping) -> File:
    return File(**{name: row[name] for name in File.__struct_fields__})
