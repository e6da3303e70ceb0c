"""The ledger of a gateway whose log of requests is exported."""

import sqlite3
from collections.abc import Sequence

from polyforge.database.database import Database
from polyforge.database.sessions import WriteSession
from polyforge.kernel.clock import Clock
from polyforge.tenancy.ledger.records import UsageRecord
from polyforge.tenancy.ledger_rows import Row
from polyforge.tenancy.ledger_store import LedgerStore
from polyforge.tenancy.request_logs.store import SystemLogEditor, add_batch


class ExportedLedger(LedgerStore):
    """Writes down, in the transaction of the records, that they are to be exported: none is forgotten or made up."""

    def __init__(self, database: Database, clock: Clock) -> None:
        super().__init__(database)
        self._clock = clock

    def _append_sqlite(self, connection: sqlite3.Connection, records: Sequence[UsageRecord]) -> list[Row]:
        add_batch(connection, [record.id for record in records], self._clock.now())
        return super()._append_sqlite(connection, records)

    async def _append_postgres(self, session: WriteSession, records: Sequence[UsageRecord]) -> list[Row]:
        added = await super()._append_postgres(session, records)
        await SystemLogEditor(session).add([record.id for record in records], self._clock.now())
        return added
