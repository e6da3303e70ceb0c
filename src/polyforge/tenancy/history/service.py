"""The history of requests, on behalf of a caller and within its project."""

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.kernel.errors import NotFound
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.history.records import Entry, Which, read_place
from polyforge.tenancy.history.store import HistoryStore


class HistoryService:
    """Finds requests again. They are there about a second after they ended, when the ledger has them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, caller: Caller, which: Which, limit: int, cursor: str | None
    ) -> tuple[list[Entry], str | None]:
        """Some of those that are asked for, newest first, and where the next ones begin."""
        after, scope = read_place(cursor), _scope(caller)
        async with self._database.read(scope) as session:
            found, following = await HistoryStore(session, scope).page(which, limit, after)
        return found, None if following is None else str(following)

    async def get(self, caller: Caller, request_id: str) -> Entry:
        """One of the project's; NotFound without it."""
        scope = _scope(caller)
        async with self._database.read(scope) as session:
            found = await HistoryStore(session, scope).get(request_id)
        if found is None:
            raise NotFound(f"there is no request {request_id[:40]!r}")
        return found


def _scope(caller: Caller) -> Scope:
    return Scope(caller.organization_id, caller.project_id)
