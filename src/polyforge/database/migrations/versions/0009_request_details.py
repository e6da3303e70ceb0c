"""How calls went, in the rows that say what they came to."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the columns, which earlier releases leave empty."""
    op.add_column("usage_records", sa.Column("error", sa.Text(), server_default="", nullable=False))
    op.add_column("usage_records", sa.Column("details", sa.LargeBinary(), nullable=True))
