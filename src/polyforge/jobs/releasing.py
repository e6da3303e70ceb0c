"""Giving back what a worker had, when it died or ends, or what only waits."""

from polyforge.jobs.endings import Ending, called, cancelled
from polyforge.jobs.records import Job
from polyforge.jobs.working_store import JobKeeper


async def release(keeper: JobKeeper, executor_id: str, now: float, *, died: bool) -> int:
    """Queue what a worker had, before everything else, and tell of it; how many jobs. Last in its transaction."""
    released = await keeper.release(executor_id, now, died=died)
    for job in released:
        await keeper.note(job, "job.taken_over" if died else "job.released", now, state="queued")
    return len(released)


async def as_it_is_now(keeper: JobKeeper, job: Job, ending: Ending) -> Ending:
    """What becomes of a job that was to be let go, where it was cancelled or called meanwhile.

    Its row is locked: who cancels or calls it does that before, which is seen here, or after, and sees that nobody
    has it.
    """
    rest = ending.rest
    if rest is None:
        return ending
    if await keeper.is_to_end(job.id):
        return cancelled(ending.at)
    return called(ending.at) if await keeper.is_called(job.id, rest.topics, rest.steps) else ending
