"""The table of events."""

from sqlalchemy import BigInteger, Column, Index, String, Table, Text

from polyforge.database.columns import id_column, time_column
from polyforge.database.metadata import metadata

events = Table(
    "events",
    metadata,
    # From 1, in the order of the commits.
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    # `settings`, `keys`, `models`, `budgets`, `jobs`, `alerts`, `people`, `secrets`.
    Column("stream", String(16), nullable=False),
    # What happened, as in `key.revoked`.
    Column("kind", String(64), nullable=False),
    # Null: of the whole installation.
    id_column("organization_id", nullable=True),
    # Null: of the whole organization.
    id_column("project_id", nullable=True),
    Column("resource_id", String(200), nullable=False),
    time_column("at"),
    # JSON, without secrets.
    Column("data", Text, nullable=False),
    Index(None, "organization_id", "sequence"),
)
