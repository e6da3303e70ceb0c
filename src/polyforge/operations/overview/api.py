"""Routes of the overview."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from polyforge.operations.overview.schemas import Overview
from polyforge.operations.overview.service import OverviewService
from polyforge.operations.overview.streams import OverviewStream, OverviewStreams
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.permission import Permission

Reader = Annotated[Caller, Depends(Permission("models:read"))]
LastId = Annotated[
    str | None, Header(max_length=100, description="As browsers send it when they resume; the stream begins anew.")
]


class OverviewResponse(StreamingResponse):
    """Server-sent events for as long as the caller stays."""

    media_type = "text/event-stream"

    def __init__(self, streams: OverviewStreams, stream: OverviewStream) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(stream.frames(), headers=headers)
        self._streams = streams
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and give the place back however that ends."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.release(self._stream)


def router(overview: OverviewService, streams: OverviewStreams) -> APIRouter:
    """The routes under /api/v1/overview."""
    routes = APIRouter(prefix="/api/v1/overview", tags=["overview"])

    @routes.get("")
    async def get_overview(caller: Reader) -> Overview:
        """How everything does now: components, traffic, spending, and what needs attention, as the caller may know.

        It is at most two seconds old.
        """
        return await overview.look(caller)

    @routes.get("/stream", status_code=200, response_class=OverviewResponse)
    async def follow_overview(caller: Reader, last_event_id: LastId = None) -> OverviewResponse:
        """The same as server-sent events: an event `overview` at once and whenever it changed, else comments."""
        del last_event_id
        return OverviewResponse(streams, streams.subscribe(caller))

    return routes
