"""Routes of providers, and of models that are added beside those of the file."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from polyforge.kernel.clock import utc
from polyforge.operations.additions.keeping import Shown
from polyforge.operations.additions.models import AddedModels
from polyforge.operations.additions.providers import AddedProviders
from polyforge.operations.additions.schemas import (
    AddedModelName,
    DeclarationList,
    DeclarationView,
    KnownProviderTest,
    NewDeclaration,
    NewProvider,
    ProviderBody,
    ProviderKindList,
    ProviderKindView,
    ProviderList,
    ProviderName,
    ProviderTest,
    ProviderView,
    TestError,
    TestResult,
)
from polyforge.operations.additions.trying import Tried, Trying
from polyforge.operations.additions.workshop import ProviderKind
from polyforge.registry.settings import ModelSettings
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.permission import Permission

Reader = Annotated[Caller, Depends(Permission("settings:read"))]
Editor = Annotated[Caller, Depends(Permission("settings:write"))]
CREATED = 201


def router(providers: AddedProviders, models: AddedModels, trying: Trying) -> APIRouter:
    """The routes under /api/v1/providers, and those of declarations under /api/v1/models.

    To be included before those of the catalogue, whose models may have slashes in their names.
    """
    routes = APIRouter(prefix="/api/v1")
    _add_reading(routes, providers)
    _add_trying(routes, trying)
    _add_changing(routes, providers)
    _add_models(routes, models)
    return routes


def _add_reading(routes: APIRouter, providers: AddedProviders) -> None:
    @routes.get("/provider-kinds", tags=["providers"])
    async def list_provider_kinds(caller: Reader) -> ProviderKindList:
        """Every kind of provider, with the JSON schema of its settings."""
        return ProviderKindList(data=[_kind(kind) for kind in await providers.kinds()])

    @routes.get("/providers", tags=["providers"])
    async def list_providers(caller: Reader) -> ProviderList:
        """Every provider by name: those of polyforge.yaml, and those that were added here."""
        users = await providers.users()
        return ProviderList(data=[_provider(shown, users) for shown in await providers.all()])

    @routes.get("/providers/{name}", tags=["providers"])
    async def get_provider(caller: Reader, name: ProviderName) -> ProviderView:
        """One provider."""
        return _provider(await providers.get(name), await providers.users())


def _add_trying(routes: APIRouter, trying: Trying) -> None:
    @routes.post("/providers/test", tags=["providers"])
    async def test_provider(caller: Editor, body: ProviderTest) -> TestResult:
        """Try a provider with one real call before it is added; up to 15 seconds. Nothing is kept."""
        return _result(await trying.new(body.use, body.settings, body.model))

    @routes.post("/providers/{name}/test", tags=["providers"])
    async def test_known_provider(caller: Editor, name: ProviderName, body: KnownProviderTest) -> TestResult:
        """Try a provider that is in force, as it is."""
        return _result(await trying.known(name, body.model))


def _add_changing(routes: APIRouter, providers: AddedProviders) -> None:
    @routes.post("/providers", status_code=CREATED, tags=["providers"])
    async def add_provider(caller: Editor, body: NewProvider) -> ProviderView:
        """Add a provider; within seconds every worker has it. Its key is kept as a secret and never shown again."""
        return _provider(await providers.add(caller, body), {})

    @routes.put("/providers/{name}", tags=["providers"])
    async def change_provider(caller: Editor, name: ProviderName, body: ProviderBody) -> ProviderView:
        """Make an added provider what the body says, all of it; a secret that stays is given as its `secret:name`."""
        return _provider(await providers.change(caller, name, body), await providers.users())

    @routes.delete("/providers/{name}", status_code=204, tags=["providers"])
    async def remove_provider(caller: Editor, name: ProviderName) -> Response:
        """Take an added provider away, with its keys; refused while models use it."""
        await providers.remove(caller, name)
        return Response(status_code=204)


def _add_models(routes: APIRouter, models: AddedModels) -> None:
    @routes.get("/models/declarations", tags=["models"])
    async def list_model_declarations(caller: Reader) -> DeclarationList:
        """Every declared model by name: those of polyforge.yaml, and those that were added here."""
        return DeclarationList(data=[_declaration(shown) for shown in await models.all()])

    @routes.post("/models/declarations", status_code=CREATED, tags=["models"])
    async def add_model_declaration(caller: Editor, body: NewDeclaration) -> DeclarationView:
        """Add a model for everybody; within seconds every worker answers to its name."""
        return _declaration(await models.add(caller, body))

    @routes.get("/models/{name:path}/declaration", tags=["models"])
    async def get_model_declaration(caller: Reader, name: AddedModelName) -> DeclarationView:
        """How a model was declared."""
        return _declaration(await models.get(name))

    @routes.put("/models/{name:path}/declaration", tags=["models"])
    async def change_model_declaration(caller: Editor, name: AddedModelName, body: ModelSettings) -> DeclarationView:
        """Make an added model what the body says, all of it."""
        return _declaration(await models.change(caller, name, body))

    @routes.delete("/models/{name:path}/declaration", status_code=204, tags=["models"])
    async def remove_model_declaration(caller: Editor, name: AddedModelName) -> Response:
        """Take an added model away; requests under way are finished."""
        await models.remove(caller, name)
        return Response(status_code=204)


def _kind(kind: ProviderKind) -> ProviderKindView:
    return ProviderKindView(
        name=kind.name,
        label=kind.label,
        description=kind.description,
        settings=dict(kind.settings),
        secrets=list(kind.secrets),
        error=kind.error,
    )


def _provider(shown: Shown, users: dict[str, list[str]]) -> ProviderView:
    settings = {name: value for name, value in shown.content.items() if name != "use"}
    models = users.get(shown.name, [])
    return ProviderView(**_facts(shown), use=shown.content["use"], settings=settings, models=models)


def _declaration(shown: Shown) -> DeclarationView:
    return DeclarationView(**_facts(shown), settings=shown.content)


def _facts(shown: Shown) -> dict[str, Any]:
    row = shown.row
    return {
        "name": shown.name,
        "declared_in": "file" if row is None else "api",
        "error": shown.error,
        "created_at": None if row is None else utc(row.created_at),
        "created_by": None if row is None else row.created_by,
        "changed_at": None if row is None else utc(row.changed_at),
        "changed_by": None if row is None else row.changed_by,
    }


def _result(tried: Tried) -> TestResult:
    error = None
    if tried.error is not None:
        error = TestError(code=tried.error.code, message=tried.message, hint=tried.hint)
    milliseconds = round(tried.seconds * 1_000, 1)
    return TestResult(ok=error is None, latency_ms=milliseconds, models=tried.models, error=error)
