"""The versions of what is declared, as the processes record and follow them.

The newest accepted version is in force on every machine. What a file declares becomes a version when it differs from
the latest one that came from a file; so every worker of every machine may offer the same file, and it is recorded once.
"""

import socket
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from polyforge.database.database import Database
from polyforge.database.events.log import append_event
from polyforge.database.sessions import WriteSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.sizes import NAME_LENGTH
from polyforge.operations.additions.content import Additions
from polyforge.operations.additions.store import SystemAdditions, gathered
from polyforge.operations.configuration.content import Digests, encode, mask
from polyforge.operations.configuration.source import Declared
from polyforge.operations.configuration.store import ConfigurationEditor, ConfigurationRow, SystemConfigurations
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID

EVENTS: Final = "configuration."
_NOTHING: Final = "{}"
_LONGEST_REASON: Final = 2_000
_SYSTEM: Final = Caller("0" * 26, "polyforge", DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID, frozenset(), kind="system")


class Versions:
    """Records what files declare, and tells what is in force."""

    def __init__(self, database: Database, clock: Clock, recorder: Recorder, digests: Digests) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder
        self._digests = digests
        self.host = socket.gethostname()[:NAME_LENGTH]

    async def active(self) -> ConfigurationRow | None:
        """The version in force; None before the first."""
        async with self._database.read() as session:
            return await SystemConfigurations(session).active()

    async def added(self) -> Additions:
        """What the API added beside the files."""
        async with self._database.read() as session:
            return gathered(await SystemAdditions(session).rows())

    async def offer(self, declared: Declared, *, only_newer: bool = False) -> ConfigurationRow | None:
        """Record what the file declares, unless that is known already; the version that is now in force.

        With `only_newer`, a file that was last changed before the latest one was recorded is not taken: it is the stale
        copy of a machine that was away.
        """
        async with self._database.read() as session:
            store = SystemConfigurations(session)
            if not self._is_new(declared, await store.newest_of_file(), only_newer):
                return await store.active()
        async with self._database.write() as session:
            editor = ConfigurationEditor(session)
            await editor.lock()
            if not self._is_new(declared, await editor.newest_of_file(), only_newer):
                return await editor.active()
            return await self._add(session, _SYSTEM, "configuration.accepted", self._of_file(declared))

    async def refuse(self, reason: str) -> None:
        """Record that the file of this machine cannot be taken, once for all its workers."""
        reason = reason[:_LONGEST_REASON]
        async with self._database.write() as session:
            editor = ConfigurationEditor(session)
            await editor.lock()
            newest = await editor.newest()
            if newest and (newest.accepted, newest.host, newest.reason) == (False, self.host, reason):
                return
            row = self._row(_SYSTEM, "file", sha256(reason.encode()).digest(), _NOTHING, accepted=False, reason=reason)
            await self._add(session, _SYSTEM, "configuration.refused", row)

    async def object_to(self, version: int, reason: str) -> None:
        """Tell everybody that a version which others took does not work on this machine."""
        data = {"host": self.host, "reason": reason[:_LONGEST_REASON]}
        async with self._database.write() as session:
            at = self._clock.now()
            await append_event(session, "settings", "configuration.refused", str(version), at=at, data=data)

    async def roll_back(self, caller: Caller, earlier: ConfigurationRow, needs_restart: list[str]) -> ConfigurationRow:
        """Record a return to an earlier version, which is then in force."""
        row = self._row(caller, "rollback", earlier.digest, earlier.content, of_version=earlier.version)
        async with self._database.write() as session:
            await ConfigurationEditor(session).lock()
            return await self._add(
                session, caller, "configuration.rolled_back", {**row, "needs_restart": needs_restart}
            )

    async def _add(
        self, session: WriteSession, caller: Caller, action: str, values: Mapping[str, Any]
    ) -> ConfigurationRow:
        row = await ConfigurationEditor(session).add(values)
        subject = Subject("configuration", str(row.version), caller.organization_id)
        after = {"host": row.host, "source": row.source, "of_version": row.of_version, "reason": row.reason}
        await self._recorder.changed(session, caller, "settings", action, subject, None, after)
        return row

    def _is_new(self, declared: Declared, latest: ConfigurationRow | None, only_newer: bool) -> bool:
        if latest is None:
            return True
        if only_newer and declared.changed_at <= latest.created_at:
            return False
        if not self._digests.match(declared.sections, latest.digest):
            return True
        return not only_newer and not set(declared.needs_restart) <= set(latest.needs_restart)

    def _of_file(self, declared: Declared) -> dict[str, Any]:
        content = encode(mask(declared.sections, declared.secrets))
        row = self._row(_SYSTEM, "file", self._digests.of(declared.sections), content)
        return {**row, "needs_restart": list(declared.needs_restart)}

    def _row(self, caller: Caller, source: str, digest: bytes, content: str, **more: Any) -> dict[str, Any]:
        return {
            "source": source,
            "of_version": None,
            "digest": digest,
            "content": content,
            "needs_restart": [],
            "created_at": self._clock.now(),
            "created_by": caller.key_id,
            "host": self.host,
            "accepted": True,
            "reason": None,
            **more,
        }
