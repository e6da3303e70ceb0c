"""What operators see of jobs, of all projects together: numbers for metrics and health, and the workers."""

from collections.abc import Sequence
from typing import Final

from polyforge.database.database import Database
from polyforge.jobs.records import QueueCount, WorkerSeen
from polyforge.jobs.working_store import JobReader, lease_time
from polyforge.kernel.clock import Clock

SHOWN_SECONDS: Final = 3_600.0
"""For so long a worker is shown that is gone without a word."""


class JobOverview:
    """Reads over the whole installation, without scope: not for callers."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def counts(self) -> Sequence[QueueCount]:
        """How many unfinished jobs are in each queue and state."""
        async with self._database.read() as session:
            return await JobReader(session).counts()

    async def workers(self) -> Sequence[WorkerSeen]:
        """The workers, the latest first; those whose `lease_until` has passed are about to be taken over."""
        async with self._database.read() as session:
            now = await lease_time(session, self._database.dialect, self._clock)
            return await JobReader(session).workers(now - SHOWN_SECONDS)
