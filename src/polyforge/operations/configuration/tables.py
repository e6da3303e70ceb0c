"""The table of declared configurations."""

from sqlalchemy import JSON, BigInteger, Boolean, Column, String, Table, Text

from polyforge.database.columns import hash_column, id_column, name_column, time_column
from polyforge.database.metadata import metadata

configurations = Table(
    "configurations",
    metadata,
    # What polyforge.yaml declared, each time that it changed, and each return to an earlier one.
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    # `file` or `rollback`.
    Column("source", String(16), nullable=False),
    # The version that a rollback returned to.
    Column("of_version", BigInteger),
    hash_column("digest"),
    # JSON of the sections that may change while running; secrets only as references.
    Column("content", Text, nullable=False),
    # Paths of the settings that changed besides and wait for a restart.
    Column("needs_restart", JSON, nullable=False),
    time_column("created_at"),
    id_column("created_by"),
    name_column("host"),
    # Whether the processes took it; a refused one says why.
    Column("accepted", Boolean, nullable=False),
    Column("reason", Text),
)
