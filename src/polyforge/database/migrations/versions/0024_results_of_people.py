"""What flows keep for later runs says in whose runs it was made, so that it goes when somebody is forgotten."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Add whose a result is, and find what is somebody's."""
    op.add_column("flow_results", sa.Column("user_id", sa.String(26), nullable=True))
    op.create_index("ix_flow_results_project_id_user_id", "flow_results", ["project_id", "user_id"])
    op.create_index("ix_flow_runs_project_id_user_id", "flow_runs", ["project_id", "user_id"])
