"""The tables of organizations, projects, keys and the ledger."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Subquery,
    Table,
    Text,
    UniqueConstraint,
    select,
)

from polyforge.database.columns import hash_column, id_column, name_column, time_column
from polyforge.database.metadata import metadata
from polyforge.kernel.sizes import NAME_LENGTH

organizations = Table(
    "organizations",
    metadata,
    id_column("id", primary_key=True),
    name_column("name"),
    time_column("created_at"),
)

projects = Table(
    "projects",
    metadata,
    id_column("id", primary_key=True),
    id_column("organization_id", ForeignKey("organizations.id")),
    name_column("name"),
    time_column("created_at"),
    UniqueConstraint("organization_id", "name"),
)

api_keys = Table(
    "api_keys",
    metadata,
    id_column("id", primary_key=True),
    id_column("organization_id", ForeignKey("organizations.id")),
    id_column("project_id", ForeignKey("projects.id")),
    name_column("name"),
    Column("prefix", String(16), nullable=False),
    hash_column("hash", unique=True),
    # Until `previous_until` the secret from before the last rotation works too.
    hash_column("previous_hash", unique=True, nullable=True),
    time_column("previous_until", nullable=True),
    Column("scopes", JSON, nullable=False),
    Column("models", JSON(none_as_null=True)),
    Column("rpm", BigInteger),
    Column("tpm", BigInteger),
    Column("concurrency", BigInteger),
    Column("budget_micros", BigInteger),
    Column("budget_period", String(8), nullable=False),
    time_column("expires_at", nullable=True),
    time_column("created_at"),
    # No foreign key: it is a user, a service account or a key, and a key stays when who made it goes.
    id_column("created_by", nullable=True),
    time_column("revoked_at", nullable=True),
    Column("version", BigInteger, nullable=False),
    Index(None, "project_id", "id"),
    Index(None, "created_by"),
    Index(None, "version"),
)

usage_records = Table(
    "usage_records",
    metadata,
    # No foreign keys: a record is written whatever has become of its key, and the check would cost a look-up per row.
    id_column("id", primary_key=True),
    id_column("key_id"),
    id_column("organization_id"),
    id_column("project_id"),
    Column("task", String(32), nullable=False),
    Column("model", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("deployment", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("http_status", SmallInteger, nullable=False),
    time_column("started_at"),
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
    Column("audio_input_tokens", BigInteger, nullable=False, server_default="0"),
    Column("audio_output_tokens", BigInteger, nullable=False, server_default="0"),
    Column("image_input_tokens", BigInteger, nullable=False, server_default="0"),
    Column("images", BigInteger, nullable=False, server_default="0"),
    Column("milliseconds", BigInteger, nullable=False, server_default="0"),
    Column("characters", BigInteger, nullable=False, server_default="0"),
    # Empty for a key that is nobody's.
    Column("user_id", String(26), nullable=False, server_default=""),
    Column("end_user", Text, nullable=False, server_default=""),
    # `app=chat,team=red`, sorted.
    Column("tags", Text, nullable=False, server_default=""),
    Column("cached", String(16), nullable=False, server_default=""),
    Column("saved_micros", BigInteger, nullable=False, server_default="0"),
    Column("error", Text, nullable=False, server_default=""),
    # How the call went, as `tenancy.ledger.details` writes it; gone when its time is up.
    Column("details", LargeBinary),
    Index(None, "project_id", "started_at"),
    # Ids rise with time, so rows are appended; without row ids SQLite keeps one tree less, a fifth of the time per row.
    sqlite_with_rowid=False,
)


usage_series = Table(
    "usage_series",
    metadata,
    id_column("organization_id"),
    id_column("project_id", primary_key=True),
    # A digest of the columns below.
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    id_column("key_id"),
    Column("user_id", String(26), nullable=False),
    Column("end_user", Text, nullable=False),
    Column("task", String(32), nullable=False),
    Column("model", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("deployment", Text, nullable=False),
    Column("tags", Text, nullable=False),
    sqlite_with_rowid=False,
)


def _rolled_up(name: str, unit: str) -> Table:
    """What the ledger's rows come to by hour or by day, exactly: written in the transaction that writes the rows."""
    return Table(
        name,
        metadata,
        id_column("organization_id"),
        id_column("project_id", primary_key=True),
        # Hours or days since the epoch, UTC.
        Column(unit, Integer, primary_key=True, autoincrement=False),
        Column("series_id", BigInteger, primary_key=True, autoincrement=False),
        *(Column(measure, BigInteger, nullable=False) for measure in MEASURES),
        Index(None, "organization_id", unit),
        sqlite_with_rowid=False,
    )


MEASURES = (
    # Rows but corrections; those that failed; those with an answer, whole or begun; those answered from a cache.
    "requests",
    "errors",
    "answered",
    "cached",
    "duration_ms",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "image_input_tokens",
    "images",
    "milliseconds",
    "characters",
    "cost_micros",
    "price_micros",
    "saved_micros",
)
usage_hours = _rolled_up("usage_hours", "hour")
usage_days = _rolled_up("usage_days", "day")

MINUTE_MEASURES = (
    "requests",
    "errors",
    "duration_ms",
    # Cached or not.
    "input_tokens",
    "output_tokens",
    "cost_micros",
    "price_micros",
)
usage_minutes = Table(
    "usage_minutes",
    metadata,
    id_column("organization_id"),
    id_column("project_id", primary_key=True),
    # Since the epoch. Those of the last day are kept.
    Column("minute", Integer, primary_key=True, autoincrement=False),
    # Of latency, in milliseconds, as `tenancy.ledger_minutes` has it.
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    *(Column(measure, BigInteger, nullable=False) for measure in MINUTE_MEASURES),
    Index(None, "minute"),
    sqlite_with_rowid=False,
)


def _labelled(sums: Table, name: str) -> Subquery:
    """Sums with the columns of their series beside them, to be queried like a table."""
    series = usage_series.c
    same = (series.project_id == sums.c.project_id) & (series.id == sums.c.series_id)
    labels = [column for column in series if column.name not in ("organization_id", "project_id", "id")]
    return select(sums, *labels).select_from(sums.join(usage_series, same)).subquery(name)


hourly_usage = _labelled(usage_hours, "hourly_usage")
daily_usage = _labelled(usage_days, "daily_usage")

usage_corrections = Table(
    "usage_corrections",
    metadata,
    # Of each correction the ledger has a row too, under the same id, so that every sum over it is right.
    id_column("id", primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    id_column("key_id"),
    Column("period_start", BigInteger, nullable=False),
    id_column("record_id", nullable=True),
    Column("model", Text, nullable=False),
    time_column("at"),
    Column("cost_micros", BigInteger, nullable=False),
    Column("price_micros", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    time_column("created_at"),
    id_column("created_by"),
    Index(None, "project_id", "id"),
    Index(None, "key_id", "period_start"),
    Index(None, "record_id"),
)

budget_counters = Table(
    "budget_counters",
    metadata,
    id_column("key_id", primary_key=True),
    Column("period_start", BigInteger, primary_key=True),
    Column("spent_micros", BigInteger, nullable=False),
)

journal_offsets = Table(
    "journal_offsets",
    metadata,
    Column("journal", String(NAME_LENGTH), primary_key=True),
    Column("position", BigInteger, nullable=False),
)
