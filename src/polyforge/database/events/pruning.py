"""Lets go of old events, in small steps; one process per machine does it."""

import asyncio
from typing import Final

from polyforge.database.database import Database
from polyforge.database.events.store import PAGE, EventPruner
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import PolyforgeError
from polyforge.telemetry.logs import get_logger

LOOK_SECONDS: Final = 600.0
STEP_SECONDS: Final = 0.2
"""Between two steps, so that others can write."""
DAY_SECONDS: Final = 86_400

_log = get_logger(__name__)


class Pruning:
    """Removes events that are older than `keep_days`."""

    def __init__(self, database: Database, clock: Clock, keep_days: float) -> None:
        self._database = database
        self._clock = clock
        self._seconds = keep_days * DAY_SECONDS

    async def run(self) -> None:
        """Look now and then, for as long as the process lives. A database that is down is tried again."""
        while True:
            try:
                full = await self.step() == PAGE
            except PolyforgeError as error:
                _log.warning("old events could not be removed", reason=error.message)
                full = False
            await asyncio.sleep(STEP_SECONDS if full else LOOK_SECONDS)

    async def step(self) -> int:
        """Remove a page of old events; how many there were."""
        async with self._database.write() as session:
            return await EventPruner(session).prune(self._clock.now() - self._seconds)
