"""Runs that nobody asks for any more go, with their events, their approvals and what lies in the object store."""

from typing import Final

import msgspec
from sqlalchemy import delete, func, select

from polyforge.database.database import Database
from polyforge.database.pruning import Pruning
from polyforge.database.scopes import Scope
from polyforge.flows.running.leaving import end_as_its_job
from polyforge.flows.running.pages import prefix_of
from polyforge.flows.running.records import UNFINISHED
from polyforge.flows.running.sealing import Seals
from polyforge.flows.running.store import RunEditor
from polyforge.flows.running.tables import flow_approvals, flow_results, flow_run_events, flow_runs
from polyforge.jobs.records import JobError
from polyforge.jobs.tables import jobs
from polyforge.kernel.clock import Clock
from polyforge.ports.objects import ObjectStore

PAGE: Final = 50
_EVENTS: Final = 2_000
_DAY_SECONDS: Final = 86_400
_OVER: Final = ("failed", "cancelled")
_RESULTS: Final = 200


class RunRemoval:
    """Removes single runs, whoever wants them gone."""

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database = database
        self._objects = objects

    async def remove(self, project_id: str, run_id: str) -> None:
        """What lies in the object store first, so that nothing is left that no row names; the run itself last."""
        for key in [facts.key async for facts in self._objects.list(prefix_of(project_id, run_id))]:
            await self._objects.delete(key)
        columns = flow_run_events.c
        # Its events in pieces, so that others can write meanwhile.
        some = select(columns.seq).where(columns.run_id == run_id).limit(_EVENTS)
        while True:
            async with self._database.write() as session:
                events = delete(flow_run_events).where(columns.run_id == run_id, columns.seq.in_(some))
                if await session.change(events) == _EVENTS:
                    continue
                await session.change(delete(flow_approvals).where(flow_approvals.c.run_id == run_id))
                await session.change(delete(flow_runs).where(flow_runs.c.id == run_id))
                return


class RunPruning(Pruning):
    """Removes runs whose time has come; ends those whose jobs ended without them."""

    def __init__(
        self, database: Database, objects: ObjectStore, clock: Clock, retention_days: float, seals: Seals
    ) -> None:
        super().__init__("flow_runs", PAGE)
        self._database = database
        self._removal = RunRemoval(database, objects)
        self._clock = clock
        self._seals = seals
        self._seconds = retention_days * _DAY_SECONDS

    async def step(self) -> int:
        """Remove a page of runs, the oldest first; how many there were."""
        await self._end_left()
        columns, now = flow_runs.c, self._clock.now()
        query = select(columns.project_id, columns.id).where(columns.expires_at <= now)
        async with self._database.read() as session:
            rows = await session.all(query.order_by(columns.expires_at).limit(PAGE))
        for row in rows:
            await self._removal.remove(row["project_id"], row["id"])
        return len(rows)

    async def _end_left(self) -> None:
        """Runs that nobody looked at since their jobs failed, or were cancelled before they began."""
        columns = flow_runs.c
        left = (
            select(columns.id, columns.organization_id, columns.project_id, jobs.c.state, jobs.c.ended_at, jobs.c.error)
            .join_from(flow_runs, jobs, jobs.c.id == columns.job_id)
            .where(columns.state.in_(UNFINISHED), jobs.c.state.in_(_OVER))
            .order_by(columns.id)
            .limit(PAGE)
        )
        async with self._database.write() as session:
            for row in await session.all(left):
                editor = RunEditor(session, Scope(row["organization_id"], row["project_id"]), self._seals)
                error = None if row["error"] is None else msgspec.json.decode(row["error"], type=JobError)
                ended = row["ended_at"] or self._clock.now()
                await end_as_its_job(editor, row["id"], row["state"], ended, error, self._seconds)


class ResultPruning(Pruning):
    """Removes results of nodes where a project keeps too many, the oldest first; what flows remember is not theirs."""

    def __init__(self, database: Database, most: int) -> None:
        super().__init__("flow_results", _RESULTS)
        self._database = database
        self._most = most

    async def step(self) -> int:
        """Remove a page of them at most; how many."""
        columns, removed = flow_results.c, 0
        # Results have hashes as ids; those of what flows remember begin with another letter.
        of_nodes, count = columns.id < "g", func.count().label("count")
        full = select(columns.project_id, count).where(of_nodes).group_by(columns.project_id).having(count > self._most)
        async with self._database.read() as session:
            rows = await session.all(full.limit(_RESULTS))
        for row in rows:
            surplus = min(row["count"] - self._most, _RESULTS - removed)
            oldest = select(columns.id).where(columns.project_id == row["project_id"], of_nodes)
            some = oldest.order_by(columns.created_at, columns.id).limit(surplus)
            async with self._database.write() as session:
                removed += await session.change(delete(flow_results).where(columns.id.in_(some)))
            if removed >= _RESULTS:
                break
        return removed
