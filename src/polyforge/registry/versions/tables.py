"""The tables of models, their versions, and what became of them."""

from sqlalchemy import JSON, BigInteger, Boolean, Column, Index, Integer, String, Table, Text, UniqueConstraint

from polyforge.database.columns import id_column, name_column, time_column
from polyforge.database.metadata import metadata

registered_models = Table(
    "registered_models",
    metadata,
    id_column("id", primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    name_column("name"),
    Column("description", Text, nullable=False),
    # Names of aliases that only move with somebody else's approval.
    Column("protected", JSON, nullable=False),
    # The number of its newest version, removed ones included: numbers are never given twice.
    Column("last_version", Integer, nullable=False),
    id_column("created_by"),
    time_column("created_at"),
    # Removed: its numbers and its history stay, and it comes back when it is added again.
    time_column("removed_at", nullable=True),
    UniqueConstraint("project_id", "name"),
)

model_versions = Table(
    "model_versions",
    metadata,
    id_column("id", primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    id_column("model_id"),
    Column("number", Integer, nullable=False),
    # The SHA-256 of its manifest.
    Column("artifact", String(64), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("files", Integer, nullable=False),
    # What was asked for, and what exactly that was then.
    Column("source", Text, nullable=False),
    Column("pinned", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("configuration", JSON, nullable=False),
    # {"platform": text, "inputs": [{"name", "datatype", "shape"}], "outputs": [...]}; null: nobody has looked.
    Column("signature", JSON(none_as_null=True)),
    Column("card", JSON, nullable=False),
    Column("metrics", JSON, nullable=False),
    # What else another machine needs to fetch the same: {"sha256", "include", "trusted"}; null: nobody wrote it down.
    Column("fetching", JSON(none_as_null=True)),
    # What was measured of it, by kind of machine; null: nothing yet.
    Column("tuning", JSON(none_as_null=True)),
    id_column("created_by"),
    time_column("created_at"),
    time_column("removed_at", nullable=True),
    UniqueConstraint("model_id", "number"),
    Index(None, "artifact"),
)

model_aliases = Table(
    "model_aliases",
    metadata,
    id_column("model_id", primary_key=True),
    Column("alias", String(64), primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    Column("version", Integer, nullable=False),
    # The one of model_deployments that pointed it there.
    id_column("deployment_id"),
    time_column("changed_at"),
    id_column("changed_by"),
)

model_deployments = Table(
    "model_deployments",
    metadata,
    id_column("id", primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    id_column("model_id"),
    Column("alias", String(64), nullable=False),
    # Null: the alias was taken away.
    Column("version", Integer),
    # Where it pointed before; null: nowhere.
    Column("previous", Integer),
    Column("action", String(20), nullable=False),
    Column("state", String(20), nullable=False),
    Column("reason", Text, nullable=False),
    id_column("requested_by"),
    # The user behind the key, so that nobody approves with another of their keys what they asked for. Empty: none.
    Column("requested_user", String(26), nullable=False),
    time_column("requested_at"),
    # Who approved or rejected it; null where nobody had to.
    id_column("decided_by", nullable=True),
    time_column("decided_at", nullable=True),
    Column("decision", Text, nullable=False),
    Index(None, "model_id", "id"),
)

model_imports = Table(
    "model_imports",
    metadata,
    id_column("id", primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    id_column("model_id"),
    Column("source", Text, nullable=False),
    Column("sha256", String(64)),
    Column("include", JSON, nullable=False),
    # Whether who asked runs the installation.
    Column("trusted", Boolean, nullable=False),
    Column("configuration", JSON, nullable=False),
    Column("card", JSON, nullable=False),
    Column("metrics", JSON, nullable=False),
    # The alias that the new version is to have, and null for none.
    Column("promote_to", String(64)),
    Column("state", String(20), nullable=False),
    Column("step", Text, nullable=False),
    Column("bytes_done", BigInteger, nullable=False),
    Column("bytes_total", BigInteger),
    Column("error", Text, nullable=False),
    Column("version", Integer),
    id_column("requested_by"),
    name_column("requested_name"),
    Column("requested_kind", String(20), nullable=False),
    Column("requested_user", String(26), nullable=False),
    time_column("created_at"),
    # Until when its worker has it for itself, who says so again and again; past that another goes on with it.
    time_column("leased_until", nullable=True),
    time_column("finished_at", nullable=True),
    Index(None, "model_id", "id"),
    Index(None, "state"),
)

model_watches = Table(
    "model_watches",
    metadata,
    id_column("model_id", primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    Column("source", Text, nullable=False),
    Column("include", JSON, nullable=False),
    Column("trusted", Boolean, nullable=False),
    Column("promote_to", String(64)),
    Column("every_seconds", Integer, nullable=False),
    # The revision that it last made a version of; empty: none yet.
    Column("revision", Text, nullable=False),
    # The one that was there at the last look: what is still being copied there is another one at each.
    Column("seen", Text, nullable=False),
    Column("error", Text, nullable=False),
    id_column("created_by"),
    name_column("created_name"),
    Column("created_kind", String(20), nullable=False),
    Column("created_user", String(26), nullable=False),
    time_column("created_at"),
    time_column("due_at"),
    Index(None, "due_at"),
)
