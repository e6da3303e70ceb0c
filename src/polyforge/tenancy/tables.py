"""The tables of tenancy. Ids are ULIDs; times are seconds since the epoch; money is whole micro-USD."""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from polyforge.database.metadata import metadata

NAME_LENGTH = 200
HASH_BYTES = 32


def _id(name: str, *constraints: ForeignKey, primary_key: bool = False) -> Column[Any]:
    return Column(name, String(26), *constraints, nullable=False, primary_key=primary_key)


def _time(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column[Any](name, Double(), nullable=nullable)


organizations = Table(
    "organizations",
    metadata,
    _id("id", primary_key=True),
    Column("name", String(NAME_LENGTH), nullable=False),
    _time("created_at"),
)

projects = Table(
    "projects",
    metadata,
    _id("id", primary_key=True),
    _id("organization_id", ForeignKey("organizations.id")),
    Column("name", String(NAME_LENGTH), nullable=False),
    _time("created_at"),
    UniqueConstraint("organization_id", "name"),
)

api_keys = Table(
    "api_keys",
    metadata,
    _id("id", primary_key=True),
    _id("organization_id", ForeignKey("organizations.id")),
    _id("project_id", ForeignKey("projects.id")),
    Column("name", String(NAME_LENGTH), nullable=False),
    Column("prefix", String(16), nullable=False),
    Column("hash", LargeBinary(HASH_BYTES), nullable=False, unique=True),
    # Until `previous_until` the secret from before the last rotation works too.
    Column("previous_hash", LargeBinary(HASH_BYTES), unique=True),
    _time("previous_until", nullable=True),
    Column("scopes", JSON, nullable=False),
    Column("models", JSON(none_as_null=True)),
    Column("rpm", BigInteger),
    Column("tpm", BigInteger),
    Column("concurrency", BigInteger),
    Column("budget_micros", BigInteger),
    Column("budget_period", String(8), nullable=False),
    _time("expires_at", nullable=True),
    _time("created_at"),
    _time("revoked_at", nullable=True),
    Column("version", BigInteger, nullable=False),
    Index(None, "project_id", "id"),
    Index(None, "version"),
)

generations = Table(
    "generations",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

usage_records = Table(
    "usage_records",
    metadata,
    # No foreign keys: a record is written whatever has become of its key, and the check would cost a look-up per row.
    _id("id", primary_key=True),
    _id("key_id"),
    _id("organization_id"),
    _id("project_id"),
    Column("task", String(32), nullable=False),
    Column("model", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("deployment", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("http_status", SmallInteger, nullable=False),
    _time("started_at"),
    # Days since the epoch, UTC.
    Column("day", Integer, nullable=False),
    Column("duration_ms", BigInteger, nullable=False),
    Column("period_start", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cache_read_tokens", BigInteger, nullable=False),
    Column("cache_write_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("exact", Boolean, nullable=False),
    Column("cost_micros", BigInteger, nullable=False),
    Column("price_micros", BigInteger, nullable=False),
    Column("stream", Boolean, nullable=False),
    Index(None, "project_id", "day"),
    # Ids rise with time, so rows are appended; without row ids SQLite keeps one tree less, a fifth of the time per row.
    sqlite_with_rowid=False,
)

budget_counters = Table(
    "budget_counters",
    metadata,
    _id("key_id", primary_key=True),
    Column("period_start", BigInteger, primary_key=True),
    Column("spent_micros", BigInteger, nullable=False),
)

journal_offsets = Table(
    "journal_offsets",
    metadata,
    Column("journal", String(NAME_LENGTH), primary_key=True),
    Column("position", BigInteger, nullable=False),
)
