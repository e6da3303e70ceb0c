"""Routes of events."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query

from polyforge.operations.events.schemas import MAX_PAGE, EventPage, parse_sequence, parse_streams, view_of
from polyforge.operations.events.service import EventService
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.frames import StreamFrames
from polyforge.tenancy.permission import Permission

Reader = Annotated[Caller, Depends(Permission("events:read"))]
Streams = Annotated[str, Query(max_length=200, description="Only these streams, with commas between; default: all.")]
Place = Annotated[str | None, Query(max_length=19, description="Go on after the event with this sequence.")]
LastId = Annotated[str | None, Header(max_length=19, description="The same, as browsers say it when they resume.")]


def router(events: EventService) -> APIRouter:
    """The routes under /api/v1 for events."""
    routes = APIRouter(prefix="/api/v1")

    @routes.get("/events", status_code=200, tags=["events"], response_class=StreamFrames)
    async def follow_events(
        caller: Reader, stream: Streams = "", after: Place = None, last_event_id: LastId = None
    ) -> StreamFrames:
        """Follow what happens as server-sent events, from now on or after a given one.

        An event `reset` says that events right after that one are no longer kept.
        """
        resumed = parse_sequence(last_event_id or None, "last-event-id")
        place = parse_sequence(after, "after") if resumed is None else resumed
        return StreamFrames(events, events.subscribe(caller, parse_streams(stream), place))

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
