"""The tables of limits."""

from sqlalchemy import JSON, BigInteger, Boolean, Column, ForeignKey, String, Table, Text
from sqlalchemy import UniqueConstraint as Unique

from polyforge.database.columns import id_column, name_column, time_column
from polyforge.database.metadata import metadata

limits = Table(
    "limits",
    metadata,
    id_column("id", primary_key=True),
    id_column("organization_id", ForeignKey("organizations.id")),
    # Null: the calls of every project count.
    id_column("project_id", ForeignKey("projects.id"), nullable=True),
    name_column("name"),
    # What it is on: a kind and an id, or `*` for each of the kind.
    Column("subject", String(16), nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("measure", String(16), nullable=False),
    # Money in micro-USD.
    Column("amount", BigInteger, nullable=False),
    # Empty for calls under way.
    Column("window", String(24), nullable=False),
    # Shares of the amount, rising.
    Column("thresholds", JSON, nullable=False),
    Column("hard", Boolean, nullable=False),
    time_column("created_at"),
    id_column("created_by"),
    Unique("organization_id", "name"),
)

limit_states = Table(
    "limit_states",
    metadata,
    # What was done to a limit for one of its subjects. No foreign key: declared limits are in no table.
    id_column("limit_id", primary_key=True),
    Column("subject_id", Text, primary_key=True),
    # Null for a limit on everybody's calls, which only settings declare.
    id_column("organization_id", nullable=True),
    time_column("reset_at"),
    # What there may be used beyond the amount, until then; null: for good.
    Column("extra", BigInteger, nullable=False),
    time_column("extra_until", nullable=True),
    Column("version", BigInteger, nullable=False),
)
