"""The tables of the audit log and of its export."""

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text, UniqueConstraint

from polyforge.database.columns import hash_column, id_column, name_column, time_column
from polyforge.database.metadata import metadata
from polyforge.kernel.sizes import NAME_LENGTH

audit_events = Table(
    "audit_events",
    metadata,
    # From 1, without gaps, in the order of the commits.
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    id_column("id"),
    time_column("at"),
    id_column("organization_id"),
    id_column("project_id", nullable=True),
    # `key`, `user`, `service` or `system`.
    Column("actor_kind", String(8), nullable=False),
    id_column("actor_id"),
    name_column("actor_name"),
    Column("address", String(64), nullable=False),
    Column("agent", String(300), nullable=False),
    id_column("request_id", nullable=True),
    Column("action", String(64), nullable=False),
    # What of the action stands before its dot: follows from it, and is there to be searched.
    Column("topic", String(64), nullable=False),
    Column("resource_kind", String(32), nullable=False),
    Column("resource_id", String(200), nullable=False),
    # JSON with secrets masked; null where there was nothing, or is nothing any more.
    Column("before", Text),
    Column("after", Text),
    # HMAC-SHA-256 over the one before and everything above.
    hash_column("hash"),
    UniqueConstraint("id"),
    # One for each way to search, each in the order of the pages.
    Index("ix_audit_events_at", "organization_id", "at", "sequence"),
    Index("ix_audit_events_action", "organization_id", "action", "at", "sequence"),
    Index("ix_audit_events_topic", "organization_id", "topic", "at", "sequence"),
    Index("ix_audit_events_actor_id", "organization_id", "actor_id", "at", "sequence"),
    Index("ix_audit_events_resource_kind", "organization_id", "resource_kind", "at", "sequence"),
    Index("ix_audit_events_resource_id", "organization_id", "resource_id", "at", "sequence"),
)

audit_heads = Table(
    "audit_heads",
    metadata,
    # One row, `audit`: the newest event, so that taking the last ones away is seen.
    Column("name", String(16), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    hash_column("hash"),
)

audit_exports = Table(
    "audit_exports",
    metadata,
    # A sink of the settings, and up to which event it has everything.
    Column("name", String(NAME_LENGTH), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("failures", Integer, nullable=False),
    time_column("retry_at"),
    Column("error", Text),
    time_column("changed_at"),
    # Which process sends, and until when nobody else does.
    id_column("holder", nullable=True),
    time_column("held_until"),
)

audit_dead_letters = Table(
    "audit_dead_letters",
    metadata,
    # Events that a sink refused for good.
    id_column("id", primary_key=True),
    name_column("export"),
    Column("sequence", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    time_column("at"),
    # When somebody asked to send it again.
    time_column("wanted_at", nullable=True),
    Index(None, "export", "id"),
    Index(None, "export", "wanted_at", "id"),
)
