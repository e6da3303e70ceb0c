"""Letting go of what has had its time: in small steps, so that others can write; one process per machine does it."""

import asyncio
from abc import ABC, abstractmethod
from typing import Final

from sqlalchemy import Table, delete, select

from polyforge.database.database import Database
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import PolyforgeError
from polyforge.telemetry.logs import get_logger

PAGE: Final = 200
LOOK_SECONDS: Final = 600.0
STEP_SECONDS: Final = 0.2
"""Between two steps, so that others can write."""

_log = get_logger(__name__)


class Pruning(ABC):
    """Takes steps for as long as they are full; `what` is for the log, `page` what makes a full one."""

    def __init__(self, what: str, page: int = PAGE) -> None:
        self._what = what
        self._page = page

    async def run(self) -> None:
        """Look now and then, for as long as the process lives. A database that is down is tried again."""
        while True:
            try:
                full = await self.step() == self._page
            except PolyforgeError as error:
                _log.warning("what is too old could not be removed", what=self._what, reason=error.message)
                full = False
            await asyncio.sleep(STEP_SECONDS if full else LOOK_SECONDS)

    @abstractmethod
    async def step(self) -> int:
        """Let go of a page at most; how many that were."""


class ExpiryPruning(Pruning):
    """Removes rows of a table, of whatever tenant, whose `expires_at` has come."""

    def __init__(self, table: Table, database: Database, clock: Clock) -> None:
        super().__init__(table.name)
        self._table = table
        self._database = database
        self._clock = clock

    async def step(self) -> int:
        """Remove a page of rows, the oldest first; how many there were."""
        columns, now = self._table.c, self._clock.now()
        expired = select(columns.id).where(columns.expires_at <= now).order_by(columns.expires_at).limit(PAGE)
        async with self._database.write() as session:
            return await session.change(delete(self._table).where(columns.id.in_(expired)))
