"""The models that projects keep: where their files lie, what fetches them, and what makes versions of them."""

from typing import Final

from polyforge.database.database import Database
from polyforge.kernel.clock import Clock
from polyforge.ports.model_source import ModelSource
from polyforge.ports.secret_source import SecretSource
from polyforge.registry.answering import AnsweringFile, answering_path
from polyforge.registry.artifacts.fetching import Fetcher
from polyforge.registry.artifacts.folder import ArtifactFolder
from polyforge.registry.versions.importing import Importer
from polyforge.registry.versions.imports import Imports
from polyforge.registry.versions.inspecting import inspect_layout
from polyforge.registry.versions.service import ModelRegistry
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.wiring.model_sources import sources_of
from polyforge.wiring.settings import Settings

FOLDER: Final = "artifacts"


class RegistryPlatform:
    """What one worker needs of models."""

    def __init__(self, settings: Settings, database: Database, clock: Clock, recorder: Recorder) -> None:
        self._sources = sources_of(settings)
        self.fetcher = Fetcher(ArtifactFolder(settings.data / FOLDER), self._sources, settings.artifacts, clock)
        self.answering = AnsweringFile(answering_path(settings.data))
        self.models = ModelRegistry(database, clock, recorder)
        self.imports = Imports(database, clock, recorder, self.fetcher)
        self.importer = Importer(database, clock, recorder, self.fetcher, inspect_layout)

    async def open(self, secrets: SecretSource) -> None:
        """Open the sources."""
        for source in _once(self._sources):
            await source.open(secrets)

    async def close(self) -> None:
        """Close them."""
        for source in _once(self._sources):
            await source.close()


def _once(sources: dict[str, ModelSource]) -> list[ModelSource]:
    return list({id(source): source for source in sources.values()}.values())
