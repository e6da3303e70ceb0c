"""The tables of flags and of their history."""

from sqlalchemy import JSON, BigInteger, Column, String, Table

from polyforge.database.columns import id_column, time_column
from polyforge.database.metadata import metadata

flags = Table(
    "flags",
    metadata,
    Column("name", String(200), primary_key=True),
    # {"enabled": bool, "projects": [ids] or null, "share": 0 to 100}
    Column("value", JSON, nullable=False),
    Column("version", BigInteger, nullable=False),
    time_column("changed_at"),
    id_column("changed_by"),
)

flag_history = Table(
    "flag_history",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("version", BigInteger, primary_key=True),
    # Null: it was removed.
    Column("value", JSON(none_as_null=True)),
    time_column("changed_at"),
    id_column("changed_by"),
)
