"""All SQL of the overview: what the calls of minutes came to."""

from typing import Any, Final

import msgspec
from sqlalchemy import BigInteger, ColumnElement, RowMapping, Select, Text, case, cast, func

from polyforge.database.scopes import Scope, ScopedReader
from polyforge.database.sessions import ReadSession
from polyforge.database.settings import Dialect
from polyforge.operations.overview.traffic import Minute
from polyforge.tenancy.ledger_minutes import REFUSED_STEP
from polyforge.tenancy.tables import MINUTE_MEASURES, usage_minutes
from polyforge.tenancy.usage.sums import Used

_columns = usage_minutes.c
_COUNTED: Final = ("requests", "errors", "input_tokens", "output_tokens")
_decode_steps: Final = msgspec.json.Decoder(dict[int, int]).decode


class TrafficStore:
    """The calls of one project."""

    def __init__(self, session: ReadSession, scope: Scope, dialect: Dialect) -> None:
        self._dialect: Dialect = dialect
        self._minutes = ScopedReader(session, scope, usage_minutes)

    async def minutes(self, first: int, end: int) -> dict[int, Minute]:
        """The minutes since the epoch from `first` to before `end` in which there was something."""
        refused = _sum(case((_columns.step == REFUSED_STEP, _columns.requests), else_=0)).label("refused")
        calls = [_sum(case((_columns.step >= 0, _columns[name]), else_=0)).label(name) for name in _COUNTED]
        found = await self._minutes.all(
            _columns.minute,
            refused,
            *calls,
            self._steps().label("steps"),
            refine=lambda query: _within(query, first, end).group_by(_columns.minute),
        )
        return {row["minute"]: _minute_of(row) for row in found}

    async def used(self, first: int, end: int) -> Used:
        """What the calls of these minutes came to, as usage has it."""
        sums = [func.coalesce(_sum(_columns[name]), 0).label(name) for name in MINUTE_MEASURES]

        def refine(query: Select[Any]) -> Select[Any]:
            return _within(query, first, end).where(_columns.step != REFUSED_STEP)

        (row,) = await self._minutes.all(*sums, refine=refine)
        return Used(**{name: row[name] for name in MINUTE_MEASURES})

    def _steps(self) -> ColumnElement[str]:
        """Requests by step as one JSON text: a row for each step of a busy hour would be some thousand."""
        if self._dialect == "sqlite":
            return func.json_group_object(cast(_columns.step, Text), _columns.requests)
        return cast(func.json_object_agg(_columns.step, _columns.requests), Text)


def _within(query: Select[Any], first: int, end: int) -> Select[Any]:
    return query.where(_columns.minute >= first, _columns.minute < end)


def _sum(column: ColumnElement[int]) -> ColumnElement[int]:
    """PostgreSQL sums bigint into numeric."""
    return cast(func.sum(column), BigInteger)


def _minute_of(row: RowMapping) -> Minute:
    steps = {step: requests for step, requests in _decode_steps(row["steps"]).items() if step >= 0}
    return Minute(refused=row["refused"], **{name: row[name] for name in _COUNTED}, steps=steps)
