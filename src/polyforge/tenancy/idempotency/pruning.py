"""Lets go of keys that have expired, in small steps; one process per machine does it."""

import asyncio
from typing import Final

from polyforge.database.database import Database
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import PolyforgeError
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.idempotency.store import PAGE, SystemIdempotent

LOOK_SECONDS: Final = 600.0
STEP_SECONDS: Final = 0.2
"""Between two steps, so that others can write."""

_log = get_logger(__name__)


class IdempotencyPruning:
    """Removes what is given to nobody any more."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def run(self) -> None:
        """Look now and then, for as long as the process lives. A database that is down is tried again."""
        while True:
            try:
                full = await self.step() == PAGE
            except PolyforgeError as error:
                _log.warning("expired keys could not be removed", reason=error.message)
                full = False
            await asyncio.sleep(STEP_SECONDS if full else LOOK_SECONDS)

    async def step(self) -> int:
        """Remove a page of expired keys; how many there were."""
        async with self._database.write() as session:
            return await SystemIdempotent(session).prune(self._clock.now())
