"""What nodes of flows may use in this process, built from the settings."""

from polyforge.batch.files.service import FileService
from polyforge.database.database import Database
from polyforge.egress.guarding import Guard
from polyforge.flows.facilities.calling import GuardedHttp
from polyforge.flows.facilities.code import PythonCode
from polyforge.flows.facilities.databases import Databases
from polyforge.flows.facilities.guarding import FlowGuardrails
from polyforge.flows.facilities.memory import FlowMemory
from polyforge.flows.facilities.messages import FlowMessages
from polyforge.flows.facilities.models import FlowModels
from polyforge.flows.facilities.objects import FlowObjects
from polyforge.flows.facilities.once import Once
from polyforge.flows.facilities.secrets import ProjectSecrets
from polyforge.flows.running.sealing import Seals
from polyforge.gateway.lineup import Lineups
from polyforge.kernel.clock import Clock
from polyforge.ports.notifier import Notifier
from polyforge.ports.objects import ObjectStore
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.sealing import MasterKeys
from polyforge.tenancy.idempotency.service import Idempotency
from polyforge.tenancy.vault.resolver import SecretResolver
from polyforge.wiring import adapters
from polyforge.wiring.settings import Settings


class FlowFacilities:
    """All of it; `open` before the first node runs."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        store: ObjectStore,
        files: FileService,
        lineups: Lineups,
        idempotency: Idempotency,
        master: MasterKeys,
        clock: Clock,
    ) -> None:
        guard = Guard(settings.egress.allow)
        self._resolver = SecretResolver(database, clock, master)
        self._notifier = _notifier(settings)
        self.models = FlowModels(lineups, idempotency, clock, settings.gateway.timeouts.request)
        self.http = GuardedHttp(guard)
        self.secrets = ProjectSecrets(self._resolver)
        self.objects = FlowObjects(store, files, clock)
        self.sandbox = PythonCode(settings.flows.code_limits, allowed=settings.flows.code)
        self.sql = Databases(settings.flows.connections)
        self.notifier = FlowMessages(self._notifier, guard, Once(idempotency))
        self.guardrails = FlowGuardrails(lineups)
        self.memory = FlowMemory(database, clock, Seals(master))

    async def open(self, secrets: SecretSource) -> None:
        """Get ready; nothing else has to be up."""
        await self._notifier.open(secrets)
        self.sql.open(secrets)

    async def close(self) -> None:
        """Let go of what `open` took."""
        self.sandbox.close()
        self.sql.close()
        await self._notifier.close()
        await self._resolver.close()


def _notifier(settings: Settings) -> Notifier:
    adapter, chosen = adapters.find("notifiers", "people.notifier", settings.people.notifier)
    return adapter(chosen, settings.data)
