"""Payloads of requests."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Create the table, and wall the projects off from each other."""
    op.create_table(
        "request_payloads",
        sa.Column("id", sa.String(26), nullable=False),
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26), nullable=False),
        sa.Column("user_id", sa.String(26), nullable=False),
        sa.Column("end_user_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_request_payloads"),
    )
    op.create_index("ix_request_payloads_expires_at", "request_payloads", ["expires_at"])
    whose = ["project_id", "end_user_hash"]
    op.create_index("ix_request_payloads_project_id_end_user_hash", "request_payloads", whose)
    op.create_index("ix_request_payloads_project_id_user_id", "request_payloads", ["project_id", "user_id"])
    if op.get_bind().dialect.name == "postgresql":
        _wall("request_payloads")


def _wall(table: str) -> None:
    """Rows of other tenants are hidden from a transaction that named its own, even from the owner of the table."""
    same = " AND ".join(
        f"coalesce(current_setting('polyforge.{level}', true), '') IN ('', {level}_id)"
        for level in ("organization", "project")
    )
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY tenant ON {table} USING ({same})")
