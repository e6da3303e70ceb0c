"""Secrets that the settings name, `secret:name`: those of the default organization, in memory and always current.

What the settings declare is the whole installation's, so the projects that a secret is for do not matter here: they say
who may use it in a flow, not who may call a model.
"""

from collections.abc import Callable, Sequence
from typing import Final

from polyforge.database.database import Database
from polyforge.database.events.following import Follower
from polyforge.database.events.store import Event
from polyforge.kernel.errors import NotConfigured, Unavailable
from polyforge.kernel.hidden import Hidden
from polyforge.ports.secret_source import Stop
from polyforge.secrets.sealing import MasterKeys
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.vault.records import StoredSecret, unseal
from polyforge.tenancy.vault.store import SystemVault

_MOST_NAMES: Final = 1_000

_log = get_logger(__name__)


class DeclaredSecrets:
    """A replica of the secrets of one organization that somebody watches. While the database is down, it stays.

    `heard` is to be called with every event of the stream `secrets`.
    """

    def __init__(self, database: Database, master: MasterKeys, organization_id: str) -> None:
        self._database = database
        self._master = master
        self._organization_id = organization_id
        self._watchers: dict[str, list[Callable[[], None]]] = {}
        self._known: dict[str, StoredSecret | None] = {}
        self._opened: dict[str, Hidden] = {}
        self._follower = Follower("secrets of the settings", self.sync)

    async def open(self) -> None:
        """Read what is watched by now, and follow it. A database that is down is tried again in the background."""
        await self._follower.open()

    async def close(self) -> None:
        """Stop following."""
        await self._follower.close()

    def heard(self, _events: Sequence[Event]) -> None:
        """Look for changes."""
        self._follower.wake()

    def value(self, name: str) -> Hidden:
        """The secret as it is now; NotConfigured when there is none, Unavailable while that is not known."""
        opened = self._opened.get(name)
        if opened is not None:
            return opened
        if name not in self._known:
            raise Unavailable(f"the secret {name!r} is not known yet; try again", retry_after=1.0)
        secret = self._known[name]
        if secret is None:
            raise NotConfigured(f"there is no secret {name!r}; set it with `polyforge secret set {name}`")
        return unseal(self._master, secret)

    def watch(self, name: str, changed: Callable[[], None]) -> Stop:
        """Follow this secret from now on, and call `changed` after each change of it."""
        if name not in self._watchers and len(self._watchers) >= _MOST_NAMES:
            raise Unavailable(f"the settings name more than {_MOST_NAMES} secrets")
        self._watchers.setdefault(name, []).append(changed)
        self._follower.wake()
        return lambda: self._unwatch(name, changed)

    def _unwatch(self, name: str, changed: Callable[[], None]) -> None:
        watchers = self._watchers.get(name, [])
        if changed in watchers:
            watchers.remove(changed)
        if not watchers:
            for kept in (self._watchers, self._known, self._opened):
                kept.pop(name, None)

    async def sync(self) -> None:
        """Apply every change that is committed by now."""
        names = list(self._watchers)
        if not names:
            return
        async with self._database.read() as session:
            found = {secret.name: secret for secret in await SystemVault(session).named(self._organization_id, names)}
        for name in names:
            self._apply(name, found.get(name))

    def _apply(self, name: str, secret: StoredSecret | None) -> None:
        if name not in self._watchers or (name in self._known and _state(self._known[name]) == _state(secret)):
            return
        self._known[name] = secret
        self._opened.pop(name, None)
        if secret is not None:
            self._open(name, secret)
        for changed in list(self._watchers[name]):
            changed()

    def _open(self, name: str, secret: StoredSecret) -> None:
        try:
            self._opened[name] = unseal(self._master, secret)
        except Unavailable as error:
            _log.error("a secret of the settings cannot be opened", name=name, reason=error.message)


def _state(secret: StoredSecret | None) -> tuple[str, int, str] | None:
    return None if secret is None else secret.state
