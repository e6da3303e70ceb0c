"""The table of what was added over the API."""

from sqlalchemy import Column, String, Table, Text

from polyforge.database.columns import id_column, time_column
from polyforge.database.metadata import metadata

additions = Table(
    "additions",
    metadata,
    # `provider` or `model`.
    Column("kind", String(16), primary_key=True),
    Column("name", String(200), primary_key=True),
    # JSON of what polyforge.yaml would say of it; secrets only as references.
    Column("content", Text, nullable=False),
    time_column("created_at"),
    id_column("created_by"),
    time_column("changed_at"),
    id_column("changed_by"),
)
