"""What calls use beside plain tokens, and corrections of what they came to."""

import sqlalchemy as sa
from alembic import op

from polyforge.database.migrations.walls import wall_off

revision = "0004"
down_revision = "0003"

UNITS = ("audio_input_tokens", "audio_output_tokens", "image_input_tokens", "images", "milliseconds", "characters")


def upgrade() -> None:
    """Add the columns, which earlier releases leave at zero, and the table, walled off by project."""
    for name in UNITS:
        op.add_column("usage_records", sa.Column(name, sa.BigInteger(), server_default="0", nullable=False))
    op.create_table(
        "usage_corrections",
        sa.Column("id", sa.String(26), nullable=False),
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26), nullable=False),
        sa.Column("key_id", sa.String(26), nullable=False),
        sa.Column("period_start", sa.BigInteger(), nullable=False),
        sa.Column("record_id", sa.String(26)),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("cost_micros", sa.BigInteger(), nullable=False),
        sa.Column("price_micros", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("created_by", sa.String(26), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_usage_corrections"),
    )
    op.create_index("ix_usage_corrections_project_id_id", "usage_corrections", ["project_id", "id"])
    op.create_index("ix_usage_corrections_key_id_period_start", "usage_corrections", ["key_id", "period_start"])
    op.create_index("ix_usage_corrections_record_id", "usage_corrections", ["record_id"])
    wall_off("usage_corrections")
