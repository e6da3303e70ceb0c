"""What a queued job waits for, in words. Pure."""

from datetime import UTC, datetime
from typing import Final

from polyforge.jobs.queues import Queue
from polyforge.jobs.records import Job, WaitingFor
from polyforge.jobs.working_store import Standing

NO_WORKER: Final = WaitingFor("no_worker", "no worker is running; start one with `polyforge up --role worker`")


def reason(job: Job, queue: Queue, standing: Standing, ahead: int, now: float) -> WaitingFor:
    """Why a queued job is not running."""
    if job.run_after > now:
        verb = "is tried again" if job.error is not None else "starts"
        return WaitingFor("time", f"{verb} at {_time(job.run_after)}")
    if not standing.workers:
        return NO_WORKER
    return _limit(job, queue, standing, ahead) or _turn(job, ahead)


def _limit(job: Job, queue: Queue, standing: Standing, ahead: int) -> WaitingFor | None:
    in_queue = sum(count for (name, _), count in standing.running.items() if name == job.queue)
    in_project = standing.running.get((job.queue, job.project_id), 0)
    started = standing.started.get(job.queue, 0)
    line = _line(ahead)
    if queue.running is not None and in_queue >= queue.running:
        return WaitingFor("queue", f"the queue {job.queue!r} runs {queue.running} at a time; {line}")
    if queue.per_project is not None and in_project >= queue.per_project:
        return WaitingFor("project", f"the queue {job.queue!r} runs {queue.per_project} of a project at a time; {line}")
    if queue.per_minute is not None and started >= queue.per_minute:
        return WaitingFor("rate", f"the queue {job.queue!r} starts {queue.per_minute} a minute; {line}")
    return None


def _turn(job: Job, ahead: int) -> WaitingFor:
    if ahead:
        return WaitingFor("turn", f"a worker has to be free; {_line(ahead)}")
    return WaitingFor("turn", "it is next; a worker has to be free")


def _line(ahead: int) -> str:
    return f"{ahead} before this one" if ahead else "it is next"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
