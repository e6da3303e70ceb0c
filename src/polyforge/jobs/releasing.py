"""Giving back what a worker had, when it died or ends."""

from polyforge.jobs.working_store import JobKeeper


async def release(keeper: JobKeeper, executor_id: str, now: float, *, died: bool) -> int:
    """Queue what a worker had, before everything else, and tell of it; how many jobs. Last in its transaction."""
    released = await keeper.release(executor_id, now, died=died)
    for job in released:
        await keeper.note(job, "job.taken_over" if died else "job.released", now, state="queued")
    return len(released)
