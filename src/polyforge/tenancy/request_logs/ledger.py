"""The ledger of a gateway whose log of requests is exported."""

from collections.abc import Sequence

from polyforge.database.database import Database
from polyforge.kernel.clock import Clock
from polyforge.tenancy.ledger.records import UsageRecord
from polyforge.tenancy.ledger_rows import advance
from polyforge.tenancy.request_logs.store import SystemLogEditor
from polyforge.tenancy.store import LedgerStore


class ExportedLedger(LedgerStore):
    """Writes down, in the transaction of the records, that they are to be exported: none is forgotten or made up."""

    def __init__(self, database: Database, clock: Clock) -> None:
        super().__init__(database)
        self._clock = clock

    async def append(self, journal: str, start: int, end: int, records: Sequence[UsageRecord]) -> None:
        """As in every ledger."""
        async with self._database.write() as session:
            await advance(session, journal, start, end)
            if records:
                await self._append(session, records)
                await SystemLogEditor(session).add([record.id for record in records], self._clock.now())
