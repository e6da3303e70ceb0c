"""Payloads of requests, and what sinks of the log of requests refused."""

import sqlalchemy as sa
from alembic import op

from polyforge.database.migrations.walls import wall_off

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Create the tables, and wall the projects off from each other."""
    op.create_table(
        "request_payloads",
        sa.Column("id", sa.String(26), nullable=False),
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26), nullable=False),
        sa.Column("user_id", sa.String(26), nullable=False),
        sa.Column("end_user_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_request_payloads"),
    )
    op.create_index("ix_request_payloads_expires_at", "request_payloads", ["expires_at"])
    whose = ["project_id", "end_user_hash"]
    op.create_index("ix_request_payloads_project_id_end_user_hash", "request_payloads", whose)
    op.create_index("ix_request_payloads_project_id_user_id", "request_payloads", ["project_id", "user_id"])
    op.create_table(
        "request_log_dead_letters",
        sa.Column("id", sa.String(26), nullable=False),
        sa.Column("export", sa.String(200), nullable=False),
        sa.Column("request_id", sa.String(26), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("wanted_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_request_log_dead_letters"),
    )
    op.create_index("ix_request_log_dead_letters_export_id", "request_log_dead_letters", ["export", "id"])
    wall_off("request_payloads")
