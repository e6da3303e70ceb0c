"""The tables of jobs."""

from typing import Any, Final

from sqlalchemy import Boolean, Column, Double, Index, Integer, String, Table, Text, text

from polyforge.database.columns import id_column, name_column, time_column
from polyforge.database.metadata import metadata

JOB_ID_LENGTH: Final = 30
"""`job_` and a ULID."""


def _job_id_column(name: str, *, primary_key: bool = False, nullable: bool = False) -> Column[Any]:
    return Column(name, String(JOB_ID_LENGTH), primary_key=primary_key, nullable=nullable)


_QUEUED: Final = text("state = 'queued'")
_HELD: Final = text("state IN ('running', 'waiting')")
_DEDUPLICATED: Final = text("dedup_key IS NOT NULL AND state IN ('queued', 'running', 'waiting')")
_ENDED: Final = text("ended_at IS NOT NULL")
_RESTING: Final = text("due_at IS NOT NULL")

jobs = Table(
    "jobs",
    metadata,
    _job_id_column("id", primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    Column("kind", String(64), nullable=False),
    name_column("title"),
    Column("queue", String(64), nullable=False),
    Column("priority", Integer, nullable=False),
    # The priority as claims see it: -1 for what a worker has begun already, which goes before everything else.
    Column("rank", Integer, nullable=False),
    # `queued`, `running`, `waiting`, `succeeded`, `failed`, `cancelled`.
    Column("state", String(16), nullable=False),
    time_column("run_after"),
    # JSON: references to objects and secrets, never content.
    Column("args", Text, nullable=False),
    Column("dedup_key", String(200)),
    # JSON of `AskedBy`.
    Column("asked_by", Text, nullable=False),
    id_column("schedule_id", nullable=True),
    Column("attempt", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    # How often a worker has begun it: its id in the journal of steps is the job's with this number.
    Column("run", Integer, nullable=False),
    # Times of this attempt that it was taken from a dead worker.
    Column("takeovers", Integer, nullable=False),
    # Of them, those in a row after which no step had been completed.
    Column("strikes", Integer, nullable=False),
    Column("timeout_seconds", Double),
    time_column("created_at"),
    time_column("started_at", nullable=True),
    time_column("ended_at", nullable=True),
    # The executor id of the worker that has it.
    Column("worker", String(64)),
    Column("progress_done", Double, nullable=False),
    Column("progress_total", Double),
    Column("progress_unit", String(32), nullable=False),
    Column("progress_note", String(200), nullable=False),
    Column("waiting_code", String(32)),
    Column("waiting_message", String(300)),
    # Of a waiting job that no worker has: when it is claimed again by itself, null for never.
    time_column("due_at", nullable=True),
    # And JSON of the topics whose messages have it claimed again; null for any message.
    Column("topics", Text),
    # For how long this attempt ran before it was let go.
    Column("ran_seconds", Double),
    # JSON.
    Column("result", Text),
    # JSON of `JobError`.
    Column("error", Text),
    Column("cancel_requested", Boolean, nullable=False),
    Index(None, "project_id", "id"),
    Index(None, "project_id", "state", "id"),
    Index(
        "ix_jobs_due", "queue", "project_id", "rank", "run_after", "id", sqlite_where=_QUEUED, postgresql_where=_QUEUED
    ),
    Index("ix_jobs_held", "worker", sqlite_where=_HELD, postgresql_where=_HELD),
    Index("ix_jobs_resting", "due_at", sqlite_where=_RESTING, postgresql_where=_RESTING),
    Index(None, "queue", "started_at"),
    Index(
        "ix_jobs_deduplicated",
        "project_id",
        "kind",
        "dedup_key",
        unique=True,
        sqlite_where=_DEDUPLICATED,
        postgresql_where=_DEDUPLICATED,
    ),
    Index("ix_jobs_ended", "ended_at", sqlite_where=_ENDED, postgresql_where=_ENDED),
)

job_logs = Table(
    "job_logs",
    metadata,
    _job_id_column("job_id", primary_key=True),
    # From 1, without gaps.
    Column("seq", Integer, primary_key=True, autoincrement=False),
    id_column("organization_id"),
    id_column("project_id"),
    time_column("at"),
    # `debug`, `info`, `warning`, `error`.
    Column("level", String(8), nullable=False),
    Column("text", Text, nullable=False),
)

job_messages = Table(
    "job_messages",
    metadata,
    id_column("id", primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    _job_id_column("job_id"),
    Column("topic", String(64), nullable=False),
    # JSON.
    Column("message", Text, nullable=False),
    time_column("at"),
    # The step that has it, null until one takes it.
    Column("taken_by", String(200)),
    Index(None, "job_id", "topic", "id"),
)

job_workers = Table(
    "job_workers",
    metadata,
    # Unique for each start of a process.
    Column("executor_id", String(64), primary_key=True),
    Column("machine", String(128), nullable=False),
    # The supervisor's, of its start.
    Column("session", String(64), nullable=False),
    # Which of its workers.
    Column("place", Integer, nullable=False),
    time_column("started_at"),
    time_column("seen_at"),
    time_column("lease_until"),
)

job_schedules = Table(
    "job_schedules",
    metadata,
    id_column("id", primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    Column("kind", String(64), nullable=False),
    name_column("title"),
    # JSON, as of a job.
    Column("args", Text, nullable=False),
    Column("queue", String(64), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("cron", String(100), nullable=False),
    Column("timezone", String(64), nullable=False),
    Column("enabled", Boolean, nullable=False),
    # JSON of `AskedBy`.
    Column("asked_by", Text, nullable=False),
    # Null while it is not enabled.
    time_column("next_at", nullable=True),
    _job_id_column("last_job_id", nullable=True),
    time_column("last_at", nullable=True),
    time_column("created_at"),
    time_column("changed_at"),
    Index(None, "project_id", "title", "id"),
    Index(None, "next_at"),
)
