"""Routes of configurations."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query

from polyforge.kernel.clock import utc
from polyforge.operations.configuration.content import sections_of
from polyforge.operations.configuration.schemas import (
    LAST_VERSION,
    MAX_PAGE,
    ConfigurationContent,
    ConfigurationPage,
    ConfigurationView,
)
from polyforge.operations.configuration.service import ConfigurationService, Known
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.permission import Permission

Reader = Annotated[Caller, Depends(Permission("settings:read"))]
Editor = Annotated[Caller, Depends(Permission("settings:write"))]
Version = Annotated[int, Path(ge=1, le=LAST_VERSION)]


def router(configurations: ConfigurationService) -> APIRouter:
    """The routes under /api/v1 for configurations."""
    routes = APIRouter(prefix="/api/v1")

    @routes.get("/configurations", tags=["configurations"])
    async def list_configurations(
        caller: Reader,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
        cursor: Annotated[int | None, Query(ge=1, le=LAST_VERSION)] = None,
    ) -> ConfigurationPage:
        """What was declared, newest first, refused versions too."""
        page, following = await configurations.page(limit, cursor)
        return ConfigurationPage(
            data=[ConfigurationView(**_facts(known)) for known in page],
            running=configurations.running,
            next_cursor=None if following is None else str(following),
        )

    @routes.get("/configurations/{version}", tags=["configurations"])
    async def get_configuration(caller: Reader, version: Version) -> ConfigurationContent:
        """One version with what it declares."""
        known, sections = await configurations.get(version)
        return ConfigurationContent(**_facts(known), **sections_of(sections))

    @routes.post("/configurations/{version}/rollback", status_code=201, tags=["configurations"])
    async def roll_back_configuration(caller: Editor, version: Version) -> ConfigurationView:
        """Return to an earlier version; within a second every worker of every machine runs it."""
        return ConfigurationView(**_facts(await configurations.roll_back(caller, version)))

    return routes


def _facts(known: Known) -> dict[str, Any]:
    row = known.facts
    return {
        "version": row.version,
        "source": row.source,
        "of_version": row.of_version,
        "accepted": row.accepted,
        "reason": row.reason,
        "active": known.active,
        "restorable": row.accepted and not known.masked,
        "needs_restart": row.needs_restart,
        "created_at": utc(row.created_at),
        "created_by": row.created_by,
        "host": row.host,
    }
