"""The table of sealed secrets."""

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Index, LargeBinary, String, Table
from sqlalchemy import UniqueConstraint as Unique

from polyforge.database.columns import id_column, name_column, time_column
from polyforge.database.metadata import metadata

secrets = Table(
    "secrets",
    metadata,
    id_column("id", primary_key=True),
    id_column("organization_id", ForeignKey("organizations.id")),
    name_column("name"),
    # What `secrets.sealing` made of it, and the master key that it was sealed with.
    Column("sealed", LargeBinary(), nullable=False),
    Column("master", String(16), nullable=False),
    # Ids of the projects that may use it; null: every one of the organization.
    Column("projects", JSON(none_as_null=True)),
    Column("version", BigInteger, nullable=False),
    time_column("created_at"),
    time_column("changed_at"),
    Unique("organization_id", "name"),
    Index(None, "master"),
)
