"""What somebody had flows do, and what they decided for others, to be forgotten with them."""

from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, and_, or_, select

from polyforge.database.database import Database
from polyforge.database.scopes import Scope, ScopedReader, ScopedWriter
from polyforge.database.sessions import Query, WriteSession
from polyforge.flows.running.records import FINISHED
from polyforge.flows.running.removing import RunRemoval
from polyforge.flows.running.tables import flow_approvals, flow_results, flow_runs
from polyforge.jobs import records as job_records
from polyforge.jobs.tables import jobs
from polyforge.ports.objects import ObjectStore
from polyforge.tenancy.people.tables import users

PAGE: Final = 50
_runs: Final = flow_runs.c
_approvals: Final = flow_approvals.c
_encode: Final = msgspec.json.Encoder().encode


class RunsOfPeople:
    """Runs that users began go, with all that happened in them; in runs of others they are not named any more."""

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database = database
        self._removal = RunRemoval(database, objects)

    async def forget(self, scope: Scope, user_id: str) -> tuple[int, bool]:
        """Remove a page of a user's runs that are over; how many, and whether that was all.

        What they decided in runs of others that are over goes too, and so does what flows kept of their runs.
        """
        found = await self._over(scope, user_id)
        for run_id in found:
            await self._removal.remove(scope.project_id or "", run_id)
        named = await self._named(scope, user_id)
        async with self._database.write(scope) as session:
            await ScopedWriter(session, scope, flow_results).delete(flow_results.c.user_id == user_id)
            await _forget_decisions(session, scope, user_id)
            for approval_id, assignees in named.items():
                values = {"assignees": _encode(assignees).decode()}
                await ScopedWriter(session, scope, flow_approvals).update(_approvals.id == approval_id, values)
        return len(found), len(found) < PAGE and len(named) < PAGE

    async def _over(self, scope: Scope, user_id: str) -> list[str]:
        """A run whose job ended without it is over too."""
        ended = or_(_runs.state.in_(FINISHED), jobs.c.id.is_(None), jobs.c.state.in_(job_records.FINISHED))

        def refine(query: Query) -> Query:
            query = query.join(jobs, jobs.c.id == _runs.job_id, isouter=True)
            return query.where(_runs.user_id == user_id, ended).order_by(_runs.id).limit(PAGE)

        async with self._database.read(scope) as session:
            rows = await ScopedReader(session, scope, flow_runs).all(_runs.id, refine=refine)
        return [row["id"] for row in rows]

    async def _named(self, scope: Scope, user_id: str) -> dict[str, list[str]]:
        """A page of settled approvals that a user was asked for by id or address, with the others who were asked."""
        names = await self._names(user_id)
        asked = or_(*(_approvals.assignees.contains(_encode(name).decode(), autoescape=True) for name in names))

        def refine(query: Query) -> Query:
            return query.where(_approvals.state != "pending", asked).order_by(_approvals.id).limit(PAGE)

        async with self._database.read(scope) as session:
            rows = await ScopedReader(session, scope, flow_approvals).all(
                _approvals.id, _approvals.assignees, refine=refine
            )
        decoded = {row["id"]: msgspec.json.decode(row["assignees"], type=list[str]) for row in rows}
        return {id_: [each for each in all_ if each not in names] for id_, all_ in decoded.items()}

    async def _names(self, user_id: str) -> list[str]:
        async with self._database.read() as session:
            user = await session.first(select(users.c.email).where(users.c.id == user_id))
        return [f"user:{each}" for each in (user_id, None if user is None else user["email"]) if each is not None]


async def _forget_decisions(session: WriteSession, scope: Scope, user_id: str) -> None:
    """Take a user's name off what they decided for runs of others, and their words too where nobody waits for them."""
    writer, theirs = ScopedWriter(session, scope, flow_approvals), _approvals.decided_by_id == user_id
    nobody: dict[str, Any] = {"decided_by_name": None}
    await writer.update(theirs, nobody)
    words = {**nobody, "decided_by_id": None, "answers": None, "reason": None}
    await writer.update(and_(theirs, _of_finished(scope)), words)


def _of_finished(scope: Scope) -> ColumnElement[bool]:
    mine = and_(_runs.organization_id == scope.organization_id, _runs.project_id == scope.project_id)
    return _approvals.run_id.in_(select(_runs.id).where(mine, _runs.state.in_(FINISHED)))
