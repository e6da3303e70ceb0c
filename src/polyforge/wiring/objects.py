"""Where objects are kept, as the settings choose it, and the rooms around files."""

from polyforge.batch.files.removing import FilePruning, FilesOfPeople
from polyforge.batch.files.service import FileService
from polyforge.database.database import Database
from polyforge.kernel.clock import Clock
from polyforge.ports.objects import ObjectStore
from polyforge.ports.secret_source import SecretSource
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.wiring import adapters
from polyforge.wiring.settings import Settings


def object_store(settings: Settings) -> ObjectStore:
    """What keeps objects; SettingsError when that does not work."""
    adapter, chosen = adapters.find("objects", "objects", settings.objects)
    return adapter(chosen, settings.data)


class ObjectPlatform:
    """Objects, and the files that callers upload."""

    def __init__(self, settings: Settings, database: Database, clock: Clock, recorder: Recorder) -> None:
        self.store = object_store(settings)
        self.files = FileService(settings.files, database, self.store, clock, recorder)
        self.of_people = FilesOfPeople(database, self.store)
        self.pruning = FilePruning(database, self.store, clock)

    async def open(self, secrets: SecretSource) -> None:
        """Get ready."""
        await self.store.open(secrets)

    async def close(self) -> None:
        """Let go of connections."""
        await self.store.close()
