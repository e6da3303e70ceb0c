"""Limits of a process that calls models: the counters, the book that knows the limits, and what keeps both abreast."""

from pathlib import Path

from polyforge.database.database import Database
from polyforge.gateway.admission import Admission
from polyforge.gateway.limiting import Limiting
from polyforge.kernel.clock import Clock
from polyforge.ports.secret_source import SecretSource
from polyforge.tenancy.ledger.journal import Journal
from polyforge.tenancy.ledger_store import LedgerStore
from polyforge.tenancy.limits.book import LimitBook
from polyforge.tenancy.limits.counters import LimitCounters
from polyforge.tenancy.limits.lanes import LanedCounters
from polyforge.tenancy.limits.notices import LimitNotices
from polyforge.tenancy.limits.settings import declared_limits
from polyforge.wiring.process import ProcessSpec
from polyforge.wiring.settings import Settings
from polyforge.wiring.shared_limits import SharedLimits


class LimitPlatform:
    """Everything of limits."""

    def __init__(
        self,
        settings: Settings,
        spec: ProcessSpec,
        database: Database,
        ledger: LedgerStore,
        clock: Clock,
        journal: Journal,
    ) -> None:
        self._settings = settings.gateway
        self._ledger = ledger
        self._clock = clock
        self._journal = journal
        self._shared = SharedLimits.of(settings, spec, database, ledger, clock)
        self.counters = _counters(settings, spec) if self._shared is None else self._shared.counters
        self.book = LimitBook(database, clock, self.counters, declared_limits(settings.limits))
        self.notices = LimitNotices(database)
        self.limiting = Limiting(self.book, self.counters, journal, clock)
        self.counters.notice = self.notices.tell

    def admission(self) -> Admission:
        """What lets calls in: with what this machine has for itself, or holds of what several share."""
        if self._shared is not None:
            return self._shared.admission(self._settings, self.limiting, self._journal)
        return Admission(self._settings, self.counters, self.limiting, self._journal, self._ledger.balance, self._clock)

    def prepare(self) -> None:
        """See what earlier starts left; before the counters are opened, and before any journal is read."""
        if self._shared is not None:
            self._shared.prepare()

    async def open(self, secrets: SecretSource) -> None:
        """Read the limits and begin to follow them."""
        await self.book.open()
        await self.notices.open()
        if self._shared is not None:
            await self._shared.open(secrets)

    async def close(self) -> None:
        """Stop following, and write what is still to be told."""
        await self.book.close()
        await self.notices.close()

    async def leave(self) -> None:
        """Give back what is held of shared limits, once the ledger has all that was used."""
        if self._shared is not None:
            await self._shared.close()


def _counters(settings: Settings, spec: ProcessSpec) -> LimitCounters:
    path = Path(spec.runtime) / "counters"
    return LanedCounters(path, spec.slot, spec.slots, settings.gateway.max_limited_keys, latecomers=spec.job_workers)
