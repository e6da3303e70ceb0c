"""How runs end: what becomes of the row, and what is told of it."""

from typing import Any, Final

import msgspec

from polyforge.jobs.records import MAX_JSON_BYTES, Job, JobError, State
from polyforge.jobs.resting import Rest
from polyforge.jobs.run import Run
from polyforge.jobs.store import NOT_WAITING, encoded, queued_again
from polyforge.kernel.errors import PolyforgeError
from polyforge.telemetry.logs import get_logger

FIRST_PAUSE: Final = 30.0
LONGEST_PAUSE: Final = 3_600.0
MOST_TOPICS: Final = 100
"""That are written down; a job that waits for messages on more of them is called by any message."""
_PUT_BACK_SECONDS: Final = 5.0
_RETRY_HINT: Final = "try it again; the steps that were completed are not repeated"

_log = get_logger(__name__)


class Ending(msgspec.Struct, frozen=True):
    """The end of a run."""

    state: State
    values: dict[str, Any]
    """Columns."""
    event: str
    at: float
    told: dict[str, Any]
    rest: Rest | None = None
    """What it waits for that is let go."""


def ending_of(run: Run, now: float) -> Ending | None:
    """How a run ended; None when the job goes on elsewhere."""
    job, task = run.job, run.task
    if run.stopped == "lost" or task is None or not task.done():
        return None
    if not task.cancelled() and task.exception() is None:
        return _succeeded(job, task.result(), now)
    if run.stopped == "released":
        return None
    if run.left is not None:
        return _let_go(run, run.left, now) if task.cancelled() else _put_back(job, now)
    if run.stopped == "timeout":
        return failed(job, _timeout(job), now)
    if run.stopped == "cancelled":
        return cancelled(now)
    if task.cancelled():
        return failed(job, JobError("cancelled_itself", "the job gave up without a reason", _RETRY_HINT), now)
    return _broken(job, task.exception(), now)


def not_run(job: Job, error: Exception, now: float) -> Ending:
    """A run that could not begin, or not end: nothing that the kind did."""
    if isinstance(error, PolyforgeError) and error.retryable:
        return _put_back(job, now)
    message = f"the worker could not run it; its log says why, under {job.id}"
    return failed(job, JobError("not_run", message, _RETRY_HINT, retryable=True), now)


def failed(job: Job, error: JobError, now: float) -> Ending:
    """The job failed, or is tried again by itself where that is worth it and it has tries left."""
    if error.retryable and job.attempt < job.max_attempts:
        return _again(job, error, now)
    values = _over("failed", now) | {"error": encoded(error)}
    return Ending("failed", values, "job.ended", now, {"state": "failed", "error": error.code})


def lost_worker(job: Job, now: float, strikes: int) -> Ending:
    """Workers died of it, one after the other."""
    message = f"{strikes} workers in a row ended while they ran it, and no step was completed: it may need more memory"
    return failed(job, JobError("worker_lost", message, "look into the log of the worker, then try it again"), now)


def cancelled(now: float) -> Ending:
    """Somebody wanted it to end."""
    return Ending("cancelled", _over("cancelled", now), "job.ended", now, {"state": "cancelled"})


def called(now: float) -> Ending:
    """What it waits for came while it was let go."""
    return Ending("queued", queued_again(now), "job.released", now, {"state": "queued"})


def no_such_kind(job: Job, now: float) -> Ending:
    """The worker does not know what to do."""
    message = f"this worker knows no jobs of the kind {job.kind!r}"
    return failed(job, JobError("unknown_kind", message, "bring all workers to the same version, then try again"), now)


def _succeeded(job: Job, result: object, now: float) -> Ending:
    try:
        text = encoded(result)
    except (TypeError, ValueError, RecursionError) as error:
        return failed(job, JobError("bad_result", f"what the job gave is no JSON: {error}"), now)
    if len(text.encode()) > MAX_JSON_BYTES:
        message = f"what the job gave has more than {MAX_JSON_BYTES} bytes; it belongs into the object store"
        return failed(job, JobError("bad_result", message), now)
    values = _over("succeeded", now) | {"result": text, "error": None}
    return Ending("succeeded", values, "job.ended", now, {"state": "succeeded"})


def _broken(job: Job, error: BaseException | None, now: float) -> Ending:
    if isinstance(error, PolyforgeError):
        hint = _RETRY_HINT if error.retryable else ""
        return failed(job, JobError(error.code, error.message[:2_000], hint, error.retryable), now)
    _log_in_full(job, error)
    message = f"the job failed unexpectedly; the log of the worker says why, under {job.id}"
    return failed(job, JobError("internal_error", message, _RETRY_HINT, retryable=True), now)


def _log_in_full(job: Job, error: BaseException | None) -> None:
    try:
        raise error or AssertionError("it failed with nothing")
    except BaseException:  # noqa: BLE001 - it is only written down
        _log.exception("a job failed", job=job.id, kind=job.kind)


def _again(job: Job, error: JobError, now: float) -> Ending:
    pause = min(FIRST_PAUSE * 2 ** (job.attempt - 1), LONGEST_PAUSE)
    values = {
        "state": "queued",
        "rank": job.priority,
        "run_after": now + pause,
        "attempt": job.attempt + 1,
        "takeovers": 0,
        "strikes": 0,
        "started_at": None,
        "worker": None,
        "ran_seconds": None,
        **NOT_WAITING,
        "error": encoded(error),
    }
    return Ending("queued", values, "job.retrying", now, {"state": "queued", "error": error.code})


def _put_back(job: Job, now: float) -> Ending:
    return Ending("queued", queued_again(now + _PUT_BACK_SECONDS), "job.released", now, {"state": "queued"})


def _let_go(run: Run, rest: Rest, now: float) -> Ending:
    """Nobody has it until one of its waits is over. That it came so far says that workers do not die of it."""
    values = {
        "state": "waiting",
        "worker": None,
        "strikes": 0,
        "waiting_code": rest.waiting_for.code,
        "waiting_message": rest.waiting_for.message,
        "due_at": rest.until,
        "topics": encoded(rest.topics) if len(rest.topics) <= MOST_TOPICS else None,
        "ran_seconds": run.seconds,
    }
    return Ending("waiting", values, "job.let_go", now, {"state": "waiting"}, rest)


def _over(state: State, now: float) -> dict[str, Any]:
    return {"state": state, "ended_at": now, "worker": None, **NOT_WAITING}


def _timeout(job: Job) -> JobError:
    message = f"it ran longer than its {job.timeout_seconds:g} s"
    return JobError("timeout", message, _RETRY_HINT, retryable=True)
