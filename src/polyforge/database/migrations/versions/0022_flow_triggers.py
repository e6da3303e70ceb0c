"""What begins runs of flows, and when it did."""

import sqlalchemy as sa
from alembic import op

from polyforge.database.migrations.walls import wall_off

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Create the tables, and wall the projects off from each other."""
    op.create_table(
        "flow_triggers",
        sa.Column("id", sa.String(31), nullable=False),
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("flow", sa.String(160), nullable=False),
        sa.Column("flow_id", sa.String(31), nullable=False),
        sa.Column("inputs", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("cron", sa.String(100), nullable=True),
        sa.Column("timezone", sa.String(64), nullable=True),
        sa.Column("schedule_id", sa.String(26), nullable=True),
        sa.Column("auth", sa.String(16), nullable=True),
        sa.Column("secret", sa.String(200), nullable=True),
        sa.Column("per_minute", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_flow_triggers"),
    )
    op.create_index("ix_flow_triggers_project_id_id", "flow_triggers", ["project_id", "id"])
    op.create_index("ix_flow_triggers_project_id_flow_id", "flow_triggers", ["project_id", "flow_id"])
    wall_off("flow_triggers")
    op.create_table(
        "flow_trigger_firings",
        sa.Column("id", sa.String(26), nullable=False),
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26), nullable=False),
        sa.Column("trigger_id", sa.String(31), nullable=False),
        sa.Column("delivery", sa.String(200), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("run_id", sa.String(30), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_flow_trigger_firings"),
        sa.UniqueConstraint("trigger_id", "delivery", name="uq_flow_trigger_firings_trigger_id_delivery"),
    )
    op.create_index("ix_flow_trigger_firings_trigger_id_id", "flow_trigger_firings", ["trigger_id", "id"])
    op.create_index("ix_flow_trigger_firings_expires_at", "flow_trigger_firings", ["expires_at"])
    wall_off("flow_trigger_firings")
