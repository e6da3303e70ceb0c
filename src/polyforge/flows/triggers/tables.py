"""The tables of triggers, and of the times that they fired."""

from typing import Any, Final

from sqlalchemy import Boolean, Column, Index, Integer, String, Table, Text, UniqueConstraint

from polyforge.database.columns import id_column, name_column, time_column
from polyforge.database.metadata import metadata
from polyforge.flows.keeping.tables import flow_id_column

TRIGGER_ID_LENGTH: Final = 31
"""`trig_` and a ULID."""
REFERENCE_LENGTH: Final = 160
"""A flow with an alias or a version."""
DELIVERY_LENGTH: Final = 200


def _trigger_id_column(name: str, *, primary_key: bool = False) -> Column[Any]:
    return Column(name, String(TRIGGER_ID_LENGTH), primary_key=primary_key, nullable=False)


flow_triggers = Table(
    "flow_triggers",
    metadata,
    _trigger_id_column("id", primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    # `schedule` or `webhook`.
    Column("kind", String(16), nullable=False),
    name_column("title"),
    # Which version runs, as it was asked for: it is looked up anew each time.
    Column("flow", String(REFERENCE_LENGTH), nullable=False),
    flow_id_column("flow_id"),
    # JSON by name.
    Column("inputs", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    # JSON of `AskedBy`: as whom its runs act.
    Column("asked_by", Text, nullable=False),
    # Of a schedule.
    Column("cron", String(100)),
    Column("timezone", String(64)),
    id_column("schedule_id", nullable=True),
    # Of a webhook: `signature` or `bearer`, the secret's name, and how many runs it may begin in a minute.
    Column("auth", String(16)),
    Column("secret", String(200)),
    Column("per_minute", Integer),
    time_column("created_at"),
    time_column("changed_at"),
    Index(None, "project_id", "id"),
    Index(None, "project_id", "flow_id"),
)

flow_trigger_firings = Table(
    "flow_trigger_firings",
    metadata,
    id_column("id", primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    _trigger_id_column("trigger_id"),
    # What tells repeats: the sender's id of the delivery, or the job of the schedule.
    Column("delivery", String(DELIVERY_LENGTH), nullable=False),
    time_column("at"),
    # Null until it has begun.
    Column("run_id", String(30)),
    # Why it did not begin.
    Column("error", Text),
    # When its row goes.
    time_column("expires_at"),
    UniqueConstraint("trigger_id", "delivery"),
    Index(None, "trigger_id", "id"),
    Index(None, "expires_at"),
)
