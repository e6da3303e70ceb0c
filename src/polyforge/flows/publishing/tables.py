"""The table of what is published of flows."""

from sqlalchemy import Boolean, Column, Index, String, Table

from polyforge.database.columns import id_column, time_column
from polyforge.database.metadata import metadata
from polyforge.flows.keeping.tables import flow_id_column

flow_publications = Table(
    "flow_publications",
    metadata,
    flow_id_column("flow_id", primary_key=True),
    Column("alias", String(63), primary_key=True),
    id_column("organization_id"),
    id_column("project_id"),
    # Agents find it at /mcp.
    Column("tool", Boolean, nullable=False),
    # People find it at /flows/<flow>@<alias>.
    Column("page", Boolean, nullable=False),
    id_column("changed_by"),
    time_column("changed_at"),
    Index(None, "project_id", "flow_id", "alias"),
)
