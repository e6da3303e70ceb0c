"""What the routes of events take and give."""

from datetime import datetime
from typing import Any, Final

import msgspec
from pydantic import BaseModel, Field

from polyforge.database.events.log import STREAMS, Stream
from polyforge.database.events.store import Event
from polyforge.kernel.clock import utc
from polyforge.kernel.errors import Invalid

MAX_PAGE: Final = 1_000
LAST_SEQUENCE: Final = 2**63 - 1


class EventView(BaseModel):
    """One thing that happened."""

    sequence: int = Field(description="Its place among all events; they rise in the order in which things happened.")
    stream: Stream
    kind: str = Field(description="As in `key.revoked`.")
    organization_id: str | None = Field(description="Null: it concerns the whole installation.")
    project_id: str | None = Field(description="Null: it concerns the whole organization.")
    resource_id: str = Field(description="What it happened to.")
    at: datetime
    data: dict[str, Any]


class EventPage(BaseModel):
    """Some events, newest first."""

    data: list[EventView]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the events before these; null: none are kept.")


def view_of(event: Event) -> EventView:
    """An event as callers see it."""
    return EventView(
        sequence=event.sequence,
        stream=event.stream,
        kind=event.kind,
        organization_id=event.organization_id,
        project_id=event.project_id,
        resource_id=event.resource_id,
        at=utc(event.at),
        data=msgspec.json.decode(event.data),
    )


def parse_streams(text: str) -> frozenset[Stream] | None:
    """The streams that a list with commas names, None when it names none; Invalid for an unknown one."""
    names = {name for part in text.split(",") if (name := part.strip())}
    if unknown := sorted(names.difference(STREAMS)):
        raise Invalid(f"there is no stream {unknown[0][:40]!r}; there are {', '.join(STREAMS)}", param="stream")
    return frozenset(stream for stream in STREAMS if stream in names) or None


def parse_sequence(text: str | None, param: str) -> int | None:
    """A place among the events, as text; Invalid when it is none."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and int(text) <= LAST_SEQUENCE):
        raise Invalid("is not the sequence of an event", param=param)
    return int(text)
