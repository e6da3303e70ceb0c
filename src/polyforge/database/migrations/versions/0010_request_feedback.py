"""What callers and people say of answers."""

import sqlalchemy as sa
from alembic import op

from polyforge.database.migrations.walls import wall_off

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Create the table, and wall the projects off from each other."""
    op.create_table(
        "request_feedback",
        sa.Column("id", sa.String(26), nullable=False),
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26), nullable=False),
        sa.Column("request_id", sa.String(26), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("deployment", sa.Text(), nullable=False),
        sa.Column("rating", sa.SmallInteger()),
        sa.Column("score", sa.Double()),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("given_by", sa.String(26), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_request_feedback"),
        sa.UniqueConstraint("request_id", "given_by", name="uq_request_feedback_request_id_given_by"),
    )
    op.create_index("ix_request_feedback_project_id_id", "request_feedback", ["project_id", "id"])
    wall_off("request_feedback")
