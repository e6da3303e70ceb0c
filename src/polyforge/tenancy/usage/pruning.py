"""Lets go of what calls came to by minute, once nobody looks at it any more; hours and days stay."""

from typing import Final

from sqlalchemy import delete, func, select

from polyforge.database.database import Database
from polyforge.database.pruning import Pruning
from polyforge.kernel.clock import Clock
from polyforge.tenancy.ledger_minutes import KEPT_MINUTES, MINUTE_SECONDS
from polyforge.tenancy.tables import usage_minutes

PAGE: Final = 5
"""Minutes of a step, of every project: a busy project has some hundred rows in each."""


class MinutePruning(Pruning):
    """Removes old minutes, the oldest first."""

    def __init__(self, database: Database, clock: Clock) -> None:
        super().__init__("usage by minute", PAGE)
        self._database = database
        self._clock = clock

    async def step(self) -> int:
        """Remove a page of minutes; how many there were."""
        minute = usage_minutes.c.minute
        keep = int(self._clock.now() // MINUTE_SECONDS) - KEPT_MINUTES
        async with self._database.write() as session:
            oldest = await session.scalar(select(func.min(minute)))
            if oldest is None or oldest >= keep:
                return 0
            end = min(oldest + PAGE, keep)
            await session.change(delete(usage_minutes).where(minute < end))
        return end - oldest
