"""Routes of the models that our own model host computes."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query

from polyforge.gateway.hosting.schemas import HostedModelPage, HostedModelView, HostedState
from polyforge.gateway.hosting.service import HostedService
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.permission import Permission

MAX_PAGE: Final = 1_000

Reader = Annotated[Caller, Depends(Permission("models:read"))]
Operator = Annotated[Caller, Depends(Permission("models:operate"))]


def router(hosted: HostedService) -> APIRouter:
    """The routes under /api/v1/hosted-models."""
    routes = APIRouter(prefix="/api/v1/hosted-models", tags=["hosted models"])

    @routes.get("")
    async def list_hosted_models(
        caller: Reader,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
        cursor: Annotated[str | None, Query(max_length=200)] = None,
        state: Annotated[HostedState | None, Query(description="Only models in this state.")] = None,
        search: Annotated[str, Query(max_length=200, description="Only models whose names hold this.")] = "",
    ) -> HostedModelPage:
        """What the model host has, of the models that the caller may use, by name. 503 while no host answers."""
        page, following = await hosted.page(caller, limit, cursor, state, search)
        return HostedModelPage(data=page, next_cursor=following)

    @routes.post("/{name:path}/load")
    async def load_hosted_model(caller: Operator, name: str) -> HostedModelView:
        """Load a model, or load it anew from its folder; what answered before does so until the new one can.

        Registered models have versions to promote instead: they are 404 here.
        """
        return await hosted.change(caller, name, "load")

    @routes.post("/{name:path}/unload")
    async def unload_hosted_model(caller: Operator, name: str) -> HostedModelView:
        """Take no more requests for a model, answer those that it has, and let go of it."""
        return await hosted.change(caller, name, "unload")

    @routes.get("/{name:path}")
    async def get_hosted_model(caller: Reader, name: str) -> HostedModelView:
        """One of them, with every version, its memory, its queue, and its batch and latency figures."""
        return await hosted.get(caller, name)

    return routes
