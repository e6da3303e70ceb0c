"""Batches that read from, and write to, stores of data."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Add what a batch reads and writes where that is no file."""
    op.add_column("batches", sa.Column("exchange", sa.Text(), nullable=True))
