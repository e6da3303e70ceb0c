"""Lets go of how requests went once their time is up, in small steps; one process per machine does it."""

from typing import Final

from sqlalchemy import select, update

from polyforge.database.database import Database
from polyforge.database.pruning import Pruning
from polyforge.database.sessions import WriteSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.ids import encode
from polyforge.tenancy.history.settings import RequestSettings
from polyforge.tenancy.tables import usage_records

PAGE: Final = 500
_DAY_SECONDS: Final = 86_400


class HistoryPruning(Pruning):
    """Walks through the ledger in the order of its ids, which is that of time, and remembers how far it came."""

    def __init__(self, settings: RequestSettings, database: Database, clock: Clock) -> None:
        super().__init__("details of requests", PAGE)
        self._settings = settings
        self._database = database
        self._clock = clock
        self._done = ""

    async def step(self) -> int:
        """Let go of the details of the next page of old requests; how many these are."""
        before = self._clock.now() - self._settings.details_days * _DAY_SECONDS
        async with self._database.write() as session:
            passed, last = await _forget_details(session, self._done, encode(int(before * 1000) << 80))
        self._done = last
        return passed


async def _forget_details(session: WriteSession, after: str, before: str) -> tuple[int, str]:
    columns = usage_records.c
    query = select(columns.id).where(columns.id > after, columns.id < before).order_by(columns.id).limit(PAGE)
    ids = [row["id"] for row in await session.all(query)]
    if not ids:
        return 0, after
    old = (columns.id > after, columns.id <= ids[-1], columns.details.is_not(None))
    await session.change(update(usage_records).where(*old).values(details=None))
    return len(ids), ids[-1]
