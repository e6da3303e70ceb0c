"""Flows with their drafts, versions and aliases."""

import sqlalchemy as sa
from alembic import op

from polyforge.database.migrations.walls import wall_off

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Create the tables, and wall the projects off from each other."""
    _create_flows()
    _create_drafts()
    _create_versions()
    _create_aliases()
    for table in ("flows", "flow_drafts", "flow_versions", "flow_aliases", "flow_alias_changes"):
        wall_off(table)
    op.execute("INSERT INTO generations (name, value) VALUES ('flows', 0)")


def _create_flows() -> None:
    op.create_table(
        "flows",
        sa.Column("id", sa.String(31), nullable=False),
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26), nullable=False),
        sa.Column("slug", sa.String(64), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("head", sa.String(64), nullable=True),
        sa.Column("last_number", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.String(26), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("archived_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_flows"),
    )
    there = sa.text("archived_at IS NULL")
    op.create_index(
        "ix_flows_slug", "flows", ["project_id", "slug"], unique=True, sqlite_where=there, postgresql_where=there
    )
    op.create_index("ix_flows_project_id_updated_at_id", "flows", ["project_id", "updated_at", "id"])


def _create_drafts() -> None:
    op.create_table(
        "flow_drafts",
        sa.Column("flow_id", sa.String(31), nullable=False),
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("base", sa.String(64), nullable=True),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("updated_by", sa.String(26), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("flow_id", name="pk_flow_drafts"),
    )


def _create_versions() -> None:
    op.create_table(
        "flow_versions",
        sa.Column("flow_id", sa.String(31), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("parent", sa.String(64), nullable=True),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("nodes", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.String(26), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("flow_id", "version", name="pk_flow_versions"),
        sa.UniqueConstraint("flow_id", "number", name="uq_flow_versions_flow_id_number"),
    )


def _create_aliases() -> None:
    op.create_table(
        "flow_aliases",
        sa.Column("flow_id", sa.String(31), nullable=False),
        sa.Column("alias", sa.String(63), nullable=False),
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("changed_by", sa.String(26), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("flow_id", "alias", name="pk_flow_aliases"),
    )
    op.create_table(
        "flow_alias_changes",
        sa.Column("id", sa.String(26), nullable=False),
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26), nullable=False),
        sa.Column("flow_id", sa.String(31), nullable=False),
        sa.Column("alias", sa.String(63), nullable=False),
        sa.Column("version", sa.String(64), nullable=True),
        sa.Column("previous", sa.String(64), nullable=True),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("changed_by", sa.String(26), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_flow_alias_changes"),
    )
    op.create_index("ix_flow_alias_changes_flow_id_id", "flow_alias_changes", ["flow_id", "id"])
