"""How versions of models do on each machine, what a machine needs to fetch one, and what was measured of them."""

import sqlalchemy as sa
from alembic import op

from polyforge.database.migrations.walls import wall_off

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Create the table, and wall the projects off from each other."""
    op.add_column("model_versions", sa.Column("fetching", sa.JSON(), nullable=True))
    op.add_column("model_versions", sa.Column("tuning", sa.JSON(), nullable=True))
    op.create_table(
        "model_servings",
        sa.Column("version_id", sa.String(26), nullable=False),
        sa.Column("machine", sa.String(100), nullable=False),
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26), nullable=False),
        sa.Column("model_id", sa.String(26), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("version_id", "machine", name="pk_model_servings"),
    )
    op.create_index("ix_model_servings_model_id", "model_servings", ["model_id"])
    op.create_index("ix_model_servings_machine", "model_servings", ["machine"])
    wall_off("model_servings")
