"""Setting flags, on behalf of a caller; the history knows every version, removals too."""

from typing import Any, Final

from polyforge.database.database import Database
from polyforge.database.sessions import WriteSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict, NotFound
from polyforge.operations.flags.flags import Setting, setting_of, value_of
from polyforge.operations.flags.schemas import FlagBody
from polyforge.operations.flags.store import FlagEditor, FlagRow, SystemFlags
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller

MAX_FLAGS: Final = 1_000
"""Every process holds them all."""


class FlagService:
    """Shows, sets, removes and brings back flags.

    Each change may name the version that it is based on, 0 for none; Conflict when that is not the current one.
    """

    def __init__(self, database: Database, clock: Clock, recorder: Recorder) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder

    async def page(self, limit: int, cursor: str | None) -> tuple[list[FlagRow], str | None]:
        """Up to `limit` flags by name, and the cursor of the next page, None after the last."""
        async with self._database.read() as session:
            found = await SystemFlags(session).page(limit + 1, cursor)
        return found[:limit], found[limit - 1].name if len(found) > limit else None

    async def get(self, name: str) -> FlagRow:
        """One flag; NotFound when there is none of this name."""
        async with self._database.read() as session:
            return _found(name, await SystemFlags(session).get(name))

    async def history(self, name: str, limit: int, before: int | None) -> tuple[list[FlagRow], int | None]:
        """Up to `limit` versions of a flag, newest first, and before which the next page ends, None after the last."""
        async with self._database.read() as session:
            found = await SystemFlags(session).history(name, limit + 1, before)
        if not found and before is None:
            raise NotFound(f"there never was a flag {name!r}")
        return found[:limit], found[limit - 1].version if len(found) > limit else None

    async def set(self, caller: Caller, name: str, body: FlagBody, based_on: int | None) -> FlagRow:
        """The flag as it now is, made if there was none."""
        projects = None if body.projects is None else tuple(sorted(set(body.projects)))
        setting = Setting(body.enabled, projects, body.share)
        async with self._database.write() as session:
            editor = FlagEditor(session)
            known = await _locked(editor, name, based_on)
            if known is None and await editor.count() >= MAX_FLAGS:
                raise Conflict(f"there are {MAX_FLAGS} flags, as many as there may be; remove one first")
            return await self._put(session, caller, name, known, setting, "flag.set")

    async def remove(self, caller: Caller, name: str, based_on: int | None) -> None:
        """Take a flag away: it is off. NotFound when there is none."""
        async with self._database.write() as session:
            known = _found(name, await _locked(FlagEditor(session), name, based_on))
            await self._put(session, caller, name, known, None, "flag.removed")

    async def roll_back(self, caller: Caller, name: str, version: int, based_on: int | None) -> FlagRow:
        """The flag as it was at an earlier version, as a new one; one that was removed comes back."""
        async with self._database.write() as session:
            editor = FlagEditor(session)
            known = await _locked(editor, name, based_on)
            earlier = await editor.version(name, version)
            if earlier is None:
                raise NotFound(f"the flag {name!r} has no version {version}")
            if earlier.value is None:
                raise Conflict(f"version {version} of {name!r} is its removal; remove it instead")
            return await self._put(session, caller, name, known, setting_of(earlier.value), "flag.rolled_back")

    async def _put(
        self,
        session: WriteSession,
        caller: Caller,
        name: str,
        known: FlagRow | None,
        setting: Setting | None,
        action: str,
    ) -> FlagRow:
        editor = FlagEditor(session)
        value: dict[str, Any] | None = None if setting is None else value_of(setting)
        version = await editor.last_version(name) + 1
        row = FlagRow(name, value, version, self._clock.now(), caller.key_id)
        await editor.put(row)
        subject = Subject("flag", name, caller.organization_id)
        before = known.value if known else None
        await self._recorder.changed(session, caller, "settings", action, subject, before, value)
        return row


async def _locked(editor: FlagEditor, name: str, based_on: int | None) -> FlagRow | None:
    """The flag, which nobody else changes before this transaction ends."""
    await editor.lock()
    known = await editor.get(name)
    current = known.version if known else 0
    if based_on is not None and based_on != current:
        raise Conflict(f"the flag {name!r} is at version {current}, not {based_on}; look at it again", param="version")
    return known


def _found(name: str, row: FlagRow | None) -> FlagRow:
    if row is None:
        raise NotFound(f"there is no flag {name!r}")
    return row
