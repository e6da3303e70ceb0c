"""All SQL that reads events, and that lets go of old ones."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, RowMapping, and_, delete, false, or_, select

from polyforge.database.counting import generations
from polyforge.database.events.log import SEQUENCE, Stream
from polyforge.database.events.tables import events
from polyforge.database.sessions import ReadSession, WriteSession

PAGE: Final = 500
LOOKED_AT: Final = 10_000
"""What one look goes through at most, however few of them are for the audience. Sequences have no gaps."""


class Event(msgspec.Struct, frozen=True):
    """One thing that happened."""

    sequence: int
    """From 1, without gaps, in the order of the commits."""
    stream: Stream
    kind: str
    """As in `key.revoked`."""
    organization_id: str | None
    """None: it concerns the whole installation."""
    project_id: str | None
    """None: it concerns the whole organization."""
    resource_id: str
    at: float
    data: msgspec.Raw
    """A JSON object."""


class Audience(msgspec.Struct, frozen=True):
    """Whose events somebody may see: a project's, with those of its organization, or of the installation."""

    organization_id: str
    project_id: str
    organization: bool = False
    """Also what concerns the whole organization."""
    installation: bool = False
    """Also what concerns the whole installation."""
    streams: frozenset[Stream] | None = None
    """Only these; None: all."""
    resource_id: str | None = None
    """Only what happened to this; None: to whatever."""

    def sees(self, event: Event) -> bool:
        """Whether an event is for it."""
        if self.streams is not None and event.stream not in self.streams:
            return False
        if self.resource_id is not None and event.resource_id != self.resource_id:
            return False
        if event.organization_id is None:
            return self.installation
        if event.organization_id != self.organization_id:
            return False
        return event.project_id == self.project_id or (event.project_id is None and self.organization)

    def condition(self) -> ColumnElement[bool]:
        """The same in SQL."""
        columns = events.c
        own = columns.project_id == self.project_id
        if self.organization:
            own = or_(own, columns.project_id.is_(None))
        seen = and_(columns.organization_id == self.organization_id, own)
        if self.installation:
            seen = or_(seen, columns.organization_id.is_(None))
        if self.resource_id is not None:
            seen = and_(seen, columns.resource_id == self.resource_id)
        if self.streams is None:
            return seen
        return and_(seen, columns.stream.in_(sorted(self.streams)) if self.streams else false())


class SystemEvents:
    """Every event of the installation, for the tail and for those whom an audience is given for."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def newest(self) -> int:
        """The sequence of the last event that is committed, kept or not; 0 before the first."""
        return await self._session.scalar(select(generations.c.value).where(generations.c.name == SEQUENCE)) or 0

    async def oldest(self) -> int:
        """The sequence of the oldest event that is kept, or that the next one will have."""
        query = select(events.c.sequence).order_by(events.c.sequence).limit(1)
        return await self._session.scalar(query) or await self.newest() + 1

    async def after(self, sequence: int, limit: int = PAGE) -> list[Event]:
        """The first events later than `sequence`, in order."""
        query = select(events).where(events.c.sequence > sequence).order_by(events.c.sequence).limit(limit)
        return [_event_of(row) for row in await self._session.all(query)]

    async def between(self, sequence: int, last: int, audience: Audience, limit: int = PAGE) -> list[Event]:
        """The first events for an audience that are later than `sequence` and not later than `last`, in order.

        Goes through all between the two, so let them be no more than LOOKED_AT apart.
        """
        query = select(events).where(events.c.sequence > sequence, events.c.sequence <= last, audience.condition())
        return [_event_of(row) for row in await self._session.all(query.order_by(events.c.sequence).limit(limit))]

    async def recent(self, before: int | None, audience: Audience, limit: int) -> tuple[list[Event], int | None]:
        """Up to `limit` events for an audience, newest first, and before which to go on, None after the last.

        They are earlier than the sequence `before`. One look goes through LOOKED_AT events at most, so a page may be
        short, or even empty, and yet not be the last.
        """
        top = await self.newest() + 1 if before is None else before
        floor = top - LOOKED_AT
        columns = events.c
        query = select(events).where(columns.sequence < top, columns.sequence >= floor, audience.condition())
        rows = await self._session.all(query.order_by(columns.sequence.desc()).limit(limit + 1))
        found = [_event_of(row) for row in rows]
        if len(found) > limit:
            return found[:limit], found[limit - 1].sequence
        return found, floor if floor > await self.oldest() else None


class EventPruner:
    """Lets go of old events."""

    def __init__(self, session: WriteSession) -> None:
        self._session = session

    async def prune(self, before: float, limit: int = PAGE) -> int:
        """Remove up to `limit` of the oldest events, as far as all are from earlier than `before`; how many.

        Only from the beginning on, so that what is kept has no gaps.
        """
        query = select(events.c.sequence, events.c.at).order_by(events.c.sequence).limit(limit)
        old = list(takewhile(lambda row: row["at"] < before, await self._session.all(query)))
        if not old:
            return 0
        return await self._session.change(delete(events).where(events.c.sequence <= old[-1]["sequence"]))


def _event_of(row: RowMapping) -> Event:
    values: dict[str, Any] = {**row, "data": msgspec.Raw(row["data"].encode())}
    return Event(**values)


def is_contiguous(found: Sequence[Event], after: int) -> bool:
    """Whether nothing is missing between `after` and the first of `found`."""
    return not found or found[0].sequence == after + 1
