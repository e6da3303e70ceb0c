"""Admission where limits are shared with other machines: what a call lacks of this machine's part is asked for."""

from collections.abc import Sequence
from typing import Final

from polyforge.gateway.admission import Admission
from polyforge.gateway.job import Job
from polyforge.gateway.limiting import Limiting, asked
from polyforge.gateway.settings import GatewaySettings
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import BudgetSpent, RateLimited, Unavailable
from polyforge.kernel.money import Micros
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.ledger.journal import Journal
from polyforge.tenancy.ledger_store import LedgerStore
from polyforge.tenancy.limits.deposits import Deposit
from polyforge.tenancy.limits.leased import LeasedCounters, Part
from polyforge.tenancy.limits.leaseholder import Leaseholder

_TRIES: Final = 64
"""Many calls may lack the same, and what one of them brings may be gone before another's turn."""


class LeasedAdmission(Admission):
    """Lets a job in once this machine holds enough of everything, or says what stands in its way."""

    def __init__(
        self,
        settings: GatewaySettings,
        counters: LeasedCounters,
        limiting: Limiting,
        journal: Journal,
        ledger: LedgerStore,
        clock: Clock,
        leaseholder: Leaseholder,
    ) -> None:
        super().__init__(settings, counters, limiting, journal, ledger.balance, clock)
        self._parts = counters
        self._now = clock.now
        self._leaseholder = leaseholder

    async def admit(self, job: Job) -> None:
        """As `Admission.admit`; Unavailable as well where nobody can tell how much is left."""
        last_try = False
        for _ in range(_TRIES):
            self._parts.short = []
            try:
                await super().admit(job)
            except (BudgetSpent, RateLimited):
                # Whoever was refused by counters was so in one go with this: nobody else's parts are there.
                parts = self._parts.short
                if not parts or last_try:
                    raise
                # One that asked for less than whoever was just given nothing may fit, or one without an output limit.
                last_try = not await self._leaseholder.lend(parts)
            else:
                return
        raise _too_many()

    async def hold(self, caller: Caller, amount: Micros) -> Deposit:
        """As `Admission.hold`; Unavailable as well where nobody can tell how much is left."""
        last_try = False
        for _ in range(_TRIES):
            self._parts.short = []
            try:
                return await super().hold(caller, amount)
            except BudgetSpent:
                parts = self._parts.short
                if not parts or last_try:
                    raise
                last_try = not await self._leaseholder.lend(parts)
        raise _too_many()

    async def lend_ceilings(self, job: Job) -> None:
        """As `Admission.lend_ceilings`; a provider of which there is not enough is passed over."""
        parts: Sequence[Part] = [
            part
            for counters in job.ceilings.values()
            for counter in counters
            for part in self._parts.lacking(counter, asked(job, counter), self._now())
        ]
        for part in parts:
            try:
                await self._leaseholder.lend([part])
            except Unavailable:
                continue


def _too_many() -> Unavailable:
    return Unavailable("too many calls share what is left of a limit; try again", retry_after=1.0)
