"""Batches that nobody asks for any more go, and with them parts of answers that were never put together."""

from typing import Final

from sqlalchemy import delete, select

from polyforge.batch.batches.records import parts_prefix
from polyforge.batch.batches.sources import remove_parts
from polyforge.batch.batches.tables import batches
from polyforge.database.database import Database
from polyforge.database.pruning import Pruning
from polyforge.database.scopes import Scope
from polyforge.kernel.clock import Clock
from polyforge.ports.objects import ObjectStore

PAGE: Final = 50


class BatchPruning(Pruning):
    """Removes rows whose time has come."""

    def __init__(self, database: Database, objects: ObjectStore, clock: Clock) -> None:
        super().__init__("batches", PAGE)
        self._database = database
        self._objects = objects
        self._clock = clock

    async def step(self) -> int:
        """Remove a page of batches, the oldest first; how many there were."""
        columns, now = batches.c, self._clock.now()
        query = select(columns.organization_id, columns.project_id, columns.id)
        async with self._database.read() as session:
            rows = await session.all(query.where(columns.expires_at <= now).order_by(columns.expires_at).limit(PAGE))
        for row in rows:
            scope = Scope(row["organization_id"], row["project_id"])
            await remove_parts(self._objects, parts_prefix(scope, row["id"]))
        if not rows:
            return 0
        async with self._database.write() as session:
            return await session.change(delete(batches).where(columns.id.in_([row["id"] for row in rows])))
