"""The table of files."""

from sqlalchemy import BigInteger, Boolean, Column, Index, String, Table

from polyforge.database.columns import id_column, time_column
from polyforge.database.metadata import metadata

files = Table(
    "files",
    metadata,
    # No foreign keys: a file stays whatever has become of who uploaded it, until it expires or is deleted.
    id_column("id", primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    # The user, the key or the service account that uploaded it, and the person behind, if there is one.
    id_column("owner_id"),
    id_column("user_id", nullable=True),
    Column("purpose", String(32), nullable=False),
    Column("name", String(255), nullable=False),
    Column("size", BigInteger(), nullable=False),
    Column("sha256", String(64), nullable=False),
    # False while its bytes are still coming; who breaks off leaves a row that expires.
    Column("complete", Boolean(), nullable=False),
    time_column("created_at"),
    time_column("expires_at", nullable=True),
    Index(None, "project_id", "id"),
    Index(None, "expires_at"),
    Index(None, "user_id"),
)
