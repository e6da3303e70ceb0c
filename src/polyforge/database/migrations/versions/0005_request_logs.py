"""What the ledger took in, batch by batch, and how far each export of request logs is."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the tables, and the counter that numbers the batches."""
    op.create_table(
        "request_log_batches",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("record_ids", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_request_log_batches"),
    )
    op.create_table(
        "request_log_exports",
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("retry_at", sa.Double(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("holder", sa.String(26)),
        sa.Column("held_until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_request_log_exports"),
    )
    op.execute("INSERT INTO generations (name, value) VALUES ('request_logs', 0)")
