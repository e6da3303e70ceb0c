"""Models of a project, on behalf of a caller: shown, changed, promoted, rolled back and removed."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import and_

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.database.sessions import WriteSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict, Denied, NotFound
from polyforge.registry.deployments.records import SEEN_SECONDS, FailedServing, Serving, wanted_of
from polyforge.registry.versions.pointing import HISTORY, Pointing, way_back
from polyforge.registry.versions.records import LIVE, Alias, ModelDeployment, RegisteredModel, Version
from polyforge.registry.versions.schemas import ModelChange
from polyforge.registry.versions.store import ModelEditor, ModelStore
from polyforge.registry.versions.tables import model_imports, model_versions, model_watches, registered_models
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.policy import authorize

_ALL_VERSIONS = 100_000


class Shown(NamedTuple):
    """A model with what points at its versions."""

    model: RegisteredModel
    aliases: list[Alias]


class Deployed(NamedTuple):
    """What leads to versions of a model, which of them are to answer, and how those do on each machine."""

    aliases: list[Alias]
    wanted: set[int]
    servings: list[Serving]


class Change(NamedTuple):
    """A transaction that changes one model, and holds the lock of models."""

    session: WriteSession
    editor: ModelEditor
    model: RegisteredModel
    pointing: Pointing


class ModelRegistry:
    """What a project keeps of models; NotFound for what it does not have."""

    def __init__(self, database: Database, clock: Clock, recorder: Recorder) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder

    async def page(self, caller: Caller, limit: int, after: str | None) -> tuple[list[Shown], str | None]:
        """Up to `limit` models by name, and the cursor of the next page, None after the last."""
        async with self._reading(caller) as store:
            found = await store.page(limit + 1, after)
            aliases = await store.aliases(*(model.id for model in found[:limit]))
        shown = [Shown(model, [each for each in aliases if each.model_id == model.id]) for model in found[:limit]]
        return shown, found[limit - 1].name if len(found) > limit else None

    async def get(self, caller: Caller, name: str) -> Shown:
        """One model."""
        async with self._reading(caller) as store:
            model = await live_model(store, name)
            return Shown(model, await store.aliases(model.id))

    async def versions(
        self, caller: Caller, name: str, limit: int, before: int | None
    ) -> tuple[list[Version], Deployed, int | None]:
        """Up to `limit` versions, newest first, how the model is deployed, and the cursor of the next page."""
        async with self._reading(caller) as store:
            model = await live_model(store, name)
            found = await store.versions(model.id, limit + 1, before)
            deployed = await self._deployed(store, model)
        return found[:limit], deployed, found[limit - 1].number if len(found) > limit else None

    async def version(self, caller: Caller, name: str, number: int) -> tuple[Version, Deployed]:
        """One version, and how the model is deployed."""
        async with self._reading(caller) as store:
            model = await live_model(store, name)
            return await live_version(store, model, number), await self._deployed(store, model)

    async def _deployed(self, store: ModelStore, model: RegisteredModel) -> Deployed:
        aliases, newest = await store.aliases(model.id), await store.versions(model.id, 1)
        wanted, _ = wanted_of(
            model, {each.alias: each.version for each in aliases}, newest[0].number if newest else None
        )
        servings = await store.servings(model.id, self._clock.now() - SEEN_SECONDS)
        return Deployed(aliases, wanted, servings)

    async def deployments(
        self, caller: Caller, name: str, limit: int, before: str | None, alias: str | None
    ) -> tuple[list[ModelDeployment], str | None]:
        """Up to `limit` of what aliases were pointed at, newest first; also of a model that was removed."""
        async with self._reading(caller) as store:
            model = found_model(await store.find(name), name)
            found = await store.deployments(model.id, limit + 1, before, alias)
        return found[:limit], found[limit - 1].id if len(found) > limit else None

    async def failing(self, caller: Caller, limit: int) -> list[FailedServing]:
        """Up to `limit` versions of the project's models that some machine cannot serve, the latest first."""
        async with self._reading(caller) as store:
            found = await store.failed_servings(self._clock.now() - SEEN_SECONDS, limit)
            names = await store.names(sorted({each.model_id for each in found})) if found else {}
        return [
            FailedServing(names[each.model_id], each.number, each.machine, each.reason)
            for each in found
            if each.model_id in names
        ]

    async def change(self, caller: Caller, name: str, body: ModelChange) -> Shown:
        """Set its description, or which of its aliases are protected; the latter is for who may approve."""
        values: dict[str, Any] = body.model_dump(exclude_unset=True)
        if "protected" in values:
            authorize(caller, "models:approve")
        async with self._changing(caller, name) as (session, editor, model, _):
            if values:
                await editor.change(registered_models, registered_models.c.id == model.id, values)
                before = {key: getattr(model, key) for key in values}
                await self._tell(session, caller, "model.changed", model, before, values)
            return Shown(msgspec.structs.replace(model, **values), await editor.aliases(model.id))

    async def promote(self, caller: Caller, name: str, number: int, alias: str, reason: str) -> ModelDeployment:
        """Point an alias at a version, or ask for it where the alias is protected."""
        async with self._changing(caller, name) as (_, editor, model, pointing):
            await live_version(editor, model, number)
            return await pointing.promote(model, number, alias, reason)

    async def roll_back(self, caller: Caller, name: str, alias: str, reason: str) -> ModelDeployment:
        """Point an alias at what it pointed at before; Conflict when there is no way back."""
        async with self._changing(caller, name) as (_, editor, model, pointing):
            known = await _pointing(editor, model, alias)
            history = await editor.deployments(model.id, HISTORY, alias=alias)
            gone = await _gone(editor, model, history)
            earlier = way_back([each for each in history if each.state == "done"], gone)
            if earlier is None:
                raise Conflict(f"{alias!r} of {name!r} points at version {known.version} and at no other before")
            return await pointing.roll_back(model, earlier, known, reason)

    async def decide(
        self, caller: Caller, name: str, deployment_id: str, decision: str, *, approved: bool
    ) -> ModelDeployment:
        """Approve what somebody else asked for, or reject it; Denied for one's own wish."""
        async with self._changing(caller, name) as (_, editor, model, pointing):
            waiting = await editor.deployment(model.id, deployment_id)
            if waiting is None:
                raise NotFound(f"{name!r} has no deployment {deployment_id}")
            if waiting.state != "waiting":
                raise Conflict(f"the deployment is {waiting.state}; there is nothing to decide")
            if approved and _is_own(waiting, caller):
                raise Denied("somebody else has to approve what you asked for")
            if approved and waiting.version is not None:
                await live_version(editor, model, waiting.version)
            return await pointing.decide(model, waiting, decision, approved=approved)

    async def take_away(self, caller: Caller, name: str, alias: str, reason: str) -> ModelDeployment:
        """Let an alias point nowhere; Denied for a protected one."""
        async with self._changing(caller, name) as (_, editor, model, pointing):
            known = await _pointing(editor, model, alias)
            if alias in model.protected:
                raise Denied(f"{alias!r} is protected; change that first")
            return await pointing.take_away(model, known, reason)

    async def remove_version(self, caller: Caller, name: str, number: int) -> Version:
        """Take a version away; Conflict while an alias points at it."""
        async with self._changing(caller, name) as (session, editor, model, pointing):
            version = await live_version(editor, model, number)
            for alias in await editor.aliases(model.id):
                if alias.version == number:
                    raise Conflict(f"{alias.alias!r} of {name!r} points at version {number}; promote another first")
            await pointing.supersede(model, version=number)
            where = and_(model_versions.c.model_id == model.id, model_versions.c.number == number)
            await editor.change(model_versions, where, {"removed_at": self._clock.now()})
            subject = {"model": name, "version": number, "artifact": version.artifact}
            await self._tell(session, caller, "model_version.removed", model, subject, None)
            return version

    async def remove(self, caller: Caller, name: str) -> list[Version]:
        """Take a model away with its versions, aliases and imports; its history stays. What its versions were."""
        now = self._clock.now()
        async with self._changing(caller, name) as (session, editor, model, pointing):
            aliases = await editor.aliases(model.id)
            if any(alias.alias in model.protected for alias in aliases):
                raise Denied(f"{name!r} has a protected alias that points at a version; change that first")
            versions = await editor.versions(model.id, _ALL_VERSIONS)
            for alias in aliases:
                await pointing.take_away(model, alias, "the model was removed")
            await pointing.supersede(model)
            await editor.change(model_versions, _live(model.id), {"removed_at": now})
            over = {"state": "cancelled", "finished_at": now}
            columns = model_imports.c
            await editor.change(model_imports, and_(columns.model_id == model.id, columns.state.in_(LIVE)), over)
            await editor.remove(model_watches, model_watches.c.model_id == model.id)
            await editor.change(registered_models, registered_models.c.id == model.id, {"removed_at": now})
            before = {"model": name, "versions": [version.number for version in versions]}
            await self._tell(session, caller, "model.removed", model, before, None)
            return versions

    @asynccontextmanager
    async def _reading(self, caller: Caller) -> AsyncGenerator[ModelStore]:
        scope = scope_of(caller)
        async with self._database.read(scope) as session:
            yield ModelStore(session, scope)

    @asynccontextmanager
    async def _changing(self, caller: Caller, name: str) -> AsyncGenerator[Change]:
        scope = scope_of(caller)
        async with self._database.write(scope) as session:
            editor = ModelEditor(session, scope)
            await editor.lock()
            model = await live_model(editor, name)
            yield Change(session, editor, model, Pointing(session, editor, self._clock, self._recorder, caller))

    async def _tell(
        self,
        session: WriteSession,
        caller: Caller,
        action: str,
        model: RegisteredModel,
        before: dict[str, Any] | None,
        after: dict[str, Any] | None,
    ) -> None:
        subject = Subject("model", model.id, model.organization_id, model.project_id)
        await self._recorder.changed(session, caller, "models", action, subject, before, after)


def scope_of(caller: Caller) -> Scope:
    """Whose models a caller has to do with."""
    return Scope(caller.organization_id, caller.project_id)


def found_model(model: RegisteredModel | None, name: str) -> RegisteredModel:
    """The model itself; NotFound when there is none of this name."""
    if model is None:
        raise NotFound(f"there is no model {name!r} in the registry of this project", param="name")
    return model


async def live_model(store: ModelStore, name: str) -> RegisteredModel:
    """A model that was not removed."""
    model = await store.find(name)
    return found_model(None if model is None or model.removed_at is not None else model, name)


async def live_version(store: ModelStore, model: RegisteredModel, number: int) -> Version:
    """A version that was not removed."""
    version = await store.version(model.id, number)
    if version is None or version.removed_at is not None:
        raise NotFound(f"the model {model.name!r} has no version {number}", param="version")
    return version


async def _pointing(editor: ModelEditor, model: RegisteredModel, alias: str) -> Alias:
    known = await editor.alias(model.id, alias)
    if known is None:
        raise NotFound(f"the model {model.name!r} has no alias {alias!r}", param="alias")
    return known


async def _gone(editor: ModelEditor, model: RegisteredModel, history: Sequence[ModelDeployment]) -> set[int]:
    """The versions in a history that were removed."""
    numbers = {each.version for each in history if each.version is not None}
    return numbers - await editor.live_numbers(model.id, sorted(numbers))


def _is_own(waiting: ModelDeployment, caller: Caller) -> bool:
    """Whether a caller asked for it, with this or with another of their keys."""
    same_user = caller.user_id is not None and caller.user_id == waiting.requested_user
    return same_user or caller.key_id == waiting.requested_by


def _live(model_id: str) -> Any:
    return and_(model_versions.c.model_id == model_id, model_versions.c.removed_at.is_(None))
