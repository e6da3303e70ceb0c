"""The table of what is said of answers."""

from typing import Any

from sqlalchemy import JSON, Column, Double, Index, SmallInteger, Table, Text, UniqueConstraint

from polyforge.database.columns import id_column, time_column
from polyforge.database.metadata import metadata

request_feedback = Table(
    "request_feedback",
    metadata,
    id_column("id", primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    id_column("request_id"),
    # As the request's row has them, so that sums by model need no other table.
    Column("model", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("deployment", Text, nullable=False),
    # -1 or 1, or else a score from 0 to 1.
    Column("rating", SmallInteger),
    Column[Any]("score", Double()),
    Column("comment", Text, nullable=False),
    Column("labels", JSON, nullable=False),
    # A key or a user: each says one thing of a request, the last.
    id_column("given_by"),
    time_column("created_at"),
    UniqueConstraint("request_id", "given_by"),
    Index(None, "project_id", "id"),
)
