"""Batches as a process sees them: what callers do with them, and in a worker what runs them."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from polyforge.batch.batches.calling import ModelCaller
from polyforge.batch.batches.kind import BatchKind, BatchTools
from polyforge.batch.batches.pace import Pace
from polyforge.batch.batches.removing import BatchPruning
from polyforge.batch.batches.service import BatchService
from polyforge.batch.tables.scratch import Scratch
from polyforge.database.database import Database
from polyforge.gateway.lineup import Lineups
from polyforge.jobs.service import JobService
from polyforge.kernel.clock import Clock
from polyforge.ports.column_files import ColumnFiles
from polyforge.ports.data_store import DataStore
from polyforge.ports.secret_source import SecretSource
from polyforge.telemetry.aggregation import collect
from polyforge.telemetry.families import IN_FLIGHT
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.idempotency.service import Idempotency
from polyforge.tenancy.standing import Standing
from polyforge.wiring import adapters
from polyforge.wiring.objects import ObjectPlatform
from polyforge.wiring.settings import Chosen, Settings

_LOOK_SECONDS: Final = 0.5
_log = get_logger(__name__)


class BatchPlatform:
    """The rooms around batches."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        objects: ObjectPlatform,
        jobs: JobService,
        clock: Clock,
        recorder: Recorder,
    ) -> None:
        self.service = BatchService(settings.batches, database, objects.files, jobs, clock, recorder)
        self.pruning = BatchPruning(database, objects.store, clock)
        self.stores = data_stores(settings)

    async def open(self, secrets: SecretSource) -> None:
        """Get ready."""
        for store in self.stores.values():
            await store.open(secrets)

    async def close(self) -> None:
        """Let go of connections."""
        for store in self.stores.values():
            await store.close()


def data_stores(settings: Settings) -> dict[str, DataStore]:
    """The stores of data that the settings declare; SettingsError names the one that does not work."""
    found: dict[str, DataStore] = {}
    for name, declared in settings.batches.stores.items():
        chosen = Chosen(use=declared.use, **(declared.model_extra or {}))
        adapter, own = adapters.find("data_stores", f"batches.stores.{name}", chosen)
        found[name] = adapter(own, settings.data)
    return found


class InteractiveCalls:
    """How many callers the gateways of this machine are answering now, as their metrics tell it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._looked_at = 0.0
        self._looking: asyncio.Task[None] | None = None

    def count(self) -> int:
        """What was seen last; has somebody look again when that is a while ago, and waits for nobody."""
        now = time.monotonic()
        if now - self._looked_at > _LOOK_SECONDS and (self._looking is None or self._looking.done()):
            self._looked_at = now
            self._looking = asyncio.create_task(self._look(), name="interactive calls")
        return self._count

    async def _look(self) -> None:
        try:
            totals = (await asyncio.to_thread(collect, self._folder)).totals
        except OSError as error:
            _log.warning("it cannot be told how many callers are being answered", reason=str(error))
            return
        self._count = max(0, int(totals.get((IN_FLIGHT.name, ()), [0.0])[0]))


def batch_kind(
    settings: Settings,
    database: Database,
    objects: ObjectPlatform,
    stores: Mapping[str, DataStore],
    lineups: Lineups,
    idempotency: Idempotency,
    standing: Standing,
    clock: Clock,
    metrics: Path,
) -> BatchKind:
    """What runs batches in a worker; `metrics` is the folder in which processes of this machine count."""
    interactive = InteractiveCalls(metrics)
    columns: ColumnFiles = adapters.load("column_files", "batches", "parquet")(settings.jobs.heavy.apart())
    return BatchKind(
        BatchTools(
            settings.batches,
            database,
            objects.store,
            objects.files,
            ModelCaller(lineups, idempotency, clock, settings.gateway.timeouts.request),
            Pace(settings.batches.lines_at_once, interactive.count, clock.monotonic),
            standing.confirmed,
            clock,
            stores,
            columns,
            Scratch(settings.data / "scratch", settings.batches.max_table_bytes),
        )
    )
