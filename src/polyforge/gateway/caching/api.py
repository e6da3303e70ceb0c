"""Routes of the cache."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from polyforge.gateway.caching.administration import CacheAdministration
from polyforge.gateway.caching.schemas import CacheView, ClearedView, ModelCacheView, StoreView
from polyforge.gateway.caching.store import Hits
from polyforge.kernel.clock import utc
from polyforge.kernel.money import to_usd
from polyforge.ports.cache import CacheStats
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.permission import Permission

Reader = Annotated[Caller, Depends(Permission("usage:read"))]
Editor = Annotated[Caller, Depends(Permission("cache:write"))]
_USUAL_SECONDS = 30 * 86_400


def router(cache: CacheAdministration) -> APIRouter:
    """The routes under /api/v1/cache."""
    routes = APIRouter(prefix="/api/v1/cache", tags=["cache"])

    @routes.get("")
    async def show_cache(
        caller: Reader,
        since: Annotated[
            datetime | None, Query(description="From the hour on in which this lies; default: 30 days ago.")
        ] = None,
    ) -> CacheView:
        """Hits, misses and savings of the project, by model."""
        begin = cache.now - _USUAL_SECONDS if since is None else since.timestamp()
        hits = await cache.hits(caller, begin)
        return CacheView(since=utc(begin), data=[_view(one) for one in hits], store=_store(cache.use, cache.stats()))

    @routes.delete("")
    async def clear_cache(
        caller: Editor,
        model: Annotated[str | None, Query(min_length=1, max_length=256, description="Only this model's.")] = None,
    ) -> ClearedView:
        """Let go of the answers that are kept for the project."""
        return ClearedView(removed=await cache.clear(caller, model))

    return routes


def _view(hits: Hits) -> ModelCacheView:
    return ModelCacheView(
        model=hits.model,
        hits=hits.cached,
        misses=hits.answered - hits.cached,
        hit_rate=round(hits.cached / hits.answered, 4) if hits.answered else 0.0,
        saved_usd=to_usd(hits.saved),
    )


def _store(use: str, stats: CacheStats) -> StoreView:
    return StoreView(
        use=use,
        available=stats.available,
        entries=stats.entries,
        bytes=stats.size,
        capacity_bytes=stats.capacity,
        evicted=stats.evicted,
        failures=stats.failures,
    )
