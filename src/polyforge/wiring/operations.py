"""The rooms of operations of a gateway process: events, flags, what is declared."""

from polyforge.database.database import Database
from polyforge.database.events.pruning import Pruning
from polyforge.database.events.tail import EventTail
from polyforge.gateway.lineup import Lineups
from polyforge.kernel.clock import Clock
from polyforge.operations.additions.keeping import Keeper
from polyforge.operations.configuration.content import Digests
from polyforge.operations.configuration.following import Following
from polyforge.operations.configuration.service import ConfigurationService
from polyforge.operations.configuration.versions import Versions
from polyforge.operations.events.service import EventService
from polyforge.operations.flags.flags import Flags
from polyforge.operations.flags.service import FlagService
from polyforge.secrets.sealing import MasterKeys
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.vault.declared import DeclaredSecrets
from polyforge.tenancy.vault.service import VaultService
from polyforge.wiring.adding import AdditionPlatform, ProviderWorkshop
from polyforge.wiring.settings_file import Build, SettingsFile
from polyforge.wiring.starting import Start


class OperationsPlatform:
    """What follows events in one worker; `index` is its number. To be opened after the tail, to be closed before it."""

    def __init__(
        self,
        start: Start,
        database: Database,
        clock: Clock,
        recorder: Recorder,
        tail: EventTail,
        master: MasterKeys,
        secrets: DeclaredSecrets,
        lineups: Lineups,
        build: Build,
        index: int,
    ) -> None:
        settings = start.settings.events
        self.flags = Flags(database, tail)
        self.flag_service = FlagService(database, clock, recorder)
        self.event_service = EventService(database, tail, clock, settings.max_subscribers)
        self.pruning = Pruning(database, clock, settings.keep_days)
        digests = Digests(master)
        versions = Versions(database, clock, recorder, digests)
        self._start = start
        self._file = SettingsFile(start, build)
        self.configuration = Following(self._file, lineups, versions, digests, tail, speaks=index == 0)
        workshop = ProviderWorkshop(self._file, start.settings)
        keeper = Keeper(database, clock, recorder, self.configuration, workshop)
        self.added = AdditionPlatform(
            keeper, workshop, VaultService(database, clock, recorder, master), lineups, secrets
        )
        self.configuration_service = ConfigurationService(database, versions, self._file, self.configuration)

    async def open(self) -> None:
        """Take what is in force, and follow it."""
        await self.flags.open()
        await self.configuration.open(self._file.first(), self._start.stamp)

    async def close(self) -> None:
        """Stop following."""
        await self.configuration.close()
        await self.flags.close()
