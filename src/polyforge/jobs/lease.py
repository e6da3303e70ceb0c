"""The lease of a worker: while it is valid its jobs are its own; once it has run out they are anybody's."""

import asyncio
from typing import Final

import msgspec

from polyforge.database.database import Database
from polyforge.jobs.records import WorkerSeen
from polyforge.jobs.releasing import release
from polyforge.jobs.working_store import JobKeeper, lease_time
from polyforge.kernel.clock import Clock

_MARGIN: Final = 1.0
"""Seconds before its end from which on a lease is not relied on: a step must not begin in its last moment."""


class Timing(msgspec.Struct, frozen=True):
    """How often a worker does what, in seconds; others notice within `lease` and `scan` that it died.

    A job that has only waited for `hold` is let go.
    """

    lease: float = 15.0
    renew: float = 5.0
    scan: float = 5.0
    tick: float = 0.5
    hold: float = 60.0


class WorkerPlace(msgspec.Struct, frozen=True):
    """Which process a worker is: `session` is the supervisor's run, and `index` the place in it."""

    machine: str
    session: str
    index: int


class Lease:
    """Of one worker, by the clock of the database in its row, and by those of this machine here.

    Here it has run out when either clock of this machine says so: the one stands still while the machine sleeps, the
    other may be set.
    """

    def __init__(self, database: Database, clock: Clock, executor_id: str, place: WorkerPlace, timing: Timing) -> None:
        self._database = database
        self._clock = clock
        self._executor_id = executor_id
        self._place = place
        self._timing = timing
        self._monotonic_end = 0.0
        self._wall_end = 0.0
        self._lost = asyncio.Event()

    @property
    def lost(self) -> bool:
        """Whether it has run out for good."""
        return self._lost.is_set()

    async def until_lost(self) -> None:
        """Return once it has run out."""
        await self._lost.wait()

    def is_valid(self) -> bool:
        """Whether what the worker has is its own right now."""
        if self.lost:
            return False
        if self._clock.monotonic() < self._monotonic_end and self._clock.now() < self._wall_end:
            return True
        self._lost.set()
        return False

    async def take(self) -> None:
        """Begin, and release what workers had that were started in the same place before: they are gone."""
        began = self._clock.monotonic(), self._clock.now()
        place = self._place
        async with self._database.write() as session:
            keeper = JobKeeper(session)
            now = await lease_time(session, self._database.dialect, self._clock)
            gone = await keeper.predecessors(place.machine, place.session, place.index, self._executor_id)
            await keeper.enrol(
                WorkerSeen(
                    executor_id=self._executor_id,
                    machine=place.machine[:128],
                    session=place.session,
                    index=place.index,
                    started_at=now,
                    lease_until=now + self._timing.lease,
                    seen_at=now,
                    running=0,
                )
            )
            for executor_id in gone:
                await keeper.dismiss(executor_id)
                await release(keeper, executor_id, self._clock.now(), died=True)
        self._extend(*began)

    async def next_renewal(self) -> None:
        """Until it is time to renew it."""
        await asyncio.sleep(self._timing.renew)

    async def renew(self) -> None:
        """Renew it, unless it has run out, and others may have taken over."""
        if not self.is_valid():
            return
        began = self._clock.monotonic(), self._clock.now()
        async with self._database.write() as session:
            now = await lease_time(session, self._database.dialect, self._clock)
            renewed = await JobKeeper(session).renew(self._executor_id, now, now + self._timing.lease)
        if renewed and self.is_valid():
            self._extend(*began)
        else:
            self._lost.set()

    async def give_up(self) -> None:
        """End it and queue what the worker still has; nothing when it has run out, for then others do that."""
        if not self.is_valid():
            return
        async with self._database.write() as session:
            keeper = JobKeeper(session)
            await keeper.dismiss(self._executor_id)
            await release(keeper, self._executor_id, self._clock.now(), died=False)

    def _extend(self, monotonic: float, wall: float) -> None:
        self._monotonic_end = monotonic + self._timing.lease - _MARGIN
        self._wall_end = wall + self._timing.lease - _MARGIN
