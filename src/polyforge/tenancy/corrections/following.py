"""Keeps the counters of this machine abreast of corrections, wherever they were made."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

from polyforge.database.database import Database
from polyforge.database.events.store import Event
from polyforge.kernel.errors import PolyforgeError
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.corrections.records import CorrectedTotal
from polyforge.tenancy.corrections.service import CORRECTED
from polyforge.tenancy.corrections.store import SystemCorrections
from polyforge.tenancy.ledger.counters import SharedCounters

_WITHOUT_PERIOD: Final = "t"
_WITH_PERIOD: Final = ("d", "w", "m")
_AGAIN_SECONDS: Final = 2.0
_log = get_logger(__name__)


class CorrectedBudgets:
    """Writes the sum of a key's corrections into the shared counters whenever it changes.

    Sums are absolute, so it does no harm that every worker does so. `heard` is to be called with every event of the
    stream `budgets`.
    """

    def __init__(self, database: Database, counters: SharedCounters) -> None:
        self._database = database
        self._counters = counters
        self._keys: set[str] = set()
        self._all = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Follow from now on."""
        self._task = asyncio.create_task(self._follow(), name="corrections")

    async def close(self) -> None:
        """Stop following."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def heard(self, events: Sequence[Event]) -> None:
        """Look for changes: of the keys that are named, or of all where some events may have been missed."""
        keys = {event.resource_id for event in events if event.kind == CORRECTED}
        self._keys |= keys
        self._all = self._all or not events
        if keys or not events:
            self._wake.set()

    async def _follow(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            keys, self._keys = None if self._all else frozenset(self._keys), set()
            self._all = False
            await self._turn(keys)
            # Again a little later: a slot may have been made meanwhile from what the ledger said before.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_AGAIN_SECONDS):
                    await self._wake.wait()
            await self._turn(keys)

    async def _turn(self, keys: frozenset[str] | None) -> None:
        try:
            await self.sync(keys)
        except PolyforgeError as error:
            await self._try_again(keys, error.message)
        except Exception as error:  # noqa: BLE001  # whatever it was, without this task no change would arrive again
            await self._try_again(keys, repr(error))

    async def _try_again(self, keys: frozenset[str] | None, reason: str) -> None:
        _log.warning("corrections cannot be followed", reason=reason)
        self._all = self._all or keys is None
        self._keys |= keys or set()
        self._wake.set()
        await asyncio.sleep(_AGAIN_SECONDS)

    async def sync(self, keys: frozenset[str] | None) -> None:
        """Count what the ledger says of these keys, or of all."""
        async with self._database.read() as session:
            totals = await SystemCorrections(session).totals(keys)
        for total in totals:
            self._count(total)

    def _count(self, total: CorrectedTotal) -> None:
        for period in _WITH_PERIOD if total.period_start else _WITHOUT_PERIOD:
            slot = self._counters.find(period + total.key_id)
            if slot is not None:
                self._counters.correct(slot, total.period_start, total.price)
