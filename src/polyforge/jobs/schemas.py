"""What the management API of jobs takes and gives."""

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from polyforge.jobs.records import LOWEST_PRIORITY, PRIORITY, Job, Level, LogLine, Schedule, State
from polyforge.kernel.clock import utc
from polyforge.tenancy.callers import CallerKind
from polyforge.tenancy.schemas import Name

MAX_CRON: Final = 100
MAX_PAGE: Final = 1_000
_ARGS: Final = "What the job needs to know, as its kind says; references to what is kept elsewhere, and no secrets."

Cron = Annotated[str, StringConstraints(min_length=1, max_length=MAX_CRON)]
Timezone = Annotated[str, StringConstraints(min_length=1, max_length=64)]
QueueName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
Priority = Annotated[int, Field(strict=True, ge=0, le=LOWEST_PRIORITY)]


class AskerView(BaseModel):
    """Who asked for a job, as whom it acts."""

    id: str
    name: str
    kind: CallerKind


class ProgressView(BaseModel):
    """How far a job is."""

    done: float
    total: float | None = Field(description="Null: nobody knows.")
    unit: str
    note: str


class WaitingView(BaseModel):
    """What a job waits for."""

    code: str
    message: str


class JobErrorView(BaseModel):
    """Why a job failed."""

    code: str
    message: str
    hint: str = Field(description="What to do about it.")
    retryable: bool = Field(description="Whether trying again may help by itself.")


class JobSummary(BaseModel):
    """One job of a list."""

    id: str
    kind: str
    title: str
    state: State
    queue: str
    priority: int = Field(description="0 goes first, 9 last.")
    attempt: int
    max_attempts: int
    created_at: datetime
    run_after: datetime
    started_at: datetime | None = Field(description="Of this attempt.")
    ended_at: datetime | None
    seconds_left: float | None = Field(description="If it goes on as it went; null where that cannot be told.")
    asked_by: AskerView
    schedule_id: str | None = Field(description="The schedule that made it.")
    cancel_requested: bool
    progress: ProgressView
    waiting_for: WaitingView | None
    error: JobErrorView | None


class JobView(JobSummary):
    """One job with all that is known of it."""

    timeout_seconds: float | None
    worker: str | None = Field(description="The worker process that has it, or had it last.")
    takeovers: int = Field(description="How often this attempt was taken over from a worker that died.")
    args: dict[str, Any]
    result: Any = Field(description="What came of it; null unless it succeeded.")


class JobPage(BaseModel):
    """Some jobs, newest first."""

    data: list[JobSummary]
    next_cursor: str | None = Field(description="Pass it as `cursor` for those before these; null: there are none.")


class LogLineView(BaseModel):
    """One line of a job's log."""

    seq: int = Field(description="From 1, without gaps.")
    at: datetime
    level: Level
    text: str


class LogPage(BaseModel):
    """Some lines of a job's log, in order."""

    data: list[LogLineView]
    next_cursor: int | None = Field(description="Pass it as `cursor` for what comes after; null: nothing did yet.")


class NewScheduleBody(BaseModel):
    """A job to be made again and again."""

    model_config = ConfigDict(extra="forbid")

    kind: Name
    title: Name
    cron: Cron = Field(description="Minute, hour, day of the month, month, day of the week, as in `0 3 * * *`.")
    timezone: Timezone = Field(default="UTC", description="A name of the IANA database, as in `Europe/Berlin`.")
    args: dict[str, Any] = Field(default_factory=dict, description=_ARGS)
    queue: QueueName = "default"
    priority: Priority = PRIORITY
    enabled: bool = True


class ScheduleChange(BaseModel):
    """What is to be different of a schedule; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    title: Name | None = None
    cron: Cron | None = None
    timezone: Timezone | None = None
    args: dict[str, Any] | None = None
    queue: QueueName | None = None
    priority: Priority | None = None
    enabled: bool | None = None


class ScheduleView(BaseModel):
    """A schedule. Of the times that were missed while no worker ran, one is made up for."""

    id: str
    kind: str
    title: str
    cron: str
    timezone: str
    args: dict[str, Any]
    queue: str
    priority: int
    enabled: bool
    asked_by: AskerView
    next_at: datetime | None = Field(description="Null while it is not enabled.")
    last_at: datetime | None
    last_job: str | None = Field(description="The job that it made last.")
    created_at: datetime
    changed_at: datetime


class SchedulePage(BaseModel):
    """The schedules of a project, by title."""

    data: list[ScheduleView]
    next_cursor: str | None = Field(description="Always null: all schedules are on one page.")


def summary_of(job: Job, now: float) -> JobSummary:
    """A job as lists show it."""
    return JobSummary(**_fields(job, now))


def view_of(job: Job, now: float) -> JobView:
    """A job with everything."""
    return JobView(
        **_fields(job, now),
        timeout_seconds=job.timeout_seconds,
        worker=job.worker,
        takeovers=job.takeovers,
        args=job.args,
        result=job.result,
    )


def line_of(line: LogLine) -> LogLineView:
    """A line of a log."""
    return LogLineView(seq=line.seq, at=utc(line.at), level=line.level, text=line.text)


def schedule_of(schedule: Schedule) -> ScheduleView:
    """A schedule."""
    return ScheduleView(
        id=schedule.id,
        kind=schedule.kind,
        title=schedule.title,
        cron=schedule.cron,
        timezone=schedule.timezone,
        args=schedule.args,
        queue=schedule.queue,
        priority=schedule.priority,
        enabled=schedule.enabled,
        asked_by=AskerView(id=schedule.asked_by.id, name=schedule.asked_by.name, kind=schedule.asked_by.kind),
        next_at=_moment(schedule.next_at),
        last_at=_moment(schedule.last_at),
        last_job=schedule.last_job_id,
        created_at=utc(schedule.created_at),
        changed_at=utc(schedule.changed_at),
    )


def _fields(job: Job, now: float) -> dict[str, Any]:
    waiting, error, progress = job.waiting_for, job.error, job.progress
    return {
        "id": job.id,
        "kind": job.kind,
        "title": job.title,
        "state": job.state,
        "queue": job.queue,
        "priority": job.priority,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "created_at": utc(job.created_at),
        "run_after": utc(job.run_after),
        "started_at": _moment(job.started_at),
        "ended_at": _moment(job.ended_at),
        "seconds_left": job.seconds_left(now),
        "asked_by": AskerView(id=job.asked_by.id, name=job.asked_by.name, kind=job.asked_by.kind),
        "schedule_id": job.schedule_id,
        "cancel_requested": job.cancel_requested,
        "progress": ProgressView(done=progress.done, total=progress.total, unit=progress.unit, note=progress.note),
        "waiting_for": None if waiting is None else WaitingView(code=waiting.code, message=waiting.message),
        "error": None
        if error is None
        else JobErrorView(code=error.code, message=error.message, hint=error.hint, retryable=error.retryable),
    }


def _moment(at: float | None) -> datetime | None:
    return None if at is None else utc(at)
