"""Claiming jobs: one worker at a time, so that limits over all of them hold."""

from polyforge.database.database import Database
from polyforge.jobs.queues import choose
from polyforge.jobs.settings import JobSettings
from polyforge.jobs.working_store import Claim, JobKeeper, JobReader, lease_time
from polyforge.kernel.clock import Clock


async def claim_jobs(
    database: Database, clock: Clock, settings: JobSettings, executor_id: str, room: int
) -> list[Claim]:
    """Up to `room` of the jobs that are due, which the worker has from now on; none once its lease has run out."""
    async with database.read() as session:
        if not await JobReader(session).is_due(clock.now()):
            return []
    async with database.write() as session:
        keeper = JobKeeper(session)
        await keeper.lock_claims()
        now, lease_now = clock.now(), await lease_time(session, database.dialect, clock)
        if not await keeper.has_lease(executor_id, lease_now):
            return []
        standing = await keeper.standing(now, lease_now)
        candidates = await keeper.candidates(now, room)
        chosen = choose(candidates, standing.running, standing.started, settings.queue, room)
        claims = await keeper.claim(chosen, executor_id, now)
        for claim in claims:
            await keeper.note(claim.job, "job.started", now, state="running", attempt=claim.job.attempt)
    return claims
