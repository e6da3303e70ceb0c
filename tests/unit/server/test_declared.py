"""A route that forgets to say who may call it does not come up."""

from typing import Annotated

import pytest
from fastapi import APIRouter, Depends

from polyforge.server.declared import declare_needs
from polyforge.server.management import build_management
from polyforge.tenancy.callers import Caller, Origin
from polyforge.tenancy.permission import Open, Permission, SignedIn

Reader = Annotated[Caller, Depends(Permission("keys:read"))]
Writer = Annotated[Caller, Depends(Permission("keys:write"))]
Anybody = Annotated[Caller, Depends(SignedIn())]
Stranger = Annotated[Origin, Depends(Open())]


def test_a_route_says_what_it_needs() -> None:
    routes = APIRouter(prefix="/api/v1")

    @routes.get("/things")
    async def things(caller: Reader) -> str:
        return caller.key_id

    @routes.get("/me")
    async def me(caller: Anybody) -> str:
        return caller.key_id

    @routes.post("/auth/sign-in")
    async def sign_in(origin: Stranger) -> str:
        return origin.address

    app = build_management([routes])
    declare_needs(app)
    paths = app.openapi()["paths"]
    assert paths["/api/v1/things"]["get"]["x-permission"] == "keys:read"
    assert "x-permission" not in paths["/api/v1/me"]["get"]


def test_a_route_without_a_need_is_refused() -> None:
    routes = APIRouter(prefix="/api/v1")

    @routes.get("/things")
    async def things() -> str:
        return "for everybody"

    with pytest.raises(RuntimeError, match="/api/v1/things declares 0 needs"):
        build_management([routes])


def test_a_route_with_two_needs_is_refused() -> None:
    routes = APIRouter(prefix="/api/v1")

    @routes.get("/things")
    async def things(reader: Reader, writer: Writer) -> str:
        return reader.key_id + writer.key_id

    with pytest.raises(RuntimeError, match="declares 2 needs"):
        build_management([routes])


def test_open_routes_lie_in_one_place() -> None:
    outside, inside = APIRouter(prefix="/api/v1"), APIRouter(prefix="/api/v1/auth")

    @outside.get("/things")
    async def things(origin: Stranger) -> str:
        return origin.address

    @inside.get("/me")
    async def me(caller: Anybody) -> str:
        return caller.key_id

    for routes in (outside, inside):
        with pytest.raises(RuntimeError, match="open routes lie under"):
            build_management([routes])
