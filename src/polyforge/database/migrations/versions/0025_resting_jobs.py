"""Jobs that wait without a worker, and the age of results by project."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    """Add what calls a job that nobody holds, and find the oldest results of a project."""
    op.add_column("jobs", sa.Column("due_at", sa.Double(), nullable=True))
    op.add_column("jobs", sa.Column("topics", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("ran_seconds", sa.Double(), nullable=True))
    due = sa.text("due_at IS NOT NULL")
    op.create_index("ix_jobs_resting", "jobs", ["due_at"], sqlite_where=due, postgresql_where=due)
    op.create_index("ix_flow_results_project_id_created_at_id", "flow_results", ["project_id", "created_at", "id"])
