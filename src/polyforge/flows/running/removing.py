"""Runs that nobody asks for any more go, with their events, their approvals and what lies in the object store."""

from typing import Any, Final

from sqlalchemy import delete, select, update

from polyforge.database.database import Database
from polyforge.database.pruning import Pruning
from polyforge.flows.running.pages import prefix_of
from polyforge.flows.running.records import UNFINISHED
from polyforge.flows.running.tables import flow_approvals, flow_run_events, flow_runs
from polyforge.jobs.tables import jobs
from polyforge.kernel.clock import Clock
from polyforge.ports.objects import ObjectStore

PAGE: Final = 50
_EVENTS: Final = 2_000
_DAY_SECONDS: Final = 86_400
_OVER: Final = ("failed", "cancelled")


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

    def __init__(self, database: Database, objects: ObjectStore, clock: Clock, retention_days: float) -> None:
        super().__init__("flow_runs", PAGE)
        self._database = database
        self._removal = RunRemoval(database, objects)
        self._clock = clock
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
            select(columns.id, jobs.c.state, jobs.c.ended_at)
            .join_from(flow_runs, jobs, jobs.c.id == columns.job_id)
            .where(columns.state.in_(UNFINISHED), jobs.c.state.in_(_OVER))
            .limit(PAGE)
        )
        async with self._database.write() as session:
            for row in await session.all(left):
                ended = row["ended_at"] or self._clock.now()
                values: dict[str, Any] = {
                    "state": row["state"],
                    "ended_at": ended,
                    "expires_at": ended + self._seconds,
                }
                await session.change(update(flow_runs).where(columns.id == row["id"]).values(values))
                pending = (flow_approvals.c.run_id == row["id"]) & (flow_approvals.c.state == "pending")
                await session.change(update(flow_approvals).where(pending).values(state="withdrawn"))
