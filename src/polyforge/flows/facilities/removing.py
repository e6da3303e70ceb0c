"""Objects of flows that nobody asked for in a long time go."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from sqlalchemy import select

from polyforge.database.database import Database
from polyforge.database.pruning import Pruning
from polyforge.flows.facilities.objects import FRESH_SECONDS, prefix_of
from polyforge.kernel.clock import Clock
from polyforge.ports.objects import ObjectStore
from polyforge.tenancy.tables import projects

PAGE: Final = 1_000
_AGAIN_SECONDS: Final = 6 * 3_600.0
"""Between two looks through the objects of all projects."""
_WAIT_DAYS: Final = 90.0
"""A run may wait so long before it goes on."""
_DAY_SECONDS: Final = 86_400


class ObjectPruning(Pruning):
    """Removes objects that were neither put nor read for longer than runs and results that name them are kept."""

    def __init__(self, database: Database, store: ObjectStore, clock: Clock, kept_days: float) -> None:
        super().__init__("flow_objects", PAGE)
        self._database = database
        self._store = store
        self._clock = clock
        self._seconds = (kept_days + _WAIT_DAYS) * _DAY_SECONDS + FRESH_SECONDS
        self._next_at = 0.0
        self._after = ""

    async def step(self) -> int:
        """Remove a page of one project's, or all that there are until the next look; how many there were."""
        now, removed = self._clock.now(), 0
        if now < self._next_at:
            return 0
        for project_id in await self._projects():
            keys = [key async for key in self._old(project_id, now - self._seconds)]
            for key in keys:
                await self._store.delete(key)
            if len(keys) == PAGE:
                return PAGE
            self._after = project_id
            removed += len(keys)
        self._after, self._next_at = "", now + _AGAIN_SECONDS
        return removed

    async def _projects(self) -> list[str]:
        """Those that were not looked through yet."""
        columns = projects.c
        query = select(columns.id).where(columns.id > self._after).order_by(columns.id)
        async with self._database.read() as session:
            return [row["id"] for row in await session.all(query)]

    async def _old(self, project_id: str, before: float) -> AsyncGenerator[str]:
        """A page of the keys of a project's objects that go."""
        count = 0
        async with aclosing(self._store.list(prefix_of(project_id))) as found:
            async for facts in found:
                if facts.modified_at < before:
                    count += 1
                    yield facts.key
                if count == PAGE:
                    return
