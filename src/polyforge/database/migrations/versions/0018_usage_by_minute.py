"""What calls came to by minute and by latency, for the last day."""

import sqlalchemy as sa
from alembic import op

from polyforge.database.migrations.walls import wall_off

revision = "0018"
down_revision = "0017"

SUMS = {
    "requests": "CASE WHEN status = 'correction' THEN 0 ELSE 1 END",
    "errors": "CASE WHEN status IN ('error', 'interrupted') THEN 1 ELSE 0 END",
    "duration_ms": "duration_ms",
    "input_tokens": "input_tokens + cache_read_tokens + cache_write_tokens",
    "output_tokens": "output_tokens",
    "cost_micros": "cost_micros",
    "price_micros": "price_micros",
}
SECONDS = 26 * 3_600
DOUBLINGS = 30


def upgrade() -> None:
    """Create the table, walled off, with each project's last day of calls."""
    op.create_table(
        "usage_minutes",
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26), nullable=False),
        sa.Column("minute", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in SUMS),
        sa.PrimaryKeyConstraint("project_id", "minute", "step", name="pk_usage_minutes"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_usage_minutes_minute", "usage_minutes", ["minute"])
    _fill()
    wall_off("usage_minutes")


def _fill() -> None:
    bind = op.get_bind()
    newest = sa.text("SELECT MAX(started_at) FROM usage_records WHERE project_id = :project")
    postgres = bind.dialect.name == "postgresql"
    adding = _adding("floor(started_at / 60)::integer" if postgres else "CAST(started_at / 60 AS INTEGER)")
    for (project,) in bind.execute(sa.text("SELECT id FROM projects ORDER BY id")).all():
        last = bind.execute(newest, {"project": project}).scalar()
        if last is not None:
            bind.execute(adding, {"project": project, "since": last - SECONDS})


def _adding(minute: str) -> sa.TextClause:
    groups = f"organization_id, project_id, {minute}, {_step()}"
    sums = ", ".join(f"CAST(SUM({each}) AS BIGINT)" for each in SUMS.values())
    return sa.text(
        f"INSERT INTO usage_minutes (organization_id, project_id, minute, step, {', '.join(SUMS)}) "  # noqa: S608
        f"SELECT {groups}, {sums} FROM usage_records "
        f"WHERE project_id = :project AND started_at >= :since GROUP BY {groups}"
    )


def _step() -> str:
    """The step of a latency, as the ledger has it."""
    doubled = (
        f"WHEN duration_ms < {20 << bits + 1} THEN duration_ms / {1 << bits} * {1 << bits}"
        for bits in range(1, DOUBLINGS + 1)
    )
    longest = f"duration_ms / {1 << DOUBLINGS} * {1 << DOUBLINGS}"
    named = "WHEN status = 'refused' THEN -1 WHEN status = 'correction' THEN -2 WHEN duration_ms < 0 THEN 0"
    return f"CASE {named} WHEN duration_ms < 40 THEN duration_ms {' '.join(doubled)} ELSE {longest} END"
