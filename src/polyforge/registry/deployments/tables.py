"""The table of what each machine serves."""

from sqlalchemy import Column, Integer, String, Table, Text

from polyforge.database.columns import id_column, time_column
from polyforge.database.metadata import metadata

model_servings = Table(
    "model_servings",
    metadata,
    id_column("version_id", primary_key=True),
    Column("machine", String(100), primary_key=True, index=True),
    id_column("organization_id"),
    id_column("project_id"),
    Column("model_id", String(26), nullable=False, index=True),
    Column("number", Integer, nullable=False),
    Column("state", String(20), nullable=False),
    Column("reason", Text, nullable=False),
    time_column("changed_at"),
    # When its machine last said that it is there.
    time_column("seen_at"),
)
