"""Routes of registered models: added from a source, listed, promoted, rolled back, approved, watched, removed."""

from collections.abc import Callable
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Path, Query, Response

from polyforge.kernel.clock import utc
from polyforge.registry.deployments.records import Serving, summed_up
from polyforge.registry.versions.imports import Imports
from polyforge.registry.versions.records import Alias, ModelDeployment, ModelImport, Version, Watch
from polyforge.registry.versions.schemas import (
    LAST_VERSION,
    MAX_PAGE,
    AliasName,
    AliasView,
    Decision,
    DeploymentPage,
    DeploymentRecord,
    ImportPage,
    ImportView,
    ModelChange,
    ModelName,
    NewVersion,
    NewWatch,
    Promotion,
    RegisteredModelPage,
    RegisteredModelView,
    Rollback,
    ServingView,
    VersionPage,
    VersionView,
    WatchView,
)
from polyforge.registry.versions.service import Deployed, ModelRegistry, Shown
from polyforge.tenancy.callers import Caller, CallerKind
from polyforge.tenancy.permission import Permission

Reader = Annotated[Caller, Depends(Permission("models:read"))]
Editor = Annotated[Caller, Depends(Permission("models:write"))]
Approver = Annotated[Caller, Depends(Permission("models:approve"))]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Cursor = Annotated[str | None, Query(max_length=128)]
Number = Annotated[int, Path(ge=1, le=LAST_VERSION)]
Id = Annotated[str, Path(max_length=26)]
ACCEPTED = 202


def router(registry: ModelRegistry, imports: Imports, wake: Callable[[], None]) -> APIRouter:
    """The routes under /api/v1/models for what the project itself keeps; `wake` tells the workers of new imports.

    To be included before those of the catalogue, whose models may have slashes in their names.
    """
    routes = APIRouter(prefix="/api/v1/models", tags=["registry"])
    _add_imports(routes, imports, wake)
    _add_watching(routes, imports, wake)
    _add_reading(routes, registry)
    _add_promoting(routes, registry)
    _add_changing(routes, registry)
    return routes


def _add_imports(routes: APIRouter, imports: Imports, wake: Callable[[], None]) -> None:
    @routes.post("", status_code=ACCEPTED)
    async def add_model_version(caller: Editor, body: NewVersion) -> ImportView:
        """Make a new version of a model, or the model's first; its source is fetched in the background."""
        model, wanted = await imports.create(caller, body)
        wake()
        return _import(model.name, wanted)

    @routes.get("/{name}/imports")
    async def list_model_imports(
        caller: Reader, name: ModelName, limit: Limit = 100, cursor: Cursor = None
    ) -> ImportPage:
        """What was asked for, newest first."""
        page, following = await imports.page(caller, name, limit, cursor)
        return ImportPage(data=[_import(name, each) for each in page], next_cursor=following)

    @routes.get("/{name}/imports/{import_id}")
    async def get_model_import(caller: Reader, name: ModelName, import_id: Id) -> ImportView:
        """How far the making of a version is."""
        return _import(name, await imports.get(caller, name, import_id))

    @routes.post("/{name}/imports/{import_id}/cancel")
    async def cancel_model_import(caller: Editor, name: ModelName, import_id: Id) -> ImportView:
        """Make no version of it."""
        return _import(name, await imports.cancel(caller, name, import_id))


def _add_watching(routes: APIRouter, imports: Imports, wake: Callable[[], None]) -> None:
    @routes.get("/{name}/watch")
    async def get_model_watch(caller: Reader, name: ModelName) -> WatchView:
        """The source that is looked at again and again for new versions."""
        return _watch(await imports.watched(caller, name))

    @routes.put("/{name}/watch")
    async def set_model_watch(caller: Editor, name: ModelName, body: NewWatch) -> WatchView:
        """Look at a source again and again, and make a version of what is new there."""
        watch = await imports.watch(caller, name, body)
        wake()
        return _watch(watch)

    @routes.delete("/{name}/watch", status_code=204)
    async def remove_model_watch(caller: Editor, name: ModelName) -> Response:
        """Look no more; versions that were made stay."""
        await imports.unwatch(caller, name)
        return Response(status_code=204)


def _add_reading(routes: APIRouter, registry: ModelRegistry) -> None:
    @routes.get("/registered")
    async def list_registered_models(caller: Reader, limit: Limit = 100, cursor: Cursor = None) -> RegisteredModelPage:
        """The models that the project keeps, by name."""
        page, following = await registry.page(caller, limit, cursor)
        return RegisteredModelPage(data=[_model(each) for each in page], next_cursor=following)

    @routes.get("/{name}/versions")
    async def list_model_versions(
        caller: Reader,
        name: ModelName,
        limit: Limit = 100,
        cursor: Annotated[int | None, Query(ge=1, le=LAST_VERSION)] = None,
    ) -> VersionPage:
        """Versions of a model, newest first."""
        page, deployed, following = await registry.versions(caller, name, limit, cursor)
        cursor_text = None if following is None else str(following)
        return VersionPage(data=[_version(each, deployed) for each in page], next_cursor=cursor_text)

    @routes.get("/{name}/versions/{number}")
    async def get_model_version(caller: Reader, name: ModelName, number: Number) -> VersionView:
        """One version."""
        return _version(*await registry.version(caller, name, number))

    @routes.get("/{name}/deployments")
    async def list_model_deployments(
        caller: Reader, name: ModelName, limit: Limit = 100, cursor: Cursor = None, alias: AliasName | None = None
    ) -> DeploymentPage:
        """What aliases were pointed at, by whom and why, and who approved it, newest first."""
        page, following = await registry.deployments(caller, name, limit, cursor, alias)
        return DeploymentPage(data=[_deployment(each) for each in page], next_cursor=following)


def _add_promoting(routes: APIRouter, registry: ModelRegistry) -> None:
    @routes.post("/{name}/promote")
    async def promote_model(caller: Editor, name: ModelName, body: Promotion) -> DeploymentRecord:
        """Point an alias at a version; a protected alias waits for somebody else's approval."""
        return _deployment(await registry.promote(caller, name, body.version, body.alias, body.reason))

    @routes.post("/{name}/rollback")
    async def roll_back_model(caller: Editor, name: ModelName, body: Rollback) -> DeploymentRecord:
        """Point an alias at the version that it pointed at before."""
        return _deployment(await registry.roll_back(caller, name, body.alias, body.reason))

    @routes.post("/{name}/deployments/{deployment_id}/approve")
    async def approve_model_deployment(
        caller: Approver, name: ModelName, deployment_id: Id, body: Decision
    ) -> DeploymentRecord:
        """Let happen what somebody else asked for."""
        return _deployment(await registry.decide(caller, name, deployment_id, body.reason, approved=True))

    @routes.post("/{name}/deployments/{deployment_id}/reject")
    async def reject_model_deployment(
        caller: Approver, name: ModelName, deployment_id: Id, body: Decision
    ) -> DeploymentRecord:
        """Let it not happen."""
        return _deployment(await registry.decide(caller, name, deployment_id, body.reason, approved=False))


def _add_changing(routes: APIRouter, registry: ModelRegistry) -> None:
    @routes.get("/{name}/registration")
    async def get_registered_model(caller: Reader, name: ModelName) -> RegisteredModelView:
        """One model that the project keeps."""
        return _model(await registry.get(caller, name))

    @routes.patch("/{name}/registration")
    async def change_registered_model(caller: Editor, name: ModelName, body: ModelChange) -> RegisteredModelView:
        """Set its description, or which of its aliases need approval to move."""
        return _model(await registry.change(caller, name, body))

    @routes.delete("/{name}/aliases/{alias}")
    async def remove_model_alias(
        caller: Editor, name: ModelName, alias: AliasName, reason: Annotated[str, Query(max_length=2_000)] = ""
    ) -> DeploymentRecord:
        """Let an alias point nowhere."""
        return _deployment(await registry.take_away(caller, name, alias, reason))

    @routes.delete("/{name}/versions/{number}", status_code=204)
    async def remove_model_version(caller: Editor, name: ModelName, number: Number) -> Response:
        """Take a version away that no alias points at; its number is never given again."""
        await registry.remove_version(caller, name, number)
        return Response(status_code=204)

    @routes.delete("/{name}", status_code=204)
    async def remove_model(caller: Editor, name: ModelName) -> Response:
        """Take a model away with all its versions; its history stays."""
        await registry.remove(caller, name)
        return Response(status_code=204)


def _model(shown: Shown) -> RegisteredModelView:
    model = shown.model
    return RegisteredModelView(
        id=model.id,
        name=model.name,
        description=model.description,
        protected=model.protected,
        last_version=model.last_version,
        aliases=[_alias(each) for each in shown.aliases],
        created_at=utc(model.created_at),
        created_by=model.created_by,
    )


def _alias(alias: Alias) -> AliasView:
    return AliasView(
        alias=alias.alias, version=alias.version, changed_at=utc(alias.changed_at), changed_by=alias.changed_by
    )


def _version(version: Version, deployed: Deployed) -> VersionView:
    servings = [each for each in deployed.servings if each.number == version.number]
    return VersionView(
        number=version.number,
        artifact=version.artifact,
        bytes=version.bytes,
        files=version.files,
        source=version.source,
        pinned=version.pinned,
        revision=version.revision,
        configuration=dict(version.configuration),
        signature=None if version.signature is None else dict(version.signature),
        card=dict(version.card),
        metrics=dict(version.metrics),
        tuning=dict(version.tuning or {}),
        aliases=[each.alias for each in deployed.aliases if each.version == version.number],
        state=summed_up([each.state for each in servings], wanted=version.number in deployed.wanted),
        deployments=[_serving(each) for each in servings],
        created_at=utc(version.created_at),
        created_by=version.created_by,
    )


def _serving(serving: Serving) -> ServingView:
    return ServingView(
        machine=serving.machine,
        state=serving.state,
        reason=serving.reason,
        since=utc(serving.changed_at),
    )


def _deployment(change: ModelDeployment) -> DeploymentRecord:
    return DeploymentRecord(
        id=change.id,
        alias=change.alias,
        version=change.version,
        previous=change.previous,
        action=change.action,
        state=change.state,
        reason=change.reason,
        requested_by=change.requested_by,
        requested_at=utc(change.requested_at),
        decided_by=change.decided_by,
        decided_at=None if change.decided_at is None else utc(change.decided_at),
        decision=change.decision,
    )


def _import(name: str, wanted: ModelImport) -> ImportView:
    return ImportView(
        id=wanted.id,
        model=name,
        source=wanted.source,
        state=wanted.state,
        step=wanted.step,
        bytes_done=wanted.bytes_done,
        bytes_total=wanted.bytes_total,
        error=wanted.error,
        version=wanted.version,
        requested_by=wanted.requested_by,
        requested_kind=cast(CallerKind, wanted.requested_kind),
        created_at=utc(wanted.created_at),
        finished_at=None if wanted.finished_at is None else utc(wanted.finished_at),
    )


def _watch(watch: Watch) -> WatchView:
    return WatchView(
        source=watch.source,
        include=watch.include,
        every_seconds=watch.every_seconds,
        promote_to=watch.promote_to,
        revision=watch.revision,
        error=watch.error,
        due_at=utc(watch.due_at),
    )
