"""The tables of flows, their drafts and versions, and what points at those."""

from typing import Any, Final

from sqlalchemy import Column, Index, Integer, LargeBinary, String, Table, Text, UniqueConstraint, text

from polyforge.database.columns import id_column, name_column, time_column
from polyforge.database.metadata import metadata

FLOW_ID_LENGTH: Final = 31
"""`flow_` and a ULID."""
VERSION_LENGTH: Final = 64
"""A SHA-256 in hexadecimal."""
_THERE: Final = text("archived_at IS NULL")


def flow_id_column(name: str, *, primary_key: bool = False, nullable: bool = False) -> Column[Any]:
    """The id of a flow."""
    return Column(name, String(FLOW_ID_LENGTH), primary_key=primary_key, nullable=nullable)


def _version_column(name: str, *, primary_key: bool = False, nullable: bool = False) -> Column[Any]:
    return Column(name, String(VERSION_LENGTH), primary_key=primary_key, nullable=nullable)


flows = Table(
    "flows",
    metadata,
    flow_id_column("id", primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    # What paths, references and commands call it.
    Column("slug", String(64), nullable=False),
    # The name and the description that its draft has.
    name_column("title"),
    Column("description", Text, nullable=False),
    # The version that was committed last; null: none was yet.
    _version_column("head", nullable=True),
    # How many versions were ever committed: numbers are never given twice.
    Column("last_number", Integer, nullable=False),
    id_column("created_by"),
    time_column("created_at"),
    time_column("updated_at"),
    # Put away: it does not run any more, and its short name is free; its versions and its history stay.
    time_column("archived_at", nullable=True),
    Index("ix_flows_slug", "project_id", "slug", unique=True, sqlite_where=_THERE, postgresql_where=_THERE),
    Index(None, "project_id", "updated_at", "id"),
)

flow_drafts = Table(
    "flow_drafts",
    metadata,
    flow_id_column("flow_id", primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    # Rises with every change, so that nobody overwrites what they have not seen.
    Column("revision", Integer, nullable=False),
    # The version that it goes on from; null: none.
    _version_column("base", nullable=True),
    # The version that it would be.
    _version_column("version"),
    # The flow in its canonical form with its layout, compressed.
    Column("content", LargeBinary, nullable=False),
    # Bytes of it before that.
    Column("size", Integer, nullable=False),
    id_column("updated_by"),
    time_column("updated_at"),
)

flow_versions = Table(
    "flow_versions",
    metadata,
    flow_id_column("flow_id", primary_key=True),
    # The SHA-256 of what counts.
    _version_column("version", primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    Column("number", Integer, nullable=False),
    _version_column("parent", nullable=True),
    name_column("title"),
    Column("message", Text, nullable=False),
    # As in flow_drafts.
    Column("content", LargeBinary, nullable=False),
    Column("size", Integer, nullable=False),
    Column("nodes", Integer, nullable=False),
    id_column("created_by"),
    time_column("created_at"),
    UniqueConstraint("flow_id", "number"),
)

flow_aliases = Table(
    "flow_aliases",
    metadata,
    flow_id_column("flow_id", primary_key=True),
    Column("alias", String(63), primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    _version_column("version"),
    id_column("changed_by"),
    time_column("changed_at"),
)

flow_alias_changes = Table(
    "flow_alias_changes",
    metadata,
    id_column("id", primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    flow_id_column("flow_id"),
    Column("alias", String(63), nullable=False),
    # Null: it points nowhere any more.
    _version_column("version", nullable=True),
    # Null: it pointed nowhere before.
    _version_column("previous", nullable=True),
    # `set`, `rolled_back`, `removed`.
    Column("action", String(16), nullable=False),
    Column("note", Text, nullable=False),
    id_column("changed_by"),
    time_column("changed_at"),
    Index(None, "flow_id", "id"),
)
