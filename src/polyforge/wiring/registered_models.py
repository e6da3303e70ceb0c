"""The models that projects keep: where their files lie, what fetches them, and what makes versions of them."""

import asyncio
from collections.abc import Callable
from typing import Final

from polyforge.database.database import Database
from polyforge.egress.oip_client import OipClient
from polyforge.kernel.clock import Clock
from polyforge.ports.model_source import ModelSource
from polyforge.ports.secret_source import SecretSource
from polyforge.registry.answering import AnsweringFile, answering_path
from polyforge.registry.artifacts.fetching import Fetcher
from polyforge.registry.artifacts.folder import ArtifactFolder
from polyforge.registry.deployments.reconciling import Reconciler
from polyforge.registry.deployments.saying import Sayings
from polyforge.registry.deployments.tuning import TuningFolder
from polyforge.registry.versions.importing import Importer
from polyforge.registry.versions.imports import Imports
from polyforge.registry.versions.service import ModelRegistry
from polyforge.serving.served import served_path
from polyforge.serving.sources import model_sources, secret_names
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.wiring.checking import CheckedModels
from polyforge.wiring.handing_over import SecretHandover
from polyforge.wiring.hosting import FollowingHost
from polyforge.wiring.model_sources import sources_of
from polyforge.wiring.settings import Settings

FOLDER: Final = "artifacts"
MACHINE: Final = "models/machine"
TUNING: Final = "tuning"


class RegistryPlatform:
    """What one worker needs of models; `socket` is that of the model host, None where none runs.

    `declared` tells whether a name is one that the settings give a meaning.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        clock: Clock,
        recorder: Recorder,
        socket: str | None,
        declared: Callable[[str], bool],
    ) -> None:
        self._sources = sources_of(settings)
        self.fetcher = Fetcher(ArtifactFolder(settings.data / FOLDER), self._sources, settings.artifacts, clock)
        self.answering = AnsweringFile(answering_path(settings.data))
        self.models = ModelRegistry(database, clock, recorder)
        self.imports = Imports(database, clock, recorder, self.fetcher, declared)
        self.importer = Importer(database, clock, recorder, self.fetcher, CheckedModels(settings.artifacts))
        self._host = None if socket is None else FollowingHost(served_path(settings.data), OipClient(socket))
        self._handover: SecretHandover | None = None
        if socket is not None:
            self._handover = SecretHandover(secret_names(model_sources(settings.models)), OipClient(socket))
        self._sayings = Sayings(database, clock, recorder, settings.data / MACHINE)
        self._deployer: Reconciler | None = None
        if self._host is not None:
            self._deployer = Reconciler(
                database,
                clock,
                self.fetcher,
                self._host,
                TuningFolder(settings.data / TUNING),
                self._sayings,
                answering_path(settings.data),
            )

    def wake(self) -> None:
        """Some model changed."""
        self.importer.wake()
        if self._deployer is not None:
            self._deployer.wake()

    async def run(self) -> None:
        """Make versions of what was asked for, and have them served; for one process of a machine."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.importer.run(), name="importer")
            if self._deployer is not None:
                tasks.create_task(self._deployer.run(), name="reconciler")
            if self._handover is not None:
                tasks.create_task(self._handover.run(), name="secrets-of-models")

    async def open(self, secrets: SecretSource) -> None:
        """Open the sources, and have the secrets at hand that the host needs."""
        if self._handover is not None:
            self._handover.open(secrets)
        for source in _once(self._sources):
            await source.open(secrets)

    async def close(self) -> None:
        """Close them, and hang up on the host."""
        if self._handover is not None:
            await self._handover.close()
        if self._host is not None:
            await self._host.close()
        for source in _once(self._sources):
            await source.close()


def _once(sources: dict[str, ModelSource]) -> list[ModelSource]:
    return list({id(source): source for source in sources.values()}.values())
