"""Jobs as the rest of the house sees them: what is asked for, what became of it, and what it says meanwhile."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from polyforge.tenancy.callers import Caller, CallerKind, KeyLimits

State = Literal["queued", "running", "waiting", "succeeded", "failed", "cancelled"]
UNFINISHED: Final[tuple[State, ...]] = ("queued", "running", "waiting")
FINISHED: Final[tuple[State, ...]] = ("succeeded", "failed", "cancelled")
Level = Literal["debug", "info", "warning", "error"]

JOB_PREFIX: Final = "job_"
PRIORITY: Final = 5
"""Of a job that does not say; 0 goes first, 9 last."""
LOWEST_PRIORITY: Final = 9
MAX_JSON_BYTES: Final = 64 * 1024
"""Of the arguments and of the result of a job; larger things lie in the object store and are named."""
MAX_LOG_LINES: Final = 10_000
MAX_LOG_BYTES: Final = 2_048


class AskedBy(msgspec.Struct, frozen=True):
    """Who asked for a job, and what the job may do in their name: their permissions when they asked, or fewer."""

    id: str
    """The `key_id` of the caller: a key, a user or a service account."""
    name: str
    kind: CallerKind = "key"
    user_id: str | None = None
    group_ids: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    models: tuple[str, ...] | None = None
    limits: KeyLimits = KeyLimits()
    expires_at: float | None = None

    @classmethod
    def of(cls, caller: Caller, scopes: frozenset[str] | None = None) -> "AskedBy":
        """What a caller may have a job do; with `scopes`, only those of its own that are named."""
        held = caller.scopes if scopes is None else frozenset(each for each in scopes if caller.may(each))
        return cls(
            caller.key_id,
            caller.key_name,
            caller.kind,
            caller.user_id,
            caller.group_ids,
            tuple(sorted(held)),
            caller.models,
            caller.limits,
            caller.expires_at,
        )

    def caller(self, organization_id: str, project_id: str) -> Caller:
        """The caller that the job acts as. Whether the key still works is for those to ask who let it act."""
        return Caller(
            key_id=self.id,
            key_name=self.name,
            organization_id=organization_id,
            project_id=project_id,
            scopes=frozenset(self.scopes),
            models=self.models,
            limits=self.limits,
            expires_at=self.expires_at,
            kind=self.kind,
            user_id=self.user_id,
            group_ids=self.group_ids,
        )


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job to be done. `args` holds references to objects and secrets, never content."""

    kind: str
    """The name of a `JobKind` that workers know."""
    title: str
    """What people read in the list."""
    args: Mapping[str, Any] = {}
    """JSON of up to MAX_JSON_BYTES."""
    queue: str = "default"
    priority: int = PRIORITY
    run_after: float | None = None
    """Not before; None: at once."""
    dedup_key: str | None = None
    """While a job of this kind and project with the same key is unfinished, that one is given instead of a new one."""
    max_attempts: int = 1
    """How often it is tried by itself when it fails with an error that is worth it (`retryable`)."""
    timeout_seconds: float | None = None
    """For one attempt, from when it is claimed, times in the state `waiting` not counted; None: no limit."""
    scopes: frozenset[str] | None = None
    """What of the caller's permissions the job gets; None: all of them."""


class WaitingFor(msgspec.Struct, frozen=True):
    """What an unfinished job waits for."""

    code: str
    """`time`, `queue`, `project`, `rate`, `turn`, `no_worker`, `sleep`, or what the kind says, such as `approval`."""
    message: str


class Progress(msgspec.Struct, frozen=True):
    """How far a job is."""

    done: float = 0
    total: float | None = None
    """None: nobody knows."""
    unit: str = ""
    note: str = ""


class JobError(msgspec.Struct, frozen=True):
    """Why a job failed, and what to do."""

    code: str
    message: str
    hint: str = ""
    retryable: bool = False


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One job. Times are seconds since the epoch."""

    id: str
    organization_id: str
    project_id: str
    kind: str
    title: str
    queue: str
    priority: int
    state: State
    run_after: float
    args: dict[str, Any]
    dedup_key: str | None
    asked_by: AskedBy
    schedule_id: str | None
    """The schedule that made it."""
    attempt: int
    """From 1."""
    max_attempts: int
    timeout_seconds: float | None
    created_at: float
    started_at: float | None
    """Of this attempt."""
    ended_at: float | None
    worker: str | None
    """The executor id of the worker that has it; None also for a waiting job that nobody has to hold."""
    takeovers: int
    """How often this attempt was taken over from a worker that died."""
    progress: Progress
    waiting_for: WaitingFor | None
    """Of a waiting job as it said itself; of a queued one computed when it is read."""
    result: Any
    """JSON of up to MAX_JSON_BYTES; None unless it succeeded."""
    error: JobError | None
    cancel_requested: bool

    @property
    def finished(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.state in FINISHED

    @property
    def let_go(self) -> bool:
        """Whether it waits and no worker has it."""
        return self.state == "waiting" and self.worker is None

    @property
    def caller(self) -> Caller:
        """The caller that it acts as."""
        return self.asked_by.caller(self.organization_id, self.project_id)

    def seconds_left(self, now: float) -> float | None:
        """How much longer it will take if it goes on as it went; None when that cannot be told."""
        done, total = self.progress.done, self.progress.total
        if self.state != "running" or self.started_at is None or not total or done <= 0 or done > total:
            return None
        return max(0.0, now - self.started_at) * (total - done) / done


class JobFilter(msgspec.Struct, frozen=True):
    """Which jobs are asked for; what is empty leaves all of them."""

    states: tuple[State, ...] = ()
    kinds: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    schedule_id: str | None = None


class LogLine(msgspec.Struct, frozen=True):
    """One line of a job's log."""

    seq: int
    """From 1, without gaps."""
    at: float
    level: Level
    text: str


class NewSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """A job to be made again and again."""

    kind: str
    title: str
    args: Mapping[str, Any] = {}
    queue: str = "default"
    priority: int = PRIORITY
    cron: str
    """Five fields: minute, hour, day of the month, month, day of the week."""
    timezone: str = "UTC"
    """A name of the IANA database."""
    enabled: bool = True


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule. Of the times that were missed while no worker ran, one is made up for."""

    id: str
    organization_id: str
    project_id: str
    kind: str
    title: str
    args: dict[str, Any]
    queue: str
    priority: int
    cron: str
    timezone: str
    enabled: bool
    asked_by: AskedBy
    next_at: float | None
    """None while it is not enabled."""
    last_job_id: str | None
    last_at: float | None
    created_at: float
    changed_at: float


class WorkerSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A worker process, as the lease table has it."""

    executor_id: str
    """Unique for each start of a process."""
    machine: str
    session: str
    """The supervisor's; with `index` it says whose place a worker takes that starts anew."""
    index: int
    started_at: float
    lease_until: float
    """It counts as dead from then on."""
    seen_at: float
    """Its last heartbeat."""
    running: int
    """Jobs that it has."""


class QueueCount(msgspec.Struct, frozen=True):
    """How many jobs of a queue are in a state."""

    queue: str
    state: State
    count: int
    oldest_at: float
    """When the oldest of them was made."""
