"""All SQL of the cache: what answers that were given again saved, out of the ledger's sums."""

from typing import Any, Final

import msgspec
from sqlalchemy import Select, func

from polyforge.database.scopes import Scope, ScopedReader
from polyforge.database.sessions import ReadSession
from polyforge.kernel.money import Micros
from polyforge.tenancy.tables import usage_hours, usage_series

MOST_MODELS: Final = 10_000
_HOUR_SECONDS: Final = 3600


class Hits(msgspec.Struct, frozen=True):
    """What became of a model's requests that were answered."""

    model: str
    answered: int
    cached: int
    saved: Micros


class HitStore:
    """The hits of one project."""

    def __init__(self, session: ReadSession, scope: Scope) -> None:
        self._hours = ScopedReader(session, scope, usage_hours)

    async def by_model(self, since: float) -> list[Hits]:
        """From the full hour on in which `since` lies, in seconds since the epoch."""
        columns, model = usage_hours.c, usage_series.c.model
        same = (usage_series.c.project_id == columns.project_id) & (usage_series.c.id == columns.series_id)

        def refine(query: Select[Any]) -> Select[Any]:
            query = query.join(usage_series, same).where(columns.hour >= int(since // _HOUR_SECONDS))
            return query.group_by(model).order_by(model).limit(MOST_MODELS)

        counted = (columns.answered, columns.cached, columns.saved_micros)
        rows = await self._hours.all(model, *[func.sum(column).label(column.name) for column in counted], refine=refine)
        return [Hits(row["model"], int(row["answered"]), int(row["cached"]), int(row["saved_micros"])) for row in rows]
