"""All SQL of responses, of one project each."""

from collections.abc import Collection, Mapping
from typing import Any

from polyforge.database.scopes import Scope, ScopedReader, ScopedWriter
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.tenancy.responses.tables import responses


class ResponseStore:
    """The responses of one project."""

    def __init__(self, session: ReadSession, scope: Scope) -> None:
        self._rows = ScopedReader(session, scope, responses)

    async def sealed(self, ids: Collection[str], now: float) -> dict[str, bytes]:
        """Those of the ids that the project has and that have not expired, sealed as they are kept."""
        columns = responses.c
        rows = await self._rows.all(
            columns.id,
            columns.sealed,
            refine=lambda query: query.where(columns.id.in_(sorted(ids)), columns.expires_at > now),
        )
        return {row["id"]: row["sealed"] for row in rows}


class ResponseEditor:
    """The same responses, to be added and removed."""

    def __init__(self, session: WriteSession, scope: Scope) -> None:
        self._rows = ScopedWriter(session, scope, responses)

    async def add(self, values: Mapping[str, Any]) -> None:
        """Keep one."""
        await self._rows.insert(values)

    async def remove(self, response_id: str, now: float) -> bool:
        """Let go of one; whether it was there."""
        columns = responses.c
        return await self._rows.delete((columns.id == response_id) & (columns.expires_at > now)) > 0
