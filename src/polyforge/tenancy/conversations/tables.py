"""The table of saved conversations."""

from sqlalchemy import Boolean, Column, Index, Integer, LargeBinary, Table

from polyforge.database.columns import id_column, time_column
from polyforge.database.metadata import metadata

conversations = Table(
    "conversations",
    metadata,
    id_column("id", primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    # The user, the key or the service account that saved it.
    id_column("owner_id"),
    Column("shared", Boolean(), nullable=False),
    # Rises with every change, so that nobody overwrites what they have not seen.
    Column("version", Integer(), nullable=False),
    # As `secrets.sealing` made it: a title is often the first words of what was asked.
    Column("title", LargeBinary(), nullable=False),
    # JSON, compressed, as `secrets.sealing` made it.
    Column("content", LargeBinary(), nullable=False),
    # Bytes of the JSON.
    Column("size", Integer(), nullable=False),
    time_column("created_at"),
    time_column("updated_at"),
    Index(None, "project_id", "owner_id", "updated_at", "id"),
    Index(None, "project_id", "shared", "updated_at", "id"),
    Index(None, "owner_id"),
)
