"""Jobs that somebody asked for, to be forgotten with them."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, or_

from polyforge.database.database import Database
from polyforge.database.scopes import Scope, ScopedReader, ScopedWriter
from polyforge.jobs.records import FINISHED, UNFINISHED, AskedBy
from polyforge.jobs.store import NOT_WAITING, encoded
from polyforge.jobs.tables import job_logs, job_messages, jobs
from polyforge.kernel.clock import Clock

PAGE: Final = 100
MOST_ENDED: Final = 10_000
"""Jobs of one person that are told to end at once."""
NOBODY: Final = AskedBy("", "")
_LONG_AGO: Final = 0.0
_NOTHING_SAID: Final[Mapping[str, Any]] = {"result": None, "error": None, "progress_note": "", **NOT_WAITING}
_jobs: Final = jobs.c


def asked_by(user_id: str) -> ColumnElement[bool]:
    """The jobs that a user, or a key of theirs, asked for."""
    return _jobs.asked_by.contains(encoded({"user_id": user_id})[1:-1], autoescape=True)


def _of_no_worker() -> ColumnElement[bool]:
    """Jobs that nobody works on: cancelled, they are over."""
    return or_(_jobs.state == "queued", and_(_jobs.state == "waiting", _jobs.worker.is_(None)))


class JobsOfPeople:
    """What is done in the name of users: it ends, and then names nobody."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def end(self, scope: Scope, user_id: str) -> int:
        """Cancel a user's jobs, as `JobService.cancel` does; how many are not over yet."""
        going_on = and_(asked_by(user_id), _jobs.state.in_(UNFINISHED))
        found = await self._ids(scope, going_on, MOST_ENDED)
        if not found:
            return 0
        left = 0
        async with self._database.write(scope) as session:
            writer = ScopedWriter(session, scope, jobs)
            for start in range(0, len(found), PAGE):
                some = _jobs.id.in_(found[start : start + PAGE])
                over = {"state": "cancelled", "cancel_requested": True, "ended_at": self._clock.now(), **NOT_WAITING}
                await writer.update(and_(some, _of_no_worker()), over)
                left += await writer.update(and_(some, _jobs.state.in_(UNFINISHED)), {"cancel_requested": True})
        return left

    async def forget(self, scope: Scope, user_id: str) -> tuple[int, bool]:
        """Take a user, and what was said, off a page of their jobs that are over; how many, and whether that was all.

        They count as having ended long ago: a worker removes them soon, with the steps that it kept of them.
        """
        over = and_(asked_by(user_id), _jobs.state.in_(FINISHED))
        found = await self._ids(scope, over, PAGE)
        if not found:
            return 0, True
        nameless = {"asked_by": encoded(NOBODY), "ended_at": _LONG_AGO, **_NOTHING_SAID}
        async with self._database.write(scope) as session:
            some = and_(_jobs.id.in_(found), _jobs.state.in_(FINISHED))
            count = await ScopedWriter(session, scope, jobs).update(some, nameless)
            for table in (job_logs, job_messages):
                await ScopedWriter(session, scope, table).delete(table.c.job_id.in_(found))
        return count, len(found) < PAGE

    async def _ids(self, scope: Scope, where: ColumnElement[bool], most: int) -> list[str]:
        """To look takes longer than to change: nobody else has to wait for it."""
        async with self._database.read(scope) as session:
            rows = await ScopedReader(session, scope, jobs).all(
                _jobs.id, refine=lambda query: query.where(where).order_by(_jobs.id).limit(most)
            )
        return [row["id"] for row in rows]
