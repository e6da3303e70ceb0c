"""The ledger: one row per call, the counters of budgets, sums by hour and day, and how far each journal was read.

`append` is one transaction, so that all of them are always of one mind, whenever the power fails.
"""

import sqlite3
from collections.abc import Sequence

from sqlalchemy import delete, func, select

from polyforge.database.database import Database
from polyforge.database.sessions import WriteSession
from polyforge.kernel.money import Micros
from polyforge.tenancy import ledger_postgres, ledger_sqlite
from polyforge.tenancy.ledger.records import NOTHING_SPENT, Balance, UsageRecord
from polyforge.tenancy.ledger_rows import KnownSeries, Row
from polyforge.tenancy.tables import budget_counters, journal_offsets, usage_corrections


class LedgerStore:
    """What the drainer writes to, and what budgets start from."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known = KnownSeries()

    async def append(self, journal: str, start: int, end: int, records: Sequence[UsageRecord]) -> None:
        """Write what lies between two offsets of a journal; Conflict when it has not been read exactly to `start`.

        A record whose id is already there is left out, of the counters and sums as well.
        """
        in_database = self._in_sqlite if self._database.dialect == "sqlite" else self._in_postgres
        self._known.remember(await in_database(journal, start, end, records))

    async def _in_sqlite(self, journal: str, start: int, end: int, records: Sequence[UsageRecord]) -> list[Row]:
        def work(connection: sqlite3.Connection) -> list[Row]:
            ledger_sqlite.advance(connection, journal, start, end)
            return self._append_sqlite(connection, records) if records else []

        return await self._database.write_at_once(work)

    async def _in_postgres(self, journal: str, start: int, end: int, records: Sequence[UsageRecord]) -> list[Row]:
        async with self._database.write() as session:
            await ledger_postgres.advance(session, journal, start, end)
            return await self._append_postgres(session, records) if records else []

    def _append_sqlite(self, connection: sqlite3.Connection, records: Sequence[UsageRecord]) -> list[Row]:
        return ledger_sqlite.append(connection, records, self._known)

    async def _append_postgres(self, session: WriteSession, records: Sequence[UsageRecord]) -> list[Row]:
        return await ledger_postgres.append(session, records, self._known)

    async def offset(self, journal: str) -> int:
        """How far a journal has been read; 0 for an unknown one."""
        query = select(journal_offsets.c.position).where(journal_offsets.c.journal == journal)
        async with self._database.read() as session:
            return await session.scalar(query) or 0

    async def forget(self, journal: str) -> None:
        """Drop the offset of a journal that no longer exists."""
        async with self._database.write() as session:
            await session.change(delete(journal_offsets).where(journal_offsets.c.journal == journal))

    async def spent(self, key_id: str, period_start: int) -> Micros:
        """What the calls of a key were priced in a period (0: since ever)."""
        columns = budget_counters.c
        query = select(columns.spent_micros).where(columns.key_id == key_id, columns.period_start == period_start)
        async with self._database.read() as session:
            return await session.scalar(query) or 0

    async def balance(self, key_id: str, period_start: int) -> Balance:
        """The same, told apart: what the calls were priced, and what that was corrected by."""
        columns = usage_corrections.c
        mine = (columns.key_id == key_id, columns.period_start == period_start)
        corrected = select(func.sum(columns.price_micros)).where(*mine).scalar_subquery()
        counters = budget_counters.c
        counted = (counters.key_id == key_id, counters.period_start == period_start)
        spent = select(counters.spent_micros).where(*counted).scalar_subquery()
        async with self._database.read() as session:
            row = await session.first(select(spent.label("spent"), corrected.label("corrected")))
        if row is None:
            return NOTHING_SPENT
        by = int(row["corrected"] or 0)
        return Balance(int(row["spent"] or 0) - by, by)
