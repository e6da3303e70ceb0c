"""No route without a declared need: checked when the application is built, so that none is ever served by mistake."""

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from polyforge.tenancy.permission import Open, Permission, SignedIn

OPEN_PREFIX: Final = "/api/v1/auth/"
Need = Permission | SignedIn | Open


def declare_needs(app: FastAPI) -> None:
    """Write each route's need into its OpenAPI description; RuntimeError for a route that does not declare exactly one.

    Open routes lie under /api/v1/auth/, and only they do: the server lets requests to that prefix in without a caller.
    """
    for route in api_routes(app):
        needs = list(_needs(route.dependant))
        if len(needs) != 1:
            raise RuntimeError(f"{route.path} declares {len(needs)} needs instead of one permission")
        need = needs[0]
        if isinstance(need, Open) != route.path.startswith(OPEN_PREFIX):
            raise RuntimeError(f"{route.path}: open routes lie under {OPEN_PREFIX}, and only they do")
        if isinstance(need, Permission):
            route.openapi_extra = {**(route.openapi_extra or {}), "x-permission": need.name}


def api_routes(app: FastAPI) -> Iterator[APIRoute]:
    """Every route of the application, those of included routers too."""
    pending: list[Any] = list(app.routes)
    while pending:
        route = pending.pop()
        if isinstance(route, APIRoute):
            yield route
        pending.extend(getattr(getattr(route, "original_router", route), "routes", []))


def _needs(dependant: Dependant) -> Iterator[Need]:
    for dependency in dependant.dependencies:
        if isinstance(dependency.call, Permission | SignedIn | Open):
            yield dependency.call
        yield from _needs(dependency)
