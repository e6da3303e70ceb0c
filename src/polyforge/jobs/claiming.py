"""Claiming jobs: one worker at a time, so that limits over all of them hold."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from polyforge.database.database import Database
from polyforge.jobs.queues import choose, within
from polyforge.jobs.settings import JobSettings
from polyforge.jobs.working_store import Claim, JobKeeper, JobReader, lease_time
from polyforge.kernel.clock import Clock

MAX_OF_PROJECT: Final = 250
"""Jobs of one project that one worker has, so that those that only wait leave room for others until they are let go."""


async def claim_jobs(
    database: Database,
    clock: Clock,
    settings: JobSettings,
    executor_id: str,
    room: int,
    held: Mapping[str, int] = MappingProxyType({}),
) -> list[Claim]:
    """Up to `room` of the jobs that are due, which the worker has from now on; none once its lease has run out.

    `held`: how many it has already, by project.
    """
    async with database.read() as session:
        if not await JobReader(session).is_due(clock.now()):
            return []
    async with database.write() as session:
        keeper = JobKeeper(session)
        await keeper.lock_claims()
        now, lease_now = clock.now(), await lease_time(session, database.dialect, clock)
        if not await keeper.has_lease(executor_id, lease_now):
            return []
        await keeper.wake(now)
        standing = await keeper.standing(now, lease_now)
        candidates = within(await keeper.candidates(now, room), lambda project: MAX_OF_PROJECT - held.get(project, 0))
        chosen = choose(candidates, standing.running, standing.started, settings.queue, room)
        claims = await keeper.claim(chosen, executor_id, now)
        for claim in claims:
            await keeper.note(claim.job, "job.started", now, state="running", attempt=claim.job.attempt)
    return claims
