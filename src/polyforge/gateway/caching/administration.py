"""What people see of the cache, and how they empty it."""

import asyncio
from collections.abc import Sequence
from typing import Final

from polyforge.database.database import Database
from polyforge.database.events.store import Event
from polyforge.database.scopes import Scope
from polyforge.gateway.caching.keys import model_prefix, project_prefix
from polyforge.gateway.caching.store import Hits, HitStore
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import PolyforgeError
from polyforge.ports.cache import Cache, CacheStats
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller

CLEARED: Final = "cache.cleared"
"""What events say; their resource is what the keys that are gone begin with."""
_log = get_logger(__name__)


class CacheAdministration:
    """Tells of hits, and empties the cache of one project in every worker."""

    def __init__(self, use: str, cache: Cache, database: Database, clock: Clock, recorder: Recorder) -> None:
        self.use = use
        self._cache = cache
        self._database = database
        self._clock = clock
        self._recorder = recorder
        self._clearing: set[asyncio.Task[None]] = set()

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock.now()

    def stats(self) -> CacheStats:
        """How the cache does."""
        return self._cache.stats()

    async def hits(self, caller: Caller, since: float) -> list[Hits]:
        """What became of the requests of the caller's project, by model."""
        scope = Scope(caller.organization_id, caller.project_id)
        async with self._database.read(scope) as session:
            return await HitStore(session, scope).by_model(since)

    async def clear(self, caller: Caller, model: str | None) -> int:
        """Let go of the answers of the caller's project, or of one model there; how many. Unavailable when it cannot.

        Other workers' memory follows within a second.
        """
        project = caller.project_id
        prefix = project_prefix(project) if model is None else model_prefix(project, model)
        removed = await self._cache.clear(prefix)
        scope = Scope(caller.organization_id, project)
        subject = Subject("cache", prefix, caller.organization_id, project)
        async with self._database.write(scope) as session:
            await self._recorder.changed(session, caller, "cache", CLEARED, subject, None, {"model": model})
        return removed

    def heard(self, events: Sequence[Event]) -> None:
        """Follow what others cleared; everything goes where some of that may have been missed."""
        if self._cache.shared:
            return
        prefixes = {event.resource_id for event in events if event.kind == CLEARED} if events else {""}
        for prefix in prefixes:
            task = asyncio.create_task(self._clear(prefix), name="clearing the cache")
            self._clearing.add(task)
            task.add_done_callback(self._clearing.discard)

    async def _clear(self, prefix: str) -> None:
        try:
            await self._cache.clear(prefix)
        except PolyforgeError as error:
            _log.warning("the cache could not be cleared", reason=error.message)
