"""Runs of flows with their events and approvals, and results that later runs may take."""

import sqlalchemy as sa
from alembic import op

from polyforge.database.migrations.walls import wall_off

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Create the tables, and wall the projects off from each other."""
    _create_runs()
    _create_events()
    _create_approvals()
    _create_results()
    for table in ("flow_runs", "flow_run_events", "flow_approvals", "flow_results"):
        wall_off(table)


def _create_runs() -> None:
    op.create_table(
        "flow_runs",
        sa.Column("id", sa.String(30), nullable=False),
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26), nullable=False),
        sa.Column("flow_id", sa.String(31), nullable=False),
        sa.Column("flow_name", sa.String(200), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("plan", sa.String(64), nullable=False),
        sa.Column("pinned", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("inputs", sa.Text(), nullable=False),
        sa.Column("outputs", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("cost_micros", sa.BigInteger(), nullable=False),
        sa.Column("max_cost_micros", sa.BigInteger(), nullable=True),
        sa.Column("trigger_kind", sa.String(16), nullable=False),
        sa.Column("trigger_id", sa.String(64), nullable=True),
        sa.Column("trigger_outputs", sa.Text(), nullable=False),
        sa.Column("asked_by_id", sa.String(26), nullable=False),
        sa.Column("asked_by_name", sa.String(200), nullable=False),
        sa.Column("user_id", sa.String(26), nullable=True),
        sa.Column("job_id", sa.String(30), nullable=False),
        sa.Column("parent_id", sa.String(30), nullable=True),
        sa.Column("targets", sa.Text(), nullable=True),
        sa.Column("idempotency_key", sa.String(200), nullable=True),
        sa.Column("request", sa.String(64), nullable=True),
        sa.Column("last_seq", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_flow_runs"),
    )
    op.create_index("ix_flow_runs_project_id_id", "flow_runs", ["project_id", "id"])
    op.create_index("ix_flow_runs_project_id_flow_id_id", "flow_runs", ["project_id", "flow_id", "id"])
    op.create_index("ix_flow_runs_project_id_state_id", "flow_runs", ["project_id", "state", "id"])
    op.create_index("ix_flow_runs_project_id_trigger_id_id", "flow_runs", ["project_id", "trigger_id", "id"])
    _create_partial("ix_flow_runs_keyed", ["project_id", "idempotency_key"], "idempotency_key", unique=True)
    _create_partial("ix_flow_runs_ended", ["expires_at"], "expires_at")


def _create_partial(name: str, columns: list[str], there: str, *, unique: bool = False) -> None:
    condition = sa.text(f"{there} IS NOT NULL")
    op.create_index(name, "flow_runs", columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def _create_events() -> None:
    op.create_table(
        "flow_run_events",
        sa.Column("run_id", sa.String(30), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("type", sa.String(24), nullable=False),
        sa.Column("node", sa.String(400), nullable=False),
        sa.Column("path", sa.String(300), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "seq", name="pk_flow_run_events"),
    )


def _create_approvals() -> None:
    op.create_table(
        "flow_approvals",
        sa.Column("id", sa.String(31), nullable=False),
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26), nullable=False),
        sa.Column("run_id", sa.String(30), nullable=False),
        sa.Column("node", sa.String(400), nullable=False),
        sa.Column("path", sa.String(300), nullable=False),
        sa.Column("flow_id", sa.String(31), nullable=False),
        sa.Column("flow_name", sa.String(200), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("form", sa.Text(), nullable=True),
        sa.Column("shown", sa.Text(), nullable=True),
        sa.Column("assignees", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("answers", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("decided_by_id", sa.String(26), nullable=True),
        sa.Column("decided_by_name", sa.String(200), nullable=True),
        sa.Column("decided_via", sa.String(8), nullable=True),
        sa.Column("decided_at", sa.Double(), nullable=True),
        sa.Column("asked_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_flow_approvals"),
    )
    op.create_index("ix_flow_approvals_asked", "flow_approvals", ["run_id", "node", "path"], unique=True)
    op.create_index("ix_flow_approvals_project_id_id", "flow_approvals", ["project_id", "id"])
    op.create_index("ix_flow_approvals_project_id_state_id", "flow_approvals", ["project_id", "state", "id"])


def _create_results() -> None:
    op.create_table(
        "flow_results",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26), nullable=False),
        sa.Column("outputs", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_flow_results"),
    )
    op.create_index("ix_flow_results_expires_at", "flow_results", ["expires_at"])
