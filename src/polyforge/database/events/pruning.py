"""Lets go of old events, in small steps; one process per machine does it."""

from typing import Final

from polyforge.database import pruning
from polyforge.database.database import Database
from polyforge.database.events.store import PAGE, EventPruner
from polyforge.kernel.clock import Clock

DAY_SECONDS: Final = 86_400


class Pruning(pruning.Pruning):
    """Removes events that are older than `keep_days`."""

    def __init__(self, database: Database, clock: Clock, keep_days: float) -> None:
        super().__init__("events", PAGE)
        self._database = database
        self._clock = clock
        self._seconds = keep_days * DAY_SECONDS

    async def step(self) -> int:
        """Remove a page of old events; how many there were."""
        async with self._database.write() as session:
            return await EventPruner(session).prune(self._clock.now() - self._seconds)
