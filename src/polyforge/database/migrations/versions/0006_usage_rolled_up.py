"""Whom calls were for, how they were labelled and whether their answers were kept; sums by hour and by day."""

from hashlib import blake2b
from typing import Any

import sqlalchemy as sa
from alembic import op

from polyforge.database.migrations.walls import wall_off

revision = "0006"
down_revision = "0005"

SUMMED = (
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
COUNTED = {
    "requests": "status <> 'correction'",
    "errors": "status IN ('error', 'interrupted')",
    "answered": "status IN ('ok', 'cancelled')",
    "cached": "cached <> ''",
}
GROUPS = ("key_id", "user_id", "end_user", "task", "model", "provider", "deployment", "tags")


def upgrade() -> None:
    """Add the columns, which earlier releases leave empty, and the tables, walled off, with the sums so far."""
    for name, type_ in (("user_id", sa.String(26)), ("end_user", sa.Text()), ("tags", sa.Text())):
        op.add_column("usage_records", sa.Column(name, type_, server_default="", nullable=False))
    op.add_column("usage_records", sa.Column("cached", sa.String(16), server_default="", nullable=False))
    op.add_column("usage_records", sa.Column("saved_micros", sa.BigInteger(), server_default="0", nullable=False))
    _create_series()
    _create_sums("usage_hours", "hour")
    _create_sums("usage_days", "day")
    _fill()
    for table in ("usage_series", "usage_hours", "usage_days"):
        wall_off(table)
    op.create_index("ix_usage_records_project_id_started_at", "usage_records", ["project_id", "started_at"])
    op.drop_index("ix_usage_records_project_id_day", "usage_records")


def _create_series() -> None:
    op.create_table(
        "usage_series",
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("key_id", sa.String(26), nullable=False),
        sa.Column("user_id", sa.String(26), nullable=False),
        sa.Column("end_user", sa.Text(), nullable=False),
        sa.Column("task", sa.String(32), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("deployment", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "id", name="pk_usage_series"),
        sqlite_with_rowid=False,
    )


def _create_sums(table: str, unit: str) -> None:
    op.create_table(
        table,
        sa.Column("organization_id", sa.String(26), nullable=False),
        sa.Column("project_id", sa.String(26), nullable=False),
        sa.Column(unit, sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in (*COUNTED, *SUMMED)),
        sa.PrimaryKeyConstraint("project_id", unit, "series_id", name=f"pk_{table}"),
        sqlite_with_rowid=False,
    )
    op.create_index(f"ix_{table}_organization_id_{unit}", table, ["organization_id", unit])


def _fill() -> None:
    """Sum up what there is, one project's day after the other, so that memory stays bounded."""
    bind = op.get_bind()
    seconds = "floor(started_at)::bigint" if bind.dialect.name == "postgresql" else "CAST(started_at AS INTEGER)"
    days = bind.execute(sa.text("SELECT DISTINCT project_id, day FROM usage_records")).all()
    known: set[tuple[str, int]] = set()
    for project, day in days:
        where = {"project": project, "day": day}
        hours = bind.execute(_sums(f"{seconds} / 3600", "hour"), where).mappings().all()
        _put_series(hours, known)
        _put_sums("usage_hours", "hour", hours)
        _put_sums("usage_days", "day", bind.execute(_sums("day", "day"), where).mappings().all())


def _sums(span: str, unit: str) -> sa.TextClause:
    counted = ", ".join(f"SUM(CASE WHEN {case} THEN 1 ELSE 0 END) AS {name}" for name, case in COUNTED.items())
    summed = ", ".join(f"CAST(SUM({name}) AS BIGINT) AS {name}" for name in SUMMED)
    groups = ", ".join(("organization_id", "project_id", *GROUPS))
    return sa.text(
        f"SELECT {groups}, {span} AS {unit}, {counted}, {summed} FROM usage_records "  # noqa: S608  # constants
        f"WHERE project_id = :project AND day = :day GROUP BY {groups}, {span}"
    )


def _put_series(rows: Any, known: set[tuple[str, int]]) -> None:
    found = {(row["project_id"], _series(row)): row for row in rows}
    fresh = [{**_only(row, GROUPS), "id": place[1]} for place, row in found.items() if place not in known]
    known.update(found)
    op.bulk_insert(_described("usage_series", GROUPS, "id"), fresh)


def _put_sums(table: str, unit: str, rows: Any) -> None:
    names = (unit, *COUNTED, *SUMMED)
    values = [{**_only(row, names), "series_id": _series(row)} for row in rows]
    op.bulk_insert(_described(table, names, "series_id"), values)


def _only(row: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: row[name] for name in ("organization_id", "project_id", *names)}


def _described(table: str, names: tuple[str, ...], *more: str) -> Any:
    return sa.table(table, *(sa.column(name) for name in ("organization_id", "project_id", *names, *more)))


def _series(row: Any) -> int:
    """As the ledger has it."""
    digest = blake2b("\0".join(row[name] for name in GROUPS).encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1
