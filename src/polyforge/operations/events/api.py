"""Routes of events."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from polyforge.operations.events.schemas import MAX_PAGE, EventPage, parse_sequence, parse_streams, view_of
from polyforge.operations.events.service import EventService
from polyforge.operations.events.subscription import Subscription
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.permission import Permission

Reader = Annotated[Caller, Depends(Permission("events:read"))]
Streams = Annotated[str, Query(max_length=200, description="Only these streams, with commas between; default: all.")]
Place = Annotated[str | None, Query(max_length=19, description="Go on after the event with this sequence.")]
LastId = Annotated[str | None, Header(max_length=19, description="The same, as browsers say it when they resume.")]


class EventStream(StreamingResponse):
    """Server-sent events for as long as the caller stays."""

    media_type = "text/event-stream"

    def __init__(self, events: EventService, subscription: Subscription) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(subscription.frames(), headers=headers)
        self._events = events
        self._subscription = subscription

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and give the place back however that ends."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._events.release(self._subscription)


def router(events: EventService) -> APIRouter:
    """The routes under /api/v1 for events."""
    routes = APIRouter(prefix="/api/v1")

    @routes.get("/events", status_code=200, tags=["events"], response_class=EventStream)
    async def follow_events(
        caller: Reader, stream: Streams = "", after: Place = None, last_event_id: LastId = None
    ) -> EventStream:
        """Follow what happens as server-sent events, from now on or after a given one.

        An event `reset` says that events right after that one are no longer kept.
        """
        resumed = parse_sequence(last_event_id or None, "last-event-id")
        place = parse_sequence(after, "after") if resumed is None else resumed
        return EventStream(events, events.subscribe(caller, parse_streams(stream), place))

    @routes.get("/events/recent", tags=["events"])
    async def list_recent_events(
        caller: Reader,
        stream: Streams = "",
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
        cursor: Annotated[str | None, Query(max_length=19)] = None,
    ) -> EventPage:
        """What happened lately, newest first. A page may be short, or empty, and still have a `next_cursor`."""
        before = parse_sequence(cursor, "cursor")
        page, following = await events.recent(caller, parse_streams(stream), limit, before)
        cursor = None if following is None else str(following)
        return EventPage(data=[view_of(event) for event in page], next_cursor=cursor)

    return routes
