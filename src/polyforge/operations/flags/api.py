"""Routes of flags."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response

from polyforge.kernel.clock import utc
from polyforge.kernel.errors import Invalid
from polyforge.operations.flags.flags import setting_of
from polyforge.operations.flags.schemas import (
    LAST_VERSION,
    MAX_PAGE,
    FlagBody,
    FlagHistory,
    FlagName,
    FlagPage,
    FlagReturn,
    FlagVersion,
    FlagView,
)
from polyforge.operations.flags.service import FlagService
from polyforge.operations.flags.store import FlagRow
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.permission import Permission

Reader = Annotated[Caller, Depends(Permission("settings:read"))]
Editor = Annotated[Caller, Depends(Permission("settings:write"))]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
IfMatch = Annotated[
    str | None, Header(max_length=30, description="The version that this is based on, as ETag gave it; 409 otherwise.")
]


def router(flags: FlagService) -> APIRouter:
    """The routes under /api/v1 for flags."""
    routes = APIRouter(prefix="/api/v1")
    _add_reading(routes, flags)
    _add_changing(routes, flags)
    return routes


def _add_reading(routes: APIRouter, flags: FlagService) -> None:
    @routes.get("/flags", tags=["flags"])
    async def list_flags(
        caller: Reader, limit: Limit = 100, cursor: Annotated[FlagName | None, Query()] = None
    ) -> FlagPage:
        """All flags, by name."""
        page, following = await flags.page(limit, cursor)
        return FlagPage(data=[_view(row) for row in page], next_cursor=following)

    @routes.get("/flags/{name}", tags=["flags"])
    async def get_flag(caller: Reader, name: FlagName, response: Response) -> FlagView:
        """One flag."""
        return _tagged(await flags.get(name), response)

    @routes.get("/flags/{name}/history", tags=["flags"])
    async def list_flag_versions(
        caller: Reader,
        name: FlagName,
        limit: Limit = 100,
        cursor: Annotated[int | None, Query(ge=1, le=LAST_VERSION)] = None,
    ) -> FlagHistory:
        """What a flag was set to, newest first."""
        page, following = await flags.history(name, limit, cursor)
        cursor_text = None if following is None else str(following)
        return FlagHistory(data=[_version(row) for row in page], next_cursor=cursor_text)


def _add_changing(routes: APIRouter, flags: FlagService) -> None:
    @routes.put("/flags/{name}", tags=["flags"])
    async def set_flag(
        caller: Editor, name: FlagName, body: FlagBody, response: Response, if_match: IfMatch = None
    ) -> FlagView:
        """Set a flag, or make it; within a second every process goes by it."""
        based_on = body.version if if_match is None else _parse_tag(if_match)
        return _tagged(await flags.set(caller, name, body, based_on), response)

    @routes.delete("/flags/{name}", status_code=204, tags=["flags"])
    async def remove_flag(caller: Editor, name: FlagName, if_match: IfMatch = None) -> Response:
        """Take a flag away, which turns it off; its history stays."""
        await flags.remove(caller, name, None if if_match is None else _parse_tag(if_match))
        return Response(status_code=204)

    @routes.post("/flags/{name}/rollback", tags=["flags"])
    async def roll_back_flag(
        caller: Editor, name: FlagName, body: FlagReturn, response: Response, if_match: IfMatch = None
    ) -> FlagView:
        """Set a flag to what it was at an earlier version."""
        based_on = None if if_match is None else _parse_tag(if_match)
        return _tagged(await flags.roll_back(caller, name, body.version, based_on), response)


def _parse_tag(text: str) -> int:
    digits = text.removeprefix("W/").strip('"')
    if not (digits.isascii() and digits.isdigit() and int(digits) <= LAST_VERSION):
        raise Invalid("is not the ETag of a flag", param="if-match")
    return int(digits)


def _tagged(row: FlagRow, response: Response) -> FlagView:
    response.headers["etag"] = f'"{row.version}"'
    return _view(row)


def _view(row: FlagRow) -> FlagView:
    setting = setting_of(row.value)
    return FlagView(
        name=row.name,
        enabled=setting.enabled,
        projects=None if setting.projects is None else list(setting.projects),
        share=setting.share,
        version=row.version,
        changed_at=utc(row.changed_at),
        changed_by=row.changed_by,
    )


def _version(row: FlagRow) -> FlagVersion:
    setting = None if row.value is None else setting_of(row.value)
    return FlagVersion(
        version=row.version,
        removed=setting is None,
        enabled=setting.enabled if setting else None,
        projects=list(setting.projects) if setting and setting.projects is not None else None,
        share=setting.share if setting else None,
        changed_at=utc(row.changed_at),
        changed_by=row.changed_by,
    )
