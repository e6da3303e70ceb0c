"""Jobs with their logs, messages, workers and schedules."""

import sqlalchemy as sa
from alembic import op

from polyforge.database.migrations.walls import wall_off

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Create the tables, and wall the projects off from each other."""
    _create_jobs()
    _create_logs()
    _create_messages()
    _create_workers()
    _create_schedules()
    for table in ("jobs", "job_logs", "job_messages", "job_schedules"):
        wall_off(table)
    op.execute("INSERT INTO generations (name, value) VALUES ('job_claims', 0)")


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(30), nullable=False),
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("queue", sa.String(64), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("run_after", sa.Double(), nullable=False),
        sa.Column("args", sa.Text(), nullable=False),
        sa.Column("dedup_key", sa.String(200), nullable=True),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("schedule_id", sa.String(26), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("takeovers", sa.Integer(), nullable=False),
        sa.Column("strikes", sa.Integer(), nullable=False),
        sa.Column("timeout_seconds", sa.Double(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("worker", sa.String(64), nullable=True),
        sa.Column("progress_done", sa.Double(), nullable=False),
        sa.Column("progress_total", sa.Double(), nullable=True),
        sa.Column("progress_unit", sa.String(32), nullable=False),
        sa.Column("progress_note", sa.String(200), nullable=False),
        sa.Column("waiting_code", sa.String(32), nullable=True),
        sa.Column("waiting_message", sa.String(300), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
    )
    op.create_index("ix_jobs_project_id_id", "jobs", ["project_id", "id"])
    op.create_index("ix_jobs_project_id_state_id", "jobs", ["project_id", "state", "id"])
    op.create_index("ix_jobs_queue_started_at", "jobs", ["queue", "started_at"])
    _create_partial("ix_jobs_due", ["queue", "project_id", "rank", "run_after", "id"], "state = 'queued'")
    _create_partial("ix_jobs_held", ["worker"], "state IN ('running', 'waiting')")
    _create_partial("ix_jobs_ended", ["ended_at"], "ended_at IS NOT NULL")
    unfinished = "dedup_key IS NOT NULL AND state IN ('queued', 'running', 'waiting')"
    _create_partial("ix_jobs_deduplicated", ["project_id", "kind", "dedup_key"], unfinished, unique=True)


def _create_partial(name: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(name, "jobs", columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def _create_logs() -> None:
    op.create_table(
        "job_logs",
        sa.Column("job_id", sa.String(30), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("level", sa.String(8), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "seq", name="pk_job_logs"),
    )


def _create_messages() -> None:
    op.create_table(
        "job_messages",
        sa.Column("id", sa.String(26), nullable=False),
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26), nullable=False),
        sa.Column("job_id", sa.String(30), nullable=False),
        sa.Column("topic", sa.String(64), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("taken_by", sa.String(200), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_job_messages"),
    )
    op.create_index("ix_job_messages_job_id_topic_id", "job_messages", ["job_id", "topic", "id"])


def _create_workers() -> None:
    op.create_table(
        "job_workers",
        sa.Column("executor_id", sa.String(64), nullable=False),
        sa.Column("machine", sa.String(128), nullable=False),
        sa.Column("session", sa.String(64), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("executor_id", name="pk_job_workers"),
    )


def _create_schedules() -> None:
    op.create_table(
        "job_schedules",
        sa.Column("id", sa.String(26), nullable=False),
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("args", sa.Text(), nullable=False),
        sa.Column("queue", sa.String(64), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("cron", sa.String(100), nullable=False),
        sa.Column("timezone", sa.String(64), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("next_at", sa.Double(), nullable=True),
        sa.Column("last_job_id", sa.String(30), nullable=True),
        sa.Column("last_at", sa.Double(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_job_schedules"),
    )
    op.create_index("ix_job_schedules_project_id_title_id", "job_schedules", ["project_id", "title", "id"])
    op.create_index("ix_job_schedules_next_at", "job_schedules", ["next_at"])
