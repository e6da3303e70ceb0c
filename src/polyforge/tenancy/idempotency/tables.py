"""The table of requests with a key."""

from sqlalchemy import Column, Index, LargeBinary, String, Table

from polyforge.database.columns import hash_column, id_column, time_column
from polyforge.database.metadata import metadata

idempotent_requests = Table(
    "idempotent_requests",
    metadata,
    # SHA-256 in hexadecimal of the project and the key that the caller chose. No foreign keys: it expires by itself.
    Column("id", String(64), primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    # SHA-256 of what was asked.
    hash_column("request"),
    # `running`, `kept`, or `large`: answered with more than is kept.
    Column("state", String(8), nullable=False),
    # Which attempt is under way, and until when it is to be believed alive.
    id_column("owner"),
    time_column("lease_until"),
    # The answer, compressed, as `secrets.sealing` made it; of nothing where there is none.
    Column("sealed", LargeBinary(), nullable=False),
    time_column("created_at"),
    time_column("expires_at"),
    Index(None, "expires_at"),
)
