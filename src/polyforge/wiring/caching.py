"""Where answers are kept, as the settings choose it, and what looks them up."""

from polyforge.gateway.caching.service import AnswerCache
from polyforge.kernel.clock import Clock
from polyforge.ports.cache import Cache
from polyforge.ports.secret_source import SecretSource
from polyforge.registry.settings import ModelSettings
from polyforge.wiring import adapters
from polyforge.wiring.settings import CacheSettings


class CachePlatform:
    """The rooms around answers that are given again."""

    def __init__(self, settings: CacheSettings, clock: Clock) -> None:
        adapter, chosen = adapters.find("caches", "cache", settings)
        self.store: Cache = adapter(chosen, clock)
        self.answers = AnswerCache(self.store, settings.max_entry_bytes, clock)

    async def open(self, secrets: SecretSource) -> None:
        """Get ready to look things up."""
        await self.store.open(secrets)

    async def close(self) -> None:
        """Let go of connections, and of what is kept in memory."""
        await self.store.close()


def with_default(model: ModelSettings, settings: CacheSettings) -> ModelSettings:
    """A model with the cache that holds for all, where it has none of its own."""
    if model.cache is not None or settings.default is None:
        return model
    return model.model_copy(update={"cache": settings.default})
