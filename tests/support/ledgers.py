"""What holds of every ledger, at every moment."""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Integer, Table, case, cast, func, select

from polyforge.database.database import Database
from polyforge.tenancy.ledger.records import CORRECTION, REFUSED
from polyforge.tenancy.ledger_minutes import CORRECTION_STEP, MINUTE_SECONDS, REFUSED_STEP, step_of
from polyforge.tenancy.ledger_rows import DAY_SECONDS, GROUPS, HOUR_SECONDS
from polyforge.tenancy.tables import (
    MEASURES,
    budget_counters,
    usage_days,
    usage_hours,
    usage_minutes,
    usage_records,
    usage_series,
)


async def assert_counters_are_the_sums_of_the_rows(database: Database) -> None:
    columns = usage_records.c
    sums = select(columns.key_id, columns.period_start, func.sum(columns.price_micros).label("spent_micros"))
    sums = sums.where(columns.status != REFUSED)
    async with database.read() as session:
        expected = await session.all(sums.group_by(columns.key_id, columns.period_start))
        counted = await session.all(select(budget_counters))
    assert {tuple(row.values()) for row in counted} == {tuple(row.values()) for row in expected}


async def rolled_up(database: Database, sums: Table, unit: str) -> list[tuple[Any, ...]]:
    joined = sums.join(
        usage_series,
        (usage_series.c.project_id == sums.c.project_id) & (usage_series.c.id == sums.c.series_id),
    )
    groups = [usage_series.c[name] for name in ("organization_id", "project_id", *GROUPS)]
    measures = [sums.c[name] for name in MEASURES]
    async with database.read() as session:
        rows = await session.all(select(sums.c[unit], *groups, *measures).select_from(joined))
    return sorted(tuple(row.values()) for row in rows)


def counted(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


async def over_the_rows(database: Database, seconds: int) -> list[tuple[Any, ...]]:
    columns = usage_records.c
    span = cast(func.floor(columns.started_at / seconds), Integer)
    groups = [columns[name] for name in ("organization_id", "project_id", *GROUPS)]
    counts = [
        counted(columns.status != CORRECTION),
        counted(columns.status.in_(("error", "interrupted"))),
        counted(columns.status.in_(("ok", "cancelled"))),
        counted(columns.cached != ""),
    ]
    measures = [cast(func.sum(columns[name]), BigInteger) for name in MEASURES[len(counts) :]]
    calls = select(span, *groups, *counts, *measures).where(columns.status != REFUSED)
    async with database.read() as session:
        rows = await session.all(calls.group_by(span, *groups))
    return sorted(tuple(row.values()) for row in rows)


async def assert_sums_are_those_of_the_rows(database: Database) -> None:
    assert await rolled_up(database, usage_hours, "hour") == await over_the_rows(database, HOUR_SECONDS)
    assert await rolled_up(database, usage_days, "day") == await over_the_rows(database, DAY_SECONDS)
    assert await minutes(database) == await minutes_over_the_rows(database)


async def minutes(database: Database) -> list[tuple[Any, ...]]:
    async with database.read() as session:
        return sorted(tuple(row.values()) for row in await session.all(select(usage_minutes)))


async def minutes_over_the_rows(database: Database) -> list[tuple[Any, ...]]:
    async with database.read() as session:
        rows = await session.all(select(usage_records))
    found: dict[tuple[Any, ...], list[int]] = {}
    for row in rows:
        named = {REFUSED: REFUSED_STEP, CORRECTION: CORRECTION_STEP}
        step = named.get(row["status"], step_of(row["duration_ms"]))
        place = (row["organization_id"], row["project_id"], int(row["started_at"] // MINUTE_SECONDS), step)
        measures = [
            int(row["status"] != CORRECTION),
            int(row["status"] in ("error", "interrupted")),
            row["duration_ms"],
            row["input_tokens"] + row["cache_read_tokens"] + row["cache_write_tokens"],
            row["output_tokens"],
            row["cost_micros"],
            row["price_micros"],
        ]
        found[place] = [sum(both) for both in zip(found.get(place, [0] * len(measures)), measures, strict=True)]
    return sorted((*place, *measures) for place, measures in found.items())
