"""All SQL of what is kept for later runs: values of flows, and results of nodes. Rows end by themselves."""

from typing import Final

from sqlalchemy import and_, func
from sqlalchemy.dialects import postgresql, sqlite

from polyforge.database.scopes import Scope, ScopedReader, ScopedWriter
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.database.settings import Dialect
from polyforge.flows.running.sealing import OF_RESULTS, Seals
from polyforge.flows.running.tables import flow_results

_columns: Final = flow_results.c


class MemoryStore:
    """The values of one project."""

    def __init__(self, session: ReadSession, scope: Scope, seals: Seals) -> None:
        self._rows = ScopedReader(session, scope, flow_results)
        self._scope = scope
        self._seals = seals

    async def find(self, id_: str, now: float) -> str | None:
        """What is kept and not over."""
        row = await self._rows.first(
            _columns.outputs, refine=lambda query: query.where(_columns.id == id_, _columns.expires_at > now)
        )
        return None if row is None else self._seals.open(self._scope, "flow result", id_, OF_RESULTS, row["outputs"])

    async def count(self, prefix: str, now: float) -> int:
        """How many there are that are not over, and whose ids begin so; ids are of the digits 0 to f."""
        mine = and_(_columns.id >= prefix, _columns.id < f"{prefix}g", _columns.expires_at > now)
        row = await self._rows.first(func.count().label("count"), refine=lambda query: query.where(mine))
        return row["count"] if row else 0


class MemoryEditor(MemoryStore):
    """The same, to be changed."""

    def __init__(self, session: WriteSession, scope: Scope, dialect: Dialect, seals: Seals) -> None:
        super().__init__(session, scope, seals)
        self._writer = session
        self._dialect: Dialect = dialect

    async def keep(self, id_: str, text: str, now: float, until: float, user_id: str | None) -> None:
        """Keep a value of somebody instead of what was there. Of several that are kept at once, one is."""
        await ScopedWriter(self._writer, self._scope, flow_results).delete(_columns.id == id_)
        insert = sqlite.insert if self._dialect == "sqlite" else postgresql.insert
        sealed = self._seals.seal(self._scope, "flow result", id_, OF_RESULTS, text)
        values = {"id": id_, "outputs": sealed, "user_id": user_id, "created_at": now, "expires_at": until}
        owned = {**values, "organization_id": self._scope.organization_id, "project_id": self._scope.project_id}
        await self._writer.change(insert(flow_results).values(owned).on_conflict_do_nothing())
