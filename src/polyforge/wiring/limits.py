"""Limits of a gateway worker: the book that knows them, and what keeps it abreast."""

from collections.abc import Sequence

from polyforge.database.database import Database
from polyforge.gateway.limiting import Limiting
from polyforge.kernel.clock import Clock
from polyforge.tenancy.ledger.journal import Journal
from polyforge.tenancy.limits.book import LimitBook
from polyforge.tenancy.limits.counters import LimitCounters
from polyforge.tenancy.limits.notices import LimitNotices
from polyforge.tenancy.limits.records import Limit


class LimitPlatform:
    """Everything of limits."""

    def __init__(
        self, declared: Sequence[Limit], database: Database, clock: Clock, counters: LimitCounters, journal: Journal
    ) -> None:
        self.book = LimitBook(database, clock, counters, declared)
        self.notices = LimitNotices(database)
        self.limiting = Limiting(self.book, counters, journal, clock)
        counters.notice = self.notices.tell

    async def open(self) -> None:
        """Read the limits and begin to follow them."""
        await self.book.open()
        await self.notices.open()

    async def close(self) -> None:
        """Stop following, and write what is still to be told."""
        await self.book.close()
        await self.notices.close()
