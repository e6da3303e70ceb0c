"""The management API: FastAPI routers of the rooms under /api, with the house's errors."""

from collections.abc import Sequence
from typing import Any, cast

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from polyforge import __version__
from polyforge.kernel.errors import Invalid, MethodNotAllowed, NotFound, PolyforgeError
from polyforge.server.declared import declare_needs
from polyforge.server.described import DescribedApi
from polyforge.server.errors import renderer_for

DESCRIPTION = "One gateway, one set of keys, and behind it every model a team runs."


def build_management(routers: Sequence[APIRouter]) -> FastAPI:
    """The application for everything under /api."""
    app = DescribedApi(
        title="Polyforge",
        version=__version__,
        description=DESCRIPTION,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        strict_content_type=False,
    )
    for router in routers:
        app.include_router(router)
    declare_needs(app)
    app.add_exception_handler(PolyforgeError, _render)
    app.add_exception_handler(RequestValidationError, _render_validation)
    app.add_exception_handler(HTTPException, _render_http)
    return app


async def _render(request: Request, error: Exception) -> Response:
    rendered = renderer_for(request.url.path)(cast(PolyforgeError, error), request.state.request_id)
    response = Response(rendered.body, rendered.status)
    for name, value in rendered.headers:
        response.headers[name.decode()] = value.decode()
    return response


async def _render_validation(request: Request, error: Exception) -> Response:
    problem: dict[str, Any] = cast(RequestValidationError, error).errors()[0]
    where = [str(part) for part in problem["loc"] if part not in ("body", "query", "path")]
    field = ".".join(where)
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = "there is no such field"
    return await _render(request, Invalid(f"{field}: {message}" if field else message, param=field or None))


async def _render_http(request: Request, error: Exception) -> Response:
    """What the framework itself refuses: unknown paths, wrong verbs, bodies that are no JSON."""
    status = cast(HTTPException, error).status_code
    if status == 405:  # noqa: PLR2004
        allowed = (cast(HTTPException, error).headers or {}).get("Allow", "")
        return await _render(request, MethodNotAllowed(f"{request.url.path[:200]} takes {allowed}", allowed=allowed))
    if status == 404:  # noqa: PLR2004
        return await _render(request, NotFound(f"there is nothing at {request.url.path[:200]}"))
    return await _render(request, Invalid(str(cast(HTTPException, error).detail)))
