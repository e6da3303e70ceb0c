"""The table of responses that are kept."""

from sqlalchemy import Column, Index, LargeBinary, Table, Text

from polyforge.database.columns import id_column, time_column
from polyforge.database.metadata import metadata

responses = Table(
    "responses",
    metadata,
    # No foreign keys: an answer is kept whatever has become of its project, until it expires.
    id_column("id", primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    Column("model", Text, nullable=False),
    # The conversation with its answer as JSON, compressed, as `secrets.sealing` made it.
    Column("sealed", LargeBinary(), nullable=False),
    time_column("created_at"),
    time_column("expires_at"),
    Index(None, "expires_at"),
)
