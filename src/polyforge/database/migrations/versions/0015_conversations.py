"""Conversations that people save from the playground."""

import sqlalchemy as sa
from alembic import op

from polyforge.database.migrations.walls import wall_off

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Create the table, and wall the projects off from each other."""
    op.create_table(
        "conversations",
        sa.Column("id", sa.String(26), nullable=False),
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26), nullable=False),
        sa.Column("owner_id", sa.String(26), nullable=False),
        sa.Column("shared", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("title", sa.LargeBinary(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_conversations"),
    )
    own = ["project_id", "owner_id", "updated_at", "id"]
    op.create_index("ix_conversations_project_id_owner_id_updated_at_id", "conversations", own)
    shared = ["project_id", "shared", "updated_at", "id"]
    op.create_index("ix_conversations_project_id_shared_updated_at_id", "conversations", shared)
    op.create_index("ix_conversations_owner_id", "conversations", ["owner_id"])
    wall_off("conversations")
