"""The tables of runs: the runs, what happened in them, what they ask of people, and results for later runs."""

from typing import Any, Final

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text, text

from polyforge.database.columns import id_column, name_column, time_column
from polyforge.database.metadata import metadata
from polyforge.flows.keeping.tables import VERSION_LENGTH, flow_id_column

RUN_ID_LENGTH: Final = 30
"""`run_` and a ULID."""
APPROVAL_ID_LENGTH: Final = 31
"""`appr_` and a ULID."""
NODE_LENGTH: Final = 400
"""A node's id with those of the sub-flows around it."""
PATH_LENGTH: Final = 300
_KEYED: Final = text("idempotency_key IS NOT NULL")
_ENDED: Final = text("expires_at IS NOT NULL")


def _run_id_column(name: str, *, primary_key: bool = False, nullable: bool = False) -> Column[Any]:
    return Column(name, String(RUN_ID_LENGTH), primary_key=primary_key, nullable=nullable)


flow_runs = Table(
    "flow_runs",
    metadata,
    _run_id_column("id", primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    flow_id_column("flow_id"),
    name_column("flow_name"),
    Column("version", String(VERSION_LENGTH), nullable=False),
    # SHA-256 of the version with those of its sub-flows.
    Column("plan", String(64), nullable=False),
    # JSON: which version each reference to a flow meant when the run was made, by the version that has it.
    Column("pinned", Text, nullable=False),
    # `queued`, `running`, `waiting`, `succeeded`, `failed`, `cancelled`.
    Column("state", String(16), nullable=False),
    # JSON by name.
    Column("inputs", Text, nullable=False),
    # JSON by name, or where it lies; null unless it succeeded.
    Column("outputs", Text),
    # JSON of `RunError`.
    Column("error", Text),
    Column("cost_micros", BigInteger, nullable=False),
    Column("max_cost_micros", BigInteger),
    # `api`, `console`, `cli`, `mcp`, `schedule`, `webhook`, `rerun`, ...
    Column("trigger_kind", String(16), nullable=False),
    Column("trigger_id", String(64)),
    # JSON: what the trigger gives to the flow.
    Column("trigger_outputs", Text, nullable=False),
    # The key, user or service account that asked for it.
    id_column("asked_by_id"),
    name_column("asked_by_name"),
    id_column("user_id", nullable=True),
    Column("job_id", String(30), nullable=False),
    # The run that results were taken over from, and JSON of the nodes that were to run again.
    _run_id_column("parent_id", nullable=True),
    Column("targets", Text),
    Column("idempotency_key", String(200)),
    # SHA-256 of what was asked with the key.
    Column("request", String(64)),
    # The number of its last event.
    Column("last_seq", Integer, nullable=False),
    time_column("created_at"),
    time_column("started_at", nullable=True),
    time_column("ended_at", nullable=True),
    # When its row goes; null until it ended.
    time_column("expires_at", nullable=True),
    Index(None, "project_id", "id"),
    Index(None, "project_id", "flow_id", "id"),
    Index(None, "project_id", "state", "id"),
    Index(None, "project_id", "trigger_id", "id"),
    Index(None, "project_id", "user_id"),
    Index("ix_flow_runs_keyed", "project_id", "idempotency_key", unique=True, sqlite_where=_KEYED,
          postgresql_where=_KEYED),
    Index("ix_flow_runs_ended", "expires_at", sqlite_where=_ENDED, postgresql_where=_ENDED),
)  # fmt: skip

flow_run_events = Table(
    "flow_run_events",
    metadata,
    _run_id_column("run_id", primary_key=True),
    # Rising, with gaps where tokens were taken away.
    Column("seq", Integer, primary_key=True, autoincrement=False),
    id_column("organization_id"),
    id_column("project_id"),
    time_column("at"),
    Column("type", String(24), nullable=False),
    # Empty for what concerns the run as a whole.
    Column("node", String(NODE_LENGTH), nullable=False),
    # The rounds of the loops around it, as in `2,0`.
    Column("path", String(PATH_LENGTH), nullable=False),
    # JSON.
    Column("payload", Text, nullable=False),
)

flow_approvals = Table(
    "flow_approvals",
    metadata,
    Column("id", String(APPROVAL_ID_LENGTH), primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    _run_id_column("run_id"),
    Column("node", String(NODE_LENGTH), nullable=False),
    Column("path", String(PATH_LENGTH), nullable=False),
    flow_id_column("flow_id"),
    name_column("flow_name"),
    Column("question", Text, nullable=False),
    # JSON schema of an object; null: there is nothing to fill in.
    Column("form", Text),
    # JSON: what to look at.
    Column("shown", Text),
    # JSON: `user:...`, `group:...`, `role:...`.
    Column("assignees", Text, nullable=False),
    # `pending`, `approved`, `rejected`, `expired`, `withdrawn`.
    Column("state", String(16), nullable=False),
    # JSON of what was filled in.
    Column("answers", Text),
    Column("reason", Text),
    id_column("decided_by_id", nullable=True),
    name_column("decided_by_name", nullable=True),
    # `api` or `link`.
    Column("decided_via", String(8)),
    time_column("decided_at", nullable=True),
    time_column("asked_at"),
    time_column("expires_at"),
    Index("ix_flow_approvals_asked", "run_id", "node", "path", unique=True),
    Index(None, "project_id", "id"),
    Index(None, "project_id", "state", "id"),
)

flow_results = Table(
    "flow_results",
    metadata,
    # SHA-256 of everything that counts.
    Column("id", String(64), primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    # JSON by port.
    Column("outputs", Text, nullable=False),
    # In whose run it was made; null for nobody's, and for what was kept before that was written down.
    id_column("user_id", nullable=True),
    time_column("created_at"),
    time_column("expires_at"),
    Index(None, "expires_at"),
    Index(None, "project_id", "user_id"),
    Index(None, "project_id", "created_at", "id"),
)
