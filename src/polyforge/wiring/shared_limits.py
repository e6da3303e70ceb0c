"""Limits that several machines share, as the settings choose it."""

from polyforge.database.database import Database
from polyforge.gateway.admission import Admission
from polyforge.gateway.leasing import LeasedAdmission
from polyforge.gateway.limiting import Limiting
from polyforge.gateway.settings import GatewaySettings
from polyforge.kernel.clock import Clock
from polyforge.ports.lease_store import LeaseStore
from polyforge.ports.secret_source import SecretSource
from polyforge.tenancy.ledger.journal import Journal
from polyforge.tenancy.ledger_store import LedgerStore
from polyforge.tenancy.limits.leased import LeasedCounters
from polyforge.tenancy.limits.leaseholder import Leaseholder
from polyforge.tenancy.limits.remains import collect_remains, counters_path
from polyforge.wiring import adapters
from polyforge.wiring.process import ProcessSpec
from polyforge.wiring.settings import Chosen, Settings


class SharedLimits:
    """The counters of a machine that shares its limits, and what holds its parts of them."""

    def __init__(
        self,
        chosen: Chosen,
        settings: Settings,
        spec: ProcessSpec,
        database: Database,
        ledger: LedgerStore,
        clock: Clock,
    ) -> None:
        adapter, own = adapters.find("lease_stores", "shared_limits", chosen)
        store: LeaseStore = adapter(own)
        # Not among what goes with the processes: the next start has to know what this one used.
        self._folder = settings.data / "leases"
        self._journals = settings.data / "journal"
        self._machine = spec.session
        self._ledger = ledger
        self._clock = clock
        path = counters_path(self._folder, spec.session)
        self.counters = LeasedCounters(path, spec.slot, spec.slots, settings.gateway.max_limited_keys)
        self._leaseholder = Leaseholder(
            store, self.counters, database, ledger, self._journals, self._folder, spec.session, clock
        )

    @classmethod
    def of(
        cls, settings: Settings, spec: ProcessSpec, database: Database, ledger: LedgerStore, clock: Clock
    ) -> "SharedLimits | None":
        """None where the settings share nothing."""
        chosen = settings.shared_limits
        return None if chosen is None else cls(chosen, settings, spec, database, ledger, clock)

    def admission(self, settings: GatewaySettings, limiting: Limiting, journal: Journal) -> Admission:
        """What lets calls in."""
        return LeasedAdmission(settings, self.counters, limiting, journal, self._ledger, self._clock, self._leaseholder)

    def prepare(self) -> None:
        """Make room for the counters, and see what earlier starts left; before their journals are read."""
        collect_remains(self._folder, self._journals, self._machine)

    async def open(self, secrets: SecretSource) -> None:
        """Begin to share, once the ledger has what earlier starts left."""
        await self._leaseholder.open(secrets)

    async def close(self) -> None:
        """Give back what is not used."""
        await self._leaseholder.close()
