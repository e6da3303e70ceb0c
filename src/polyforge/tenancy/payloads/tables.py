"""The table of payloads."""

from sqlalchemy import Column, Index, LargeBinary, String, Table

from polyforge.database.columns import hash_column, id_column, time_column
from polyforge.database.metadata import metadata

request_payloads = Table(
    "request_payloads",
    metadata,
    # The request's. No foreign keys: it is written before or after the ledger has its row, and expires by itself.
    id_column("id", primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    # Empty for a key that is nobody's.
    Column("user_id", String(26), nullable=False),
    # SHA-256 of what the caller calls its end user, to find what is somebody's; of nothing where it names nobody.
    hash_column("end_user_hash"),
    # `records.Payload`, compressed, as `secrets.sealing` made it.
    Column("sealed", LargeBinary(), nullable=False),
    time_column("created_at"),
    time_column("expires_at"),
    Index(None, "expires_at"),
    Index(None, "project_id", "end_user_hash"),
    Index(None, "project_id", "user_id"),
)
