"""All SQL of the overview: the calls of the last hour."""

from collections import defaultdict
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, RowMapping, Select, case, cast, func, literal

from polyforge.database.scopes import Scope, ScopedReader
from polyforge.database.sessions import ReadSession
from polyforge.database.settings import Dialect
from polyforge.operations.overview.traffic import LONGEST_STEP, MINUTE, STEPS, Minute, Slice, minute_of
from polyforge.tenancy.ledger.records import CORRECTION, REFUSED
from polyforge.tenancy.ledger_rows import FAILED
from polyforge.tenancy.tables import usage_records

_columns = usage_records.c
_REFUSED_STEP: Final = -1


class TrafficStore:
    """The calls of one project."""

    def __init__(self, session: ReadSession, scope: Scope, dialect: Dialect) -> None:
        self._dialect: Dialect = dialect
        self._calls = ScopedReader(session, scope, usage_records)

    async def minutes(self, first: int, last: int) -> dict[int, Minute]:
        """The minutes since the epoch from `first` to `last` in which there was something."""
        minute, step = _minute(self._dialect), _step()

        def refine(query: Select[Any]) -> Select[Any]:
            query = query.where(_columns.started_at >= first * MINUTE, _columns.started_at < (last + 1) * MINUTE)
            return query.where(_columns.status != CORRECTION).group_by(minute, step)

        rows = await self._calls.all(minute.label("minute"), step.label("step"), *_measures(), refine=refine)
        by_minute: dict[int, list[RowMapping]] = defaultdict(list)
        for row in rows:
            by_minute[row["minute"]].append(row)
        return {number: _minute_of(found) for number, found in by_minute.items()}


def _minute_of(rows: list[RowMapping]) -> Minute:
    refused = sum(row["requests"] for row in rows if row["step"] == _REFUSED_STEP)
    # PostgreSQL sums bigint into numeric.
    slices = [
        Slice(
            row["minute"],
            row["step"],
            row["requests"],
            *(int(row[name]) for name in ("errors", "input_tokens", "output_tokens", "cost", "price")),
        )
        for row in rows
        if row["step"] != _REFUSED_STEP
    ]
    return minute_of(slices, refused)


def _minute(dialect: Dialect) -> ColumnElement[int]:
    """The minute in which a call began. SQLite cuts off what is behind the point, where PostgreSQL would round."""
    minutes = _columns.started_at / _written(MINUTE)
    return cast(minutes if dialect == "sqlite" else func.floor(minutes), BigInteger)


def _step() -> ColumnElement[int]:
    latency = _columns.duration_ms
    steps = [(latency < _written(below), latency // _written(width) * _written(width)) for below, width in STEPS]
    longest = latency // _written(LONGEST_STEP) * _written(LONGEST_STEP)
    return case(
        (_columns.status == literal(REFUSED, literal_execute=True), _written(_REFUSED_STEP)), *steps, else_=longest
    )


def _written(number: int) -> ColumnElement[int]:
    """A number in the SQL itself: PostgreSQL takes two parameters for two expressions, and cannot group by them."""
    return literal(number, BigInteger, literal_execute=True)


def _measures() -> list[ColumnElement[Any]]:
    every_input = _columns.input_tokens + _columns.cache_read_tokens + _columns.cache_write_tokens
    return [
        func.count().label("requests"),
        func.sum(case((_columns.status.in_(FAILED), 1), else_=0)).label("errors"),
        func.sum(every_input).label("input_tokens"),
        func.sum(_columns.output_tokens).label("output_tokens"),
        func.sum(_columns.cost_micros).label("cost"),
        func.sum(_columns.price_micros).label("price"),
    ]
