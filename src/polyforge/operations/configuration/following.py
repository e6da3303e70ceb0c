"""Brings what is declared into force in one process: what the file says, what the other machines took, what was added.

The file is looked at several times a second, and at once when somebody asks (SIGHUP). A file that is wrong changes
nothing. While the database is down, a change of the file holds on this machine only, and is recorded later.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Final

from polyforge.database.events.store import Event
from polyforge.database.events.tail import EventTail
from polyforge.gateway.lineup import Lineups
from polyforge.kernel.errors import PolyforgeError, SettingsError, Unavailable
from polyforge.operations.additions.content import EVENTS as ADDITIONS
from polyforge.operations.additions.content import NOTHING_ADDED, Key
from polyforge.operations.configuration.content import Digests, Sections, decode, is_masked
from polyforge.operations.configuration.source import Built, Declared, Source, Stamp
from polyforge.operations.configuration.store import ConfigurationRow
from polyforge.operations.configuration.versions import EVENTS, Versions
from polyforge.telemetry.logs import get_logger
from polyforge.telemetry.masking import mask_text

LOOK_SECONDS: Final = 0.3
_log = get_logger(__name__)


class Following:
    """Follows the file and the database, and swaps the lineup.

    `speaks`: of the workers of a machine, this one tells the others what does not work here.
    """

    def __init__(
        self,
        source: Source,
        lineups: Lineups,
        versions: Versions,
        digests: Digests,
        tail: EventTail,
        *,
        speaks: bool,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._source = source
        self._lineups = lineups
        self._versions = versions
        self._digests = digests
        self._speaks = speaks
        self._look_seconds = look_seconds
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._asked = False
        self._heard = False
        self._reachable = False
        self._alone = False
        # Of the file: its state when last looked at and when last read, what it declares, what is not recorded yet.
        self._seen: Stamp | None = None
        self._taken: Stamp | None = None
        self._file: Declared | None = None
        self._offered = True
        self._at_start = True
        self._wrong = False
        self._refusal: str | None = None
        # Of this process: what it runs, what is built already, what it could not take.
        self._running: Sections = {}
        self._added = self._applied = NOTHING_ADDED
        self._built: tuple[Sections, Built] | None = None
        self._objected = 0
        self.left_out: Mapping[Key, str] = {}
        """What was added and does not fit beside what is declared, and why."""
        self.version: int | None = None
        """The version that this process runs; None while that is not recorded."""
        tail.listen(["settings"], self._hear)

    async def open(self, declared: Declared | None, stamp: Stamp | None) -> None:
        """Bring the version in force before the first request, and follow. The database may come later.

        `declared` and `stamp` are what the lineup that runs was built from.
        """
        self._seen = self._taken = stamp
        self._file = declared
        self._offered = declared is None
        self._running = declared.sections if declared else {}
        if self._reachable:
            await self._try_turn()
        self._task = asyncio.create_task(self._follow(), name="configuration")

    async def close(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    @property
    def sections(self) -> Sections:
        """What is declared and in force in this process."""
        return self._running

    def reload(self) -> None:
        """Take the file now, and build everything anew even when nothing in it changed: keys in files may have."""
        self._asked = True
        self._wake.set()

    def _hear(self, events: Sequence[Event]) -> None:
        if not events or any(event.kind.startswith((EVENTS, *ADDITIONS)) for event in events):
            self._reachable = self._heard = True
            self._wake.set()

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._look_seconds):
                    await self._wake.wait()
            self._wake.clear()
            await self._try_turn()

    async def _try_turn(self) -> None:
        try:
            await self._turn()
        except PolyforgeError as error:
            _log.error("what is declared could not be followed", reason=error.message)
        except Exception:  # noqa: BLE001 - whatever it was, without this task no change would arrive again
            _log.exception("what is declared could not be followed")

    async def _turn(self) -> None:
        anew = await self._look()
        try:
            row = await self._settle(anew)
        except Unavailable:
            await self._run_alone(anew)
            return
        if row is not None:
            self._alone = False
            await self._take(row, anew)
        elif self._added != self._applied:
            await self._swap(self._running)

    # The file

    async def _look(self) -> bool:
        """Read the file if it changed; whether everything is to be built anew, because somebody asked.

        A file that still changes is being written: it is read when two looks find it the same, or when somebody asks. A
        wrong one is read again when somebody asks: what it refers to may be there by now.
        """
        asked, self._asked = self._asked, False
        stamp = await asyncio.to_thread(self._source.stamp)
        settled, self._seen = stamp == self._seen, stamp
        if stamp == self._taken and not (asked and self._wrong):
            return asked
        if not (asked or settled):
            return False
        self._taken = stamp
        try:
            declared = await asyncio.to_thread(self._source.read)
            built = await asyncio.to_thread(self._source.build, declared.sections, NOTHING_ADDED)
        except SettingsError as error:
            self._refuse(_said(error))
            return False
        self._accept(declared, built)
        return asked

    def _accept(self, declared: Declared, built: Built) -> None:
        if declared.needs_restart:
            _log.warning("settings have changed that need a restart", settings=list(declared.needs_restart))
        self._file = declared
        self._offered = self._at_start = self._wrong = False
        self._refusal = None
        self._built = (declared.sections, built)
        self._objected = 0

    def _refuse(self, reason: str) -> None:
        _log.error("the settings file is refused; what was declared before stays in force", reason=reason)
        self._refusal = reason
        self._wrong = True

    # The database

    async def _settle(self, anew: bool) -> ConfigurationRow | None:
        """Record what is new here; the version in force, None when nothing may have changed."""
        if not self._reachable:
            raise Unavailable("the database was not reached yet")
        if self._refusal is not None:
            await self._versions.refuse(self._refusal)
            self._refusal = None
        heard, self._heard = self._heard or anew, False
        try:
            return await self._read(heard)
        except Unavailable:
            self._heard = self._heard or heard
            raise

    async def _read(self, heard: bool) -> ConfigurationRow | None:
        if heard:
            self._added = await self._versions.added()
        if self._file is not None and not self._offered:
            row = await self._versions.offer(self._file, only_newer=self._at_start)
            self._offered, self._at_start = True, False
            return row
        return await self._versions.active() if heard else None

    async def _run_alone(self, anew: bool) -> None:
        """Without the database, the file of this machine counts on this machine."""
        if self._file is None or self._offered or (self._file.sections == self._running and not anew):
            return
        await self._swap(self._file.sections)
        self.version = None
        if not self._alone:
            _log.warning("the database does not answer; the settings file is in force on this machine alone for now")
        self._alone = True

    async def _take(self, row: ConfigurationRow, anew: bool) -> None:
        """Run a version, unless it runs already or was tried in vain."""
        if not anew and row.version in (self.version, self._objected):
            if self._added != self._applied:
                await self._swap(self._running)
            return
        applied = self._applied
        try:
            sections = self._sections(row)
            if anew or (sections, self._added) != (self._running, self._applied):
                await self._swap(sections)
        except (PolyforgeError, OSError) as error:
            await self._object_to(row, _said(error))
            if applied != self._added:
                await self._swap(self._running)
            return
        self.version = row.version
        _log.info("what is declared is in force", version=row.version, source=row.source, host=row.host)

    def _sections(self, row: ConfigurationRow) -> Sections:
        """What a version declares, with literal secrets where the file of this machine has the same content."""
        if self._file is not None and self._digests.match(self._file.sections, row.digest):
            return self._file.sections
        sections = decode(row.content)
        if is_masked(sections):
            raise SettingsError(
                f"version {row.version} holds secrets that are written out in the file of {row.host}, "
                "which the database does not keep; use env:, file: or secret:, or bring that file here"
            )
        return sections

    async def _object_to(self, row: ConfigurationRow, reason: str) -> None:
        _log.error("a version does not work on this machine; what was declared before stays in force", reason=reason)
        self._objected = row.version
        if self._speaks:
            await self._versions.object_to(row.version, reason)

    async def _swap(self, sections: Sections) -> None:
        # Noted first, so that what cannot be swapped in is tried once and not again and again.
        self._applied = self._added
        built, self._built = self._built, None
        if built is not None and built[0] is sections and self._added == NOTHING_ADDED:
            made = built[1]
        else:
            made = await asyncio.to_thread(self._source.build, sections, self._added)
        await self._lineups.swap(made.lineup)
        self._running, self.left_out = sections, made.left_out
        for (kind, name), reason in made.left_out.items():
            _log.warning("what was added does not fit beside what is declared", kind=kind, name=name, reason=reason)


def _said(error: Exception) -> str:
    """What an error says, without what looks like a secret."""
    text = error.message if isinstance(error, PolyforgeError) else str(error)
    return mask_text(text.encode()).decode()
