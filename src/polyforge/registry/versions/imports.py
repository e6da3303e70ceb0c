"""Asking for new versions, on behalf of a caller: what is asked for is written down, and workers do it."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from sqlalchemy import and_

from polyforge.database.database import Database
from polyforge.database.sessions import WriteSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict, NotFound
from polyforge.kernel.ids import new_ulid
from polyforge.ports.model_source import SourceReference
from polyforge.registry.artifacts.fetching import Fetcher
from polyforge.registry.versions.records import LIVE, ModelImport, RegisteredModel, Watch
from polyforge.registry.versions.schemas import NewVersion, NewWatch
from polyforge.registry.versions.service import found_model, live_model, scope_of
from polyforge.registry.versions.store import ModelEditor, ModelStore
from polyforge.registry.versions.tables import model_imports, model_watches, registered_models
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller

MAX_LIVE: Final = 20
MAX_MODELS: Final = 10_000
RESERVED: Final = frozenset({"registered", "stats"})
"""Names that stand for something else where a model's name stands, in our own paths and in Triton's."""
OPERATOR: Final = "settings:write"
"""Who may change the settings may name any folder of the machine, and hosts in private networks, as these do."""


def _none(_name: str) -> bool:
    return False


class Imports:
    """Makes, shows and cancels imports, and what makes them by itself when a source has something new."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        recorder: Recorder,
        fetcher: Fetcher,
        declared: Callable[[str], bool] = _none,
    ) -> None:
        self._declared = declared
        self._database = database
        self._clock = clock
        self._recorder = recorder
        self._fetcher = fetcher

    async def create(self, caller: Caller, body: NewVersion) -> tuple[RegisteredModel, ModelImport]:
        """Write down what is wanted; the model is made, or made again, if there is none.

        Conflict when too much is wanted at once or the name is taken, Invalid for a source of no known kind.
        """
        self._fetcher.source_of(SourceReference(body.source))
        self._check_name(body.name)
        scope = scope_of(caller)
        async with self._database.write(scope) as session:
            editor = ModelEditor(session, scope)
            await editor.lock()
            if await editor.count(model_imports, model_imports.c.state.in_(LIVE)) >= MAX_LIVE:
                raise Conflict(f"{MAX_LIVE} imports of this project are not over yet; wait for one, or cancel one")
            model = await self._model(session, editor, caller, body)
            wanted = self._wanted(caller, model, body)
            await editor.add(model_imports, wanted)
            after = {"model": model.name, "source": wanted.source, "import": wanted.id, "promote_to": wanted.promote_to}
            await self._tell(session, caller, "model_import.requested", model, after)
            return model, wanted

    async def page(
        self, caller: Caller, name: str, limit: int, before: str | None
    ) -> tuple[list[ModelImport], str | None]:
        """Up to `limit` imports of a model, newest first, and the cursor of the next page."""
        scope = scope_of(caller)
        async with self._database.read(scope) as session:
            store = ModelStore(session, scope)
            model = found_model(await store.find(name), name)
            found = await store.imports(model.id, limit + 1, before)
        return found[:limit], found[limit - 1].id if len(found) > limit else None

    async def get(self, caller: Caller, name: str, import_id: str) -> ModelImport:
        """One import, and how far it is."""
        scope = scope_of(caller)
        async with self._database.read(scope) as session:
            store = ModelStore(session, scope)
            return await _found(store, found_model(await store.find(name), name), import_id)

    async def cancel(self, caller: Caller, name: str, import_id: str) -> ModelImport:
        """End an import; what it fetched is kept for a while, in case that it is asked for again."""
        scope = scope_of(caller)
        async with self._database.write(scope) as session:
            editor = ModelEditor(session, scope)
            await editor.lock()
            model = await live_model(editor, name)
            known = await _found(editor, model, import_id)
            over = {"state": "cancelled", "finished_at": self._clock.now()}
            columns = model_imports.c
            if not await editor.change(model_imports, and_(columns.id == known.id, columns.state.in_(LIVE)), over):
                raise Conflict(f"the import is {known.state}; there is nothing to cancel")
            await self._tell(session, caller, "model_import.cancelled", model, {"import": known.id})
            return msgspec.structs.replace(known, state="cancelled", finished_at=self._clock.now())

    # What is watched

    async def watched(self, caller: Caller, name: str) -> Watch:
        """The source that is watched for a model; NotFound when none is."""
        scope = scope_of(caller)
        async with self._database.read(scope) as session:
            store = ModelStore(session, scope)
            return _found_watch(await store.watch((await live_model(store, name)).id), name)

    async def watch(self, caller: Caller, name: str, body: NewWatch) -> Watch:
        """Look at a source again and again from now on, instead of at the one before."""
        self._fetcher.source_of(SourceReference(body.source))
        self._check_name(name)
        scope = scope_of(caller)
        async with self._database.write(scope) as session:
            editor = ModelEditor(session, scope)
            await editor.lock()
            model = await self._model(session, editor, caller, NewVersion(name=name, source=body.source))
            watch = self._watch(caller, model, body)
            await editor.remove(model_watches, model_watches.c.model_id == model.id)
            await editor.add(model_watches, watch)
            after = {"model": name, **body.model_dump()}
            await self._tell(session, caller, "model_watch.set", model, after)
            return watch

    async def unwatch(self, caller: Caller, name: str) -> None:
        """Look no more."""
        scope = scope_of(caller)
        async with self._database.write(scope) as session:
            editor = ModelEditor(session, scope)
            await editor.lock()
            model = await live_model(editor, name)
            _found_watch(await editor.watch(model.id), name)
            await editor.remove(model_watches, model_watches.c.model_id == model.id)
            await self._tell(session, caller, "model_watch.removed", model, {"model": name})

    def _check_name(self, name: str) -> None:
        """Refuse names under which nobody could call the model."""
        if name in RESERVED:
            raise Conflict(f"{name!r} means something else in the paths of models; choose another name", param="name")
        if self._declared(name):
            raise Conflict(f"a model {name!r} is declared in the settings; choose another name", param="name")

    async def _model(
        self, session: WriteSession, editor: ModelEditor, caller: Caller, body: NewVersion
    ) -> RegisteredModel:
        known = await editor.find(body.name)
        if known is None and await editor.count(registered_models, registered_models.c.id != "") >= MAX_MODELS:
            raise Conflict(f"the project has {MAX_MODELS} models, as many as there may be; remove one first")
        if known is not None and known.removed_at is None:
            return known
        now = self._clock.now()
        if known is not None:
            back: dict[str, Any] = {"removed_at": None, "created_at": now, "created_by": caller.key_id}
            back["description"] = body.description or ""
            await editor.change(registered_models, registered_models.c.id == known.id, back)
            model = msgspec.structs.replace(known, **back)
        else:
            model = RegisteredModel(
                id=new_ulid(),
                organization_id=caller.organization_id,
                project_id=caller.project_id,
                name=body.name,
                description=body.description or "",
                protected=[],
                last_version=0,
                created_by=caller.key_id,
                created_at=now,
                removed_at=None,
            )
            await editor.add(registered_models, model)
        await self._tell(session, caller, "model.added", model, {"model": model.name})
        return model

    def _wanted(self, caller: Caller, model: RegisteredModel, body: NewVersion) -> ModelImport:
        return new_import(caller, model, body, self._clock.now(), trusted=caller.may(OPERATOR))

    def _watch(self, caller: Caller, model: RegisteredModel, body: NewWatch) -> Watch:
        now = self._clock.now()
        return Watch(
            model_id=model.id,
            organization_id=model.organization_id,
            project_id=model.project_id,
            source=body.source,
            include=body.include,
            trusted=caller.may(OPERATOR),
            promote_to=body.promote_to,
            every_seconds=body.every_seconds,
            revision="",
            seen="",
            error="",
            created_by=caller.key_id,
            created_name=caller.key_name,
            created_kind=caller.kind,
            created_user=caller.user_id or "",
            created_at=now,
            due_at=now,
        )

    async def _tell(
        self, session: WriteSession, caller: Caller, action: str, model: RegisteredModel, after: dict[str, Any]
    ) -> None:
        subject = Subject("model", model.id, model.organization_id, model.project_id)
        await self._recorder.changed(session, caller, "models", action, subject, None, after)


def new_import(caller: Caller, model: RegisteredModel, body: NewVersion, now: float, *, trusted: bool) -> ModelImport:
    """An import that nobody works at yet."""
    return ModelImport(
        id=new_ulid(),
        organization_id=model.organization_id,
        project_id=model.project_id,
        model_id=model.id,
        source=body.source,
        sha256=body.sha256,
        include=body.include,
        trusted=trusted,
        configuration=body.configuration.written(),
        card=body.card,
        metrics=body.metrics,
        promote_to=body.promote_to,
        state="queued",
        step="waiting",
        bytes_done=0,
        bytes_total=None,
        error="",
        version=None,
        requested_by=caller.key_id,
        requested_name=caller.key_name,
        requested_kind=caller.kind,
        requested_user=caller.user_id or "",
        created_at=now,
        leased_until=None,
        finished_at=None,
    )


async def _found(store: ModelStore, model: RegisteredModel, import_id: str) -> ModelImport:
    found = await store.model_import(model.id, import_id)
    if found is None:
        raise NotFound(f"{model.name!r} has no import {import_id}")
    return found


def _found_watch(watch: Watch | None, name: str) -> Watch:
    if watch is None:
        raise NotFound(f"no source is watched for {name!r}")
    return watch
