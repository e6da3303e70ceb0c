"""All SQL of payloads. `PayloadStore` sees those of one project, `SystemPayloads` adds those of all."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import text

from polyforge.database.scopes import Scope, ScopedReader
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.tenancy.payloads.tables import request_payloads

_COLUMNS: Final = tuple(column.name for column in request_payloads.c)
_ADD: Final = text(
    f"INSERT INTO request_payloads ({', '.join(_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _COLUMNS)})"  # noqa: S608  # names of columns
    " ON CONFLICT (id) DO NOTHING"
)


class PayloadRow(msgspec.Struct, frozen=True):
    """A payload that is kept."""

    id: str
    sealed: bytes
    created_at: float
    expires_at: float


class PayloadStore:
    """The payloads of one project."""

    def __init__(self, session: ReadSession, scope: Scope) -> None:
        self._rows = ScopedReader(session, scope, request_payloads)

    async def find(self, request_id: str, now: float) -> PayloadRow | None:
        """That of a request, None where there is none, or no more."""
        columns = request_payloads.c
        wanted = [columns[name] for name in PayloadRow.__struct_fields__]
        row = await self._rows.first(
            *wanted, refine=lambda query: query.where(columns.id == request_id, columns.expires_at > now)
        )
        return None if row is None else PayloadRow(**row)


class SystemPayloads:
    """The payloads of all projects, as a worker brings them."""

    def __init__(self, session: WriteSession) -> None:
        self._session = session

    async def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep some; one that is there already stays as it is."""
        for row in rows:
            await self._session.change(_ADD.bindparams(**row))
