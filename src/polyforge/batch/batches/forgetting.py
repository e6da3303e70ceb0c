"""Batches that somebody made, to be forgotten with them; their files are forgotten where files are."""

from typing import Final

from sqlalchemy import or_, select

from polyforge.batch.batches.records import UNFINISHED, parts_prefix
from polyforge.batch.batches.sources import remove_parts
from polyforge.batch.batches.tables import batches
from polyforge.database.database import Database
from polyforge.database.scopes import Scope, ScopedReader, ScopedWriter
from polyforge.database.sessions import Query
from polyforge.jobs import records as job_records
from polyforge.jobs.forgetting import asked_by
from polyforge.jobs.tables import jobs
from polyforge.ports.objects import ObjectStore
from polyforge.tenancy.tables import api_keys

PAGE: Final = 50
_columns: Final = batches.c


class BatchesOfPeople:
    """The batches that users made, by themselves or with their keys."""

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database = database
        self._objects = objects

    async def forget(self, scope: Scope, user_id: str) -> tuple[int, bool]:
        """Remove a page of a user's batches that are over; how many, and whether that was all."""
        found = await self._over(scope, user_id)
        for batch_id in found:
            await remove_parts(self._objects, parts_prefix(scope, batch_id))
        if found:
            async with self._database.write(scope) as session:
                await ScopedWriter(session, scope, batches).delete(_columns.id.in_(found))
        return len(found), len(found) < PAGE

    async def _over(self, scope: Scope, user_id: str) -> list[str]:
        keys = select(api_keys.c.id).where(api_keys.c.created_by == user_id)
        theirs = or_(_columns.owner_id == user_id, _columns.owner_id.in_(keys), asked_by(user_id))
        ended = or_(_columns.status.not_in(UNFINISHED), jobs.c.id.is_(None), jobs.c.state.in_(job_records.FINISHED))

        def refine(query: Query) -> Query:
            query = query.join(jobs, jobs.c.id == _columns.job_id, isouter=True)
            return query.where(theirs, ended).order_by(_columns.id).limit(PAGE)

        async with self._database.read(scope) as session:
            rows = await ScopedReader(session, scope, batches).all(_columns.id, refine=refine)
        return [row["id"] for row in rows]
