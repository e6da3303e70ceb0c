"""Feature flags in memory: asked on the hot path, followed from the database, changed by nobody here."""

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec

from polyforge.database.database import Database
from polyforge.database.events.store import Event
from polyforge.database.events.tail import EventTail
from polyforge.kernel.errors import PolyforgeError
from polyforge.operations.flags.store import SystemFlags
from polyforge.telemetry.logs import get_logger

EVENTS: Final = "flag."
WHOLE: Final = 100.0
_RETRY_SECONDS: Final = 0.5
_UNIT: Final = 2**64

_log = get_logger(__name__)


class Setting(msgspec.Struct, frozen=True):
    """What a flag is set to."""

    enabled: bool
    projects: tuple[str, ...] | None = None
    """The ids of the projects that it is on for; None: all."""
    share: float = WHOLE
    """Percent of the subjects that it is on for; always the same ones."""

    def on(self, name: str, project_id: str, subject: str | None) -> bool:
        """Whether the flag of this name is on."""
        if not self.enabled or (self.projects is not None and project_id not in self.projects):
            return False
        return self.share >= WHOLE or place_of(name, subject or project_id) < self.share


def place_of(name: str, subject: str) -> float:
    """Where a subject stands between 0 and 100: evenly spread, the same in every process, another for each flag."""
    digest = sha256(f"{name}\0{subject}".encode()).digest()
    return int.from_bytes(digest[:8]) / _UNIT * WHOLE


class Flags:
    """Every flag of the installation, at most a second old."""

    def __init__(self, database: Database, tail: EventTail) -> None:
        self._database = database
        self._settings: dict[str, Setting] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        tail.listen(["settings"], self._hear)

    def on(self, name: str, project_id: str, subject: str | None = None) -> bool:
        """Whether a flag is on for a subject, such as a user, in a project; for the whole project when none is named.

        An unknown flag is off. No I/O.
        """
        setting = self._settings.get(name)
        return setting is not None and setting.on(name, project_id, subject)

    async def open(self) -> None:
        """Read the flags, and follow them. The database may come later: the tail, opened before, tells."""
        if self._wake.is_set() and await self._load():
            self._wake.clear()
        self._task = asyncio.create_task(self._follow(), name="flags")

    async def close(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def _hear(self, events: Sequence[Event]) -> None:
        if not events or any(event.kind.startswith(EVENTS) for event in events):
            self._wake.set()

    async def _follow(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not await self._load():
                await asyncio.sleep(_RETRY_SECONDS)
                self._wake.set()

    async def _load(self) -> bool:
        """Read them all; False when that was not possible, and those that were known stay."""
        try:
            async with self._database.read() as session:
                rows = await SystemFlags(session).all()
            self._settings = {row.name: setting_of(row.value) for row in rows}
        except PolyforgeError as error:
            _log.warning("flags cannot be read", reason=error.message)
            return False
        except Exception:  # noqa: BLE001 - whatever it was, without this task no change would arrive again
            _log.exception("flags could not be read")
            return False
        return True


def setting_of(value: dict[str, Any]) -> Setting:
    """A setting as its row holds it."""
    return msgspec.convert(value, Setting)


def value_of(setting: Setting) -> dict[str, Any]:
    """A setting for its row."""
    return msgspec.to_builtins(setting)
