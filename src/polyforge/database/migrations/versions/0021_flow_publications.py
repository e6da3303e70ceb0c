"""What is published of flows: tools for agents, pages for people."""

import sqlalchemy as sa
from alembic import op

from polyforge.database.migrations.walls import wall_off

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Create the table, and wall the projects off from each other."""
    op.create_table(
        "flow_publications",
        sa.Column("flow_id", sa.String(31), nullable=False),
        sa.Column("alias", sa.String(63), nullable=False),
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26), nullable=False),
        sa.Column("tool", sa.Boolean(), nullable=False),
        sa.Column("page", sa.Boolean(), nullable=False),
        sa.Column("changed_by", sa.String(26), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("flow_id", "alias", name="pk_flow_publications"),
    )
    columns = ["project_id", "flow_id", "alias"]
    op.create_index("ix_flow_publications_project_id_flow_id_alias", "flow_publications", columns)
    wall_off("flow_publications")
