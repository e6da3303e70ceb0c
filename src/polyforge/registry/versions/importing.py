"""What makes versions out of imports, in the background of each process that has the artifacts at hand.

An import belongs to whoever says so at least every half a minute; when a process ends, another goes on with what was
fetched. One that lost it notices at its next word, and stops.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec
from sqlalchemy import ColumnElement, and_

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.database.sessions import WriteSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict, PolyforgeError
from polyforge.kernel.ids import new_ulid
from polyforge.ports.model_source import SourceReference
from polyforge.registry.artifacts.downloading import Progress
from polyforge.registry.artifacts.fetching import Fetched, Fetcher
from polyforge.registry.versions.imports import new_import
from polyforge.registry.versions.inspecting import Inspection, Inspector
from polyforge.registry.versions.pointing import Pointing
from polyforge.registry.versions.records import ModelImport, RegisteredModel, Version, Watch
from polyforge.registry.versions.schemas import NewVersion
from polyforge.registry.versions.store import ModelEditor, SystemImports, SystemModels
from polyforge.registry.versions.tables import model_imports, model_versions, model_watches, registered_models
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller, CallerKind

LEASE_SECONDS: Final = 30.0
_SAY_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 5.0
_SWEEP_SECONDS: Final = 3600.0
_DAY: Final = 86_400.0
_KEPT_SECONDS: Final = 90 * _DAY
"""How long imports that are over are shown."""
_ASKED: Final = 500
_SLOTS: Final = 2
_DUE: Final = 10
_SAME: Final = 1_000
"""How many versions back the same content is looked for."""
_BROKEN: Final = "an unexpected error; the log has it"
_PROMOTED: Final = "promoted when it was added"

_log = get_logger(__name__)


class Importer:
    """Works at imports of all projects, a few at once, and looks at sources that are watched."""

    def __init__(
        self, database: Database, clock: Clock, recorder: Recorder, fetcher: Fetcher, inspect: Inspector
    ) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder
        self._fetcher = fetcher
        self._inspect = inspect
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._swept = clock.monotonic()

    def wake(self) -> None:
        """Look at once for something to do."""
        self._wake.set()

    async def run(self) -> None:
        """Until it is cancelled; what is under way is given back then, for others to go on with."""
        try:
            while True:
                await self._round()
                await self._pause()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return
        finally:
            self._wake.clear()

    async def _round(self) -> None:
        try:
            await self._look_at_watches()
            await self._start_imports()
            if self._clock.monotonic() - self._swept > _SWEEP_SECONDS:
                self._swept = self._clock.monotonic()
                await self.sweep()
        except (PolyforgeError, OSError) as error:
            _log.warning("imports of models wait", reason=str(error))

    async def sweep(self) -> None:
        """Let go of what was fetched in part long ago, and of artifacts that have been of no use for a day."""
        await self._fetcher.sweep()
        folder = self._fetcher.folder
        oldest = self._clock.now() - _DAY
        unused = await asyncio.to_thread(folder.unpinned, oldest)
        for start in range(0, len(unused), _ASKED):
            asked = unused[start : start + _ASKED]
            async with self._database.read() as session:
                used = await SystemModels(session).used(asked)
            for digest in asked:
                if digest not in used:
                    await asyncio.to_thread(folder.remove, digest, oldest)
        async with self._database.write() as session:
            await SystemImports(session).forget(self._clock.now() - _KEPT_SECONDS)

    # Imports

    async def _start_imports(self) -> None:
        free = _SLOTS - len(self._tasks)
        if free <= 0:
            return
        async with self._database.read() as session:
            waiting = await SystemModels(session).waiting(self._clock.now(), free)
        for wanted in waiting:
            until = self._clock.now() + LEASE_SECONDS
            async with self._database.write() as session:
                taken = await SystemImports(session).take(wanted.id, self._clock.now(), until)
            if taken:
                task = asyncio.create_task(self._work(wanted, until), name=f"import-{wanted.id}")
                self._tasks[wanted.id] = task
                task.add_done_callback(lambda _, known=wanted.id: self._done(known))

    def _done(self, import_id: str) -> None:
        del self._tasks[import_id]
        self.wake()

    async def _work(self, wanted: ModelImport, until: float) -> None:
        lease = _Lease(self._database, self._clock, wanted.id, until)
        progress = Progress()
        making = asyncio.create_task(self._make(wanted, progress), name=f"making-{wanted.id}")
        try:
            while not making.done():
                await asyncio.wait([making], timeout=_SAY_SECONDS)
                if not making.done() and not await lease.say(_progress(progress)):
                    return
            await self._finish(wanted, lease, making)
        except asyncio.CancelledError:
            await lease.give_back()
            raise
        except PolyforgeError as error:
            _log.error("an import could not be written down; it will be done again", reason=error.message)
        finally:
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)

    async def _make(self, wanted: ModelImport, progress: Progress) -> tuple[Fetched, Inspection]:
        reference = SourceReference(wanted.source, wanted.sha256, wanted.trusted)
        fetched = await self._fetcher.fetch(reference, wanted.include, progress)
        progress.step = "looking at it"
        return fetched, await self._inspect(fetched.artifact, wanted.configuration, trusted=wanted.trusted)

    async def _finish(
        self, wanted: ModelImport, lease: "_Lease", making: asyncio.Task[tuple[Fetched, Inspection]]
    ) -> None:
        failure = making.exception()
        if isinstance(failure, PolyforgeError):
            await self._fail(wanted, lease, failure.message)
        elif failure is not None:
            _log.error("an import broke", import_id=wanted.id, reason=repr(failure), exc_info=failure)
            await self._fail(wanted, lease, _BROKEN)
        else:
            try:
                await self._succeed(wanted, lease, *making.result())
            except Conflict as error:
                # The alias that it was to have cannot be; trying it again would say the same for ever.
                await self._fail(wanted, lease, error.message)

    async def _fail(self, wanted: ModelImport, lease: "_Lease", reason: str) -> None:
        async with self._database.write() as session:
            editor = ModelEditor(session, _scope(wanted))
            await editor.lock()
            values = {"state": "failed", "error": reason, "finished_at": self._clock.now()}
            if await lease.end(session, values):
                after = {"source": wanted.source, "import": wanted.id, "reason": reason}
                await self._tell(session, wanted, "model_import.failed", after)

    async def _succeed(self, wanted: ModelImport, lease: "_Lease", fetched: Fetched, inspection: Inspection) -> None:
        async with self._database.write() as session:
            editor = ModelEditor(session, _scope(wanted))
            await editor.lock()
            if not await lease.end(session, {"state": "done", "finished_at": self._clock.now()}):
                return
            model = await _model(editor, wanted.model_id)
            version = self._version(wanted, model, fetched, inspection)
            same = await _same(editor, version)
            number = version.number if same is None else same.number
            if same is None:
                await self._add(session, editor, wanted, version)
            size = fetched.artifact.manifest.size
            values = {"version": number, "step": "done", "bytes_done": size, "bytes_total": size}
            await editor.change(model_imports, model_imports.c.id == wanted.id, values)
            await self._promote(session, editor, wanted, model, number)

    async def _add(self, session: WriteSession, editor: ModelEditor, wanted: ModelImport, version: Version) -> None:
        await editor.add(model_versions, version)
        values = {"last_version": version.number}
        await editor.change(registered_models, registered_models.c.id == version.model_id, values)
        after = {"version": version.number, "artifact": version.artifact, "pinned": version.pinned}
        await self._tell(session, wanted, "model_version.added", after)

    async def _promote(
        self, session: WriteSession, editor: ModelEditor, wanted: ModelImport, model: RegisteredModel, number: int
    ) -> None:
        if wanted.promote_to is None:
            return
        known = await editor.alias(model.id, wanted.promote_to)
        if known is None or known.version != number:
            pointing = Pointing(session, editor, self._clock, self._recorder, _caller(wanted))
            await pointing.promote(model, number, wanted.promote_to, _PROMOTED)

    def _version(
        self, wanted: ModelImport, model: RegisteredModel, fetched: Fetched, inspection: Inspection
    ) -> Version:
        manifest = fetched.artifact.manifest
        return Version(
            id=new_ulid(),
            organization_id=wanted.organization_id,
            project_id=wanted.project_id,
            model_id=wanted.model_id,
            number=model.last_version + 1,
            artifact=fetched.artifact.digest,
            bytes=manifest.size,
            files=len(manifest.files),
            source=wanted.source,
            pinned=fetched.pinned,
            revision=fetched.revision,
            configuration=wanted.configuration,
            signature=inspection.signature,
            # What was found beats what was said.
            card={**wanted.card, **inspection.card},
            metrics=wanted.metrics,
            fetching={"sha256": wanted.sha256, "include": wanted.include, "trusted": wanted.trusted},
            created_by=wanted.requested_by,
            created_at=self._clock.now(),
            removed_at=None,
        )

    # Watches

    async def _look_at_watches(self) -> None:
        async with self._database.read() as session:
            due = await SystemModels(session).due(self._clock.now(), _DUE)
        for watch in due:
            later = {"due_at": self._clock.now() + watch.every_seconds}
            async with self._database.write() as session:
                mine = await SystemImports(session).postpone(watch.model_id, watch.due_at, later)
            if mine:
                await self._look_at(msgspec.structs.replace(watch, **later))

    async def _look_at(self, watch: Watch) -> None:
        reference = SourceReference(watch.source, None, watch.trusted)
        try:
            listing = await self._fetcher.look(reference, watch.include)
        except PolyforgeError as error:
            await self._note(watch, {"error": error.message})
            return
        except Exception:  # noqa: BLE001  one source's trouble is nobody else's
            _log.exception("a watched source cannot be looked at", model_id=watch.model_id)
            await self._note(watch, {"error": _BROKEN})
            return
        if not listing.revision:
            await self._note(
                watch, {"error": "the source does not tell one content from another; it cannot be watched"}
            )
        elif listing.revision not in (watch.revision, watch.seen):
            # It may still be being copied there.
            await self._note(watch, {"seen": listing.revision, "error": ""})
        elif listing.revision != watch.revision:
            await self._order(watch, listing.revision)
        else:
            await self._note(watch, {"error": ""})

    async def _note(self, watch: Watch, values: Mapping[str, Any]) -> None:
        if all(getattr(watch, name) == value for name, value in values.items()):
            return
        async with self._database.write() as session:
            await ModelEditor(session, _scope(watch)).change(model_watches, _this(watch), values)

    async def _order(self, watch: Watch, revision: str) -> None:
        """Have a version made of what is new."""
        caller = _caller(watch)
        async with self._database.write() as session:
            editor = ModelEditor(session, _scope(watch))
            await editor.lock()
            known = await editor.watch(watch.model_id)
            if known is None or known.created_at != watch.created_at:
                # While we looked, somebody took it away, or had another source watched.
                return
            model = await _model(editor, watch.model_id)
            body = NewVersion(name=model.name, source=watch.source, include=watch.include, promote_to=watch.promote_to)
            wanted = new_import(caller, model, body, self._clock.now(), trusted=watch.trusted)
            await editor.add(model_imports, wanted)
            seen = {"revision": revision, "error": ""}
            await editor.change(model_watches, _this(watch), seen)
            after = {"source": watch.source, "import": wanted.id, "revision": revision}
            await self._tell(session, wanted, "model_import.requested", after)

    async def _tell(self, session: WriteSession, wanted: ModelImport, action: str, after: dict[str, Any]) -> None:
        subject = Subject("model", wanted.model_id, wanted.organization_id, wanted.project_id)
        await self._recorder.changed(session, _caller(wanted), "models", action, subject, None, after)


class _Lease:
    """An import that this process works at."""

    def __init__(self, database: Database, clock: Clock, import_id: str, until: float) -> None:
        self._database = database
        self._clock = clock
        self._import_id = import_id
        self._until = until

    async def say(self, values: Mapping[str, Any]) -> bool:
        """How far it is; False when it is no longer this process's. A database that is away is borne with."""
        until = self._clock.now() + LEASE_SECONDS
        try:
            async with self._database.write() as session:
                kept = await self._keep(session, {**values, "leased_until": until})
        except PolyforgeError as error:
            _log.warning("the progress of an import cannot be written", reason=error.message)
            return True
        if kept:
            self._until = until
        return kept

    async def end(self, session: WriteSession, values: Mapping[str, Any]) -> bool:
        """What became of it; False when that is no longer for this process to say."""
        return await self._keep(session, {**values, "leased_until": None})

    async def give_back(self) -> None:
        """Let others go on with it."""
        try:
            async with self._database.write() as session:
                await self._keep(session, {"state": "queued", "leased_until": None})
        except PolyforgeError as error:
            _log.warning("an import could not be given back; others wait for it", reason=error.message)

    async def _keep(self, session: WriteSession, values: Mapping[str, Any]) -> bool:
        return await SystemImports(session).keep(self._import_id, self._until, values)


async def _model(editor: ModelEditor, model_id: str) -> RegisteredModel:
    found = await editor.by_id(model_id)
    assert found is not None, "models are never deleted"
    return found


async def _same(editor: ModelEditor, version: Version) -> Version | None:
    """A version with the same content: adding it again changes nothing."""
    for known in await editor.versions(version.model_id, _SAME):
        if all(
            getattr(known, name) == getattr(version, name) for name in ("artifact", "configuration", "card", "metrics")
        ):
            return known
    return None


def _this(watch: Watch) -> ColumnElement[bool]:
    """This watch, and not one that was set for the model since."""
    return and_(model_watches.c.model_id == watch.model_id, model_watches.c.created_at == watch.created_at)


def _progress(progress: Progress) -> dict[str, Any]:
    return {"step": progress.step, "bytes_done": progress.done, "bytes_total": progress.total}


def _scope(row: ModelImport | Watch) -> Scope:
    return Scope(row.organization_id, row.project_id)


def _caller(row: ModelImport | Watch) -> Caller:
    """Whoever asked for it, as far as it concerns what is written down."""
    if isinstance(row, ModelImport):
        who = (row.requested_by, row.requested_name, row.requested_kind, row.requested_user)
    else:
        who = (row.created_by, row.created_name, row.created_kind, row.created_user)
    key_id, name, kind, user_id = who
    return Caller(
        key_id,
        name,
        row.organization_id,
        row.project_id,
        frozenset(),
        kind=cast(CallerKind, kind),
        user_id=user_id or None,
    )
