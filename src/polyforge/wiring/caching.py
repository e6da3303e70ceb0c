"""Where answers are kept, as the settings choose it, and what looks them up."""

from collections.abc import Callable, Mapping
from functools import partial

from polyforge.database.database import Database
from polyforge.gateway.caching.administration import CacheAdministration
from polyforge.gateway.caching.service import AnswerCache
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import SettingsError
from polyforge.ports.cache import Cache
from polyforge.ports.likeness import Likeness
from polyforge.ports.secret_source import SecretSource
from polyforge.registry.catalog import Catalog
from polyforge.registry.settings import ModelSettings
from polyforge.telemetry.families import CACHE_BYTES, CACHE_FAILURES
from polyforge.telemetry.metrics import Metrics
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.wiring import adapters
from polyforge.wiring.settings import CacheSettings


def load_likeness() -> Callable[[], Likeness]:
    """What makes things that compare vectors. Its library is loaded only where questions are compared."""
    adapter = adapters.load("likeness", "cache", "matrix")
    settings = adapters.checked(adapters.settings_class(adapter), "cache", {})
    return partial(adapter, settings)


class CachePlatform:
    """The rooms around answers that are given again."""

    def __init__(self, settings: CacheSettings, database: Database, clock: Clock, recorder: Recorder) -> None:
        adapter, chosen = adapters.find("caches", "cache", settings)
        self.store: Cache = adapter(chosen, clock)
        self.answers = AnswerCache(self.store, settings.max_entry_bytes, clock, load_likeness)
        self.administration = CacheAdministration(settings.use, self.store, database, clock, recorder)
        self._failures = 0

    def measure(self, metrics: Metrics) -> None:
        """Write down how it does in this process."""
        stats = self.store.stats()
        metrics.gauge(CACHE_BYTES).set(stats.size or 0)
        if stats.failures > self._failures:
            metrics.counter(CACHE_FAILURES).add(stats.failures - self._failures)
            self._failures = stats.failures

    async def open(self, secrets: SecretSource) -> None:
        """Get ready to look things up."""
        await self.store.open(secrets)

    async def close(self) -> None:
        """Let go of connections, and of what is kept in memory."""
        await self.store.close()


def check_embedders(models: Mapping[str, ModelSettings], catalog: Catalog) -> None:
    """SettingsError where a model's questions are to be compared by a model that is not there."""
    for name, model in models.items():
        semantic = model.cache.semantic if model.cache is not None else None
        if semantic is not None and not catalog.knows(semantic.model):
            raise SettingsError(f"models.{name}.cache.semantic.model: there is no model {semantic.model!r}")


def with_default(model: ModelSettings, settings: CacheSettings) -> ModelSettings:
    """A model with the cache that holds for all, where it has none of its own."""
    if model.cache is not None or settings.default is None:
        return model
    return model.model_copy(update={"cache": settings.default})
