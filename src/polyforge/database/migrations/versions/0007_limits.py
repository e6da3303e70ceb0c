"""Limits, and what was done to them."""

import sqlalchemy as sa
from alembic import op

from polyforge.database.migrations.walls import ORGANIZATION, wall_off

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create the tables, walled off, and the counter that numbers what is done to limits."""
    op.create_table(
        "limits",
        sa.Column("id", sa.String(26), nullable=False),
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26)),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("subject", sa.String(16), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("measure", sa.String(16), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("window", sa.String(24), nullable=False),
        sa.Column("thresholds", sa.JSON(), nullable=False),
        sa.Column("hard", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("created_by", sa.String(26), nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="fk_limits_organization_id"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_limits_project_id"),
        sa.PrimaryKeyConstraint("id", name="pk_limits"),
        sa.UniqueConstraint("organization_id", "name", name="uq_limits_organization_id_name"),
    )
    op.create_table(
        "limit_states",
        sa.Column("limit_id", sa.String(26), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("organization_id", sa.String(26)),
        sa.Column("reset_at", sa.Double(), nullable=False),
        sa.Column("extra", sa.BigInteger(), nullable=False),
        sa.Column("extra_until", sa.Double()),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("limit_id", "subject_id", name="pk_limit_states"),
    )
    op.execute("INSERT INTO generations (name, value) VALUES ('limits', 0)")
    wall_off("limits", ORGANIZATION)
    wall_off("limit_states", ORGANIZATION)
