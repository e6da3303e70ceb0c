"""Secrets for those rooms that use them on behalf of a project, which must be allowed to."""

from collections import OrderedDict
from functools import partial
from typing import Final

import msgspec

from polyforge.database.database import Database
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import NotFound
from polyforge.kernel.hidden import Hidden
from polyforge.secrets.sealing import MasterKeys
from polyforge.tenancy.flights import Flights
from polyforge.tenancy.vault.records import StoredSecret, unseal
from polyforge.tenancy.vault.store import SystemVault

FRESH_SECONDS: Final = 1.0
_MOST_AT_ONCE: Final = 256


class _Opened(msgspec.Struct):
    secret: StoredSecret
    value: Hidden
    checked: float
    """When the row was last seen to be so, on the monotonic clock."""


class SecretResolver:
    """The values of `secret:name`. At most `capacity` are kept open, each looked after once a second while in use."""

    def __init__(self, database: Database, clock: Clock, master: MasterKeys, capacity: int = 256) -> None:
        self._database = database
        self._clock = clock
        self._master = master
        self._capacity = capacity
        self._opened: OrderedDict[tuple[str, str], _Opened] = OrderedDict()
        self._flights: Flights[tuple[str, str], _Opened | None] = Flights("secrets", _MOST_AT_ONCE)

    async def close(self) -> None:
        """Let go of who still waits."""
        await self._flights.close()

    async def value(self, organization_id: str, project_id: str, name: str) -> Hidden:
        """The value, looked up once however many ask; NotFound when there is none or the project may not use it.

        Those two look the same. Unavailable when the database does not answer, or the value cannot be opened.
        """
        place = (organization_id, name)
        opened = self._opened.get(place)
        if opened is None or self._clock.monotonic() - opened.checked >= FRESH_SECONDS:
            opened = await self._flights.join(place, partial(self._look, place))
        if opened is None or not opened.secret.serves(project_id):
            raise NotFound(f"there is no secret {name[:200]!r}")
        return opened.value

    async def _look(self, place: tuple[str, str]) -> _Opened | None:
        organization_id, name = place
        now = self._clock.monotonic()
        async with self._database.read() as session:
            found = await SystemVault(session).named(organization_id, [name])
        before = self._opened.pop(place, None)
        if not found:
            return None
        same = before is not None and before.secret.state == found[0].state
        value = before.value if before is not None and same else unseal(self._master, found[0])
        opened = self._opened[place] = _Opened(found[0], value, now)
        while len(self._opened) > self._capacity:
            self._opened.popitem(last=False)
        return opened
