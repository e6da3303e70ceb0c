"""The last hour of projects, kept from one look to the next: only the newest minutes are read anew each time."""

from collections import OrderedDict
from typing import Final

import msgspec

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.kernel.clock import Clock
from polyforge.operations.overview.store import TrafficStore
from polyforge.operations.overview.traffic import MINUTES, QUIET, Minute
from polyforge.tenancy.ledger_minutes import MINUTE_SECONDS
from polyforge.tenancy.usage.sums import Used

NEWEST: Final = 3
"""Minutes that are read anew each time: calls come into the ledger when they end, most of them soon."""
WHOLE_SECONDS: Final = 30.0
"""How often the whole hour is, for the calls that took longer."""
MOST_PROJECTS: Final = 200


class _Hour(msgspec.Struct):
    minutes: dict[int, Minute]
    read_at: float


class TrafficWindow:
    """The hours of the projects that were asked for last."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._hours: OrderedDict[Scope, _Hour] = OrderedDict()

    async def read(self, scope: Scope) -> list[tuple[int, Minute]]:
        """Every minute of the last hour, by its number since the epoch, the oldest first, the one under way last."""
        now = self._clock.now()
        end = int(now // MINUTE_SECONDS) + 1
        first = end - MINUTES
        known = self._hours.get(scope)
        if known is None or not 0 <= now - known.read_at < WHOLE_SECONDS:
            known = _Hour({}, now)
            start = first
        else:
            start = max(first, end - NEWEST)
        async with self._database.read(scope) as session:
            found = await TrafficStore(session, scope, self._database.dialect).minutes(start, end)
        older = {minute: calls for minute, calls in known.minutes.items() if first <= minute < start}
        minutes = {**older, **found}
        self._keep(scope, _Hour(minutes, known.read_at))
        return [(minute, minutes.get(minute, QUIET)) for minute in range(first, end)]

    async def used(self, scope: Scope, since: float, until: float) -> Used:
        """What the calls of whole minutes of the last day came to."""
        async with self._database.read(scope) as session:
            store = TrafficStore(session, scope, self._database.dialect)
            return await store.used(int(since // MINUTE_SECONDS), int(until // MINUTE_SECONDS))

    def _keep(self, scope: Scope, hour: _Hour) -> None:
        self._hours[scope] = hour
        self._hours.move_to_end(scope)
        while len(self._hours) > MOST_PROJECTS:
            self._hours.popitem(last=False)
