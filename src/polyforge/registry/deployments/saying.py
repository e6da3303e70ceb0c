"""Writes down how the versions do on this machine, so that everybody can see it, and tells of what has changed."""

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from polyforge.database.database import Database
from polyforge.database.sessions import WriteSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Unavailable
from polyforge.kernel.ids import new_ulid
from polyforge.registry.deployments.records import Serving, ServingState
from polyforge.registry.deployments.store import ServingEditor, SystemDeployments
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller

_SEEN_SECONDS: Final = 60.0
_DAY: Final = 86_400.0
_HOST_NAME: Final = 80
_TAIL: Final = 6
_MOST_BYTES: Final = 4 * _HOST_NAME
_NOBODY: Final = "0" * 26
_ACTIONS: Final[dict[ServingState, str]] = {"ready": "model_version.ready", "failed": "model_version.failed"}
"""States that others are told of."""


class Sayings:
    """What a machine says of itself in the database, under a name that is kept in the file `named`."""

    def __init__(self, database: Database, clock: Clock, recorder: Recorder, named: Path) -> None:
        self.machine = ""
        self._named = named
        self._database = database
        self._clock = clock
        self._recorder = recorder
        self._said: dict[str, Serving] | None = None
        self._seen = 0.0

    async def begin(self) -> None:
        """Find the machine's name, or give it one."""
        self.machine = await asyncio.to_thread(machine_name, self._named)

    async def say(self, servings: Sequence[Serving]) -> None:
        """Write down what is another than before; once a minute that the machine is there."""
        said = self._said if self._said is not None else await self._earlier()
        now = {each.version_id: each for each in servings}
        changed = [each for each in servings if not _same(each, said.get(each.version_id))]
        gone = [each for each in said.values() if each.version_id not in now]
        late = self._clock.monotonic() - self._seen >= _SEEN_SECONDS
        if changed or gone or late:
            async with self._database.write() as session:
                await self._write(session, changed, gone, late=late)
                for each in changed:
                    await self._tell(session, each, said.get(each.version_id))
            if late:
                self._seen = self._clock.monotonic()
        self._said = now

    async def _earlier(self) -> dict[str, Serving]:
        async with self._database.read() as session:
            return {each.version_id: each for each in await SystemDeployments(session).of_machine(self.machine)}

    async def _write(
        self, session: WriteSession, changed: Sequence[Serving], gone: Sequence[Serving], *, late: bool
    ) -> None:
        editor, now = ServingEditor(session), self._clock.now()
        for each in gone:
            await editor.remove(each)
        for each in changed:
            await editor.put(each)
        if late:
            await editor.seen(self.machine, now)
            await editor.forget(now - _DAY)

    async def _tell(self, session: WriteSession, serving: Serving, before: Serving | None) -> None:
        action = _ACTIONS.get(serving.state)
        if action is None or (before is not None and before.state == serving.state):
            return
        organization, project = serving.organization_id, serving.project_id
        caller = Caller(_NOBODY, "polyforge", organization, project, frozenset(), kind="system")
        after: dict[str, Any] = {"version": serving.number, "machine": self.machine, "reason": serving.reason}
        subject = Subject("model", serving.model_id, organization, project)
        await self._recorder.changed(session, caller, "models", action, subject, None, after)


def machine_name(file: Path) -> str:
    """The name that a machine keeps in a file, made when there is none; Unavailable when it cannot be kept.

    It is the host's, and what tells two installations on it apart.
    """
    try:
        return _kept_name(file) or _new_name(file)
    except OSError as error:
        raise Unavailable(f"the name of this machine cannot be kept: {error.strerror}") from error


def _kept_name(file: Path) -> str:
    """Empty when there is none, or what a full disk or a power cut left of it."""
    try:
        with file.open("rb") as opened:
            name = opened.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return ""
    text = name.decode(errors="replace").strip()
    return text if len(name) <= _MOST_BYTES and text.isprintable() else ""


def _new_name(file: Path) -> str:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = f"{socket.gethostname()[:_HOST_NAME]}-{new_ulid()[-_TAIL:].lower()}"
    draft = file.with_name(f".{new_ulid()}")
    draft.write_text(name)
    draft.replace(file)
    return name


def _same(one: Serving, other: Serving | None) -> bool:
    """Whether two say the same of a version, at whatever time."""
    if other is None:
        return False
    times = {"changed_at": 0.0, "seen_at": 0.0}
    return msgspec.structs.replace(one, **times) == msgspec.structs.replace(other, **times)
