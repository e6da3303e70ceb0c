"""Routes of the overview."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header

from polyforge.operations.overview.schemas import Overview
from polyforge.operations.overview.service import OverviewService
from polyforge.operations.overview.streams import OverviewStreams
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.frames import StreamFrames
from polyforge.tenancy.permission import Permission

Reader = Annotated[Caller, Depends(Permission("models:read"))]
LastId = Annotated[
    str | None, Header(max_length=100, description="As browsers send it when they resume; the stream begins anew.")
]


def router(overview: OverviewService, streams: OverviewStreams) -> APIRouter:
    """The routes under /api/v1/overview."""
    routes = APIRouter(prefix="/api/v1/overview", tags=["overview"])

    @routes.get("")
    async def get_overview(caller: Reader) -> Overview:
        """How everything does now: components, traffic, spending, and what needs attention, as the caller may know.

        It is at most two seconds old.
        """
        return await overview.look(caller)

    @routes.get("/stream", status_code=200, response_class=StreamFrames)
    async def follow_overview(caller: Reader, last_event_id: LastId = None) -> StreamFrames:
        """The same as server-sent events: an event `overview` at once and whenever it changed, else comments."""
        del last_event_id
        return StreamFrames(streams, streams.subscribe(caller))

    return routes
