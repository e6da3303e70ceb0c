"""One caller's stream of events, as server-sent events.

Source of the format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from polyforge.database.events.store import Audience, Event
from polyforge.database.events.tail import Batch, EventTail, Gone
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Unavailable
from polyforge.operations.events.schemas import view_of
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.streaming import CallerStream

HEARTBEAT_SECONDS: Final = 15.0
LONGEST_SECONDS: Final = 3600.0
_RETRY_MILLISECONDS: Final = 1000
_DOWN_SECONDS: Final = 1.0


class Subscription(CallerStream):
    """Reads from `place` on until it is ended."""

    def __init__(
        self,
        tail: EventTail,
        clock: Clock,
        caller: Caller,
        audience: Audience,
        place: int,
        *,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        longest_seconds: float = LONGEST_SECONDS,
    ) -> None:
        super().__init__(caller, clock, longest_seconds)
        self._tail = tail
        self._audience = audience
        self._place = place
        self._heartbeat = heartbeat_seconds

    async def frames(self) -> AsyncGenerator[bytes]:
        """The stream as bytes: whole events, and a heartbeat where there are none for a while."""
        yield b"retry: %d\n%b" % (_RETRY_MILLISECONDS, _place_frame(self._place))
        while self.left() > 0:
            try:
                batch = await self._tail.read(self._place, self._audience)
            except Gone as gone:
                self._place = gone.oldest - 1
                yield b"event: reset\nid: %d\ndata: {}\n\n" % self._place
            except Unavailable:
                await asyncio.sleep(_DOWN_SECONDS)
            else:
                if frames := await self._next(batch):
                    yield frames

    async def _next(self, batch: Batch) -> bytes:
        """The events of a batch; without any, wait, and then a heartbeat if there still are none."""
        self._place = batch.place
        if batch.events:
            return b"".join([_frame(event) for event in batch.events])
        if self.left() <= 0:
            return b""
        try:
            async with asyncio.timeout(min(self._heartbeat, self.left())):
                await self._tail.wait(self._place)
        except TimeoutError:
            return b": heartbeat\n" + _place_frame(self._place)
        return b""


def _frame(event: Event) -> bytes:
    return b"id: %d\ndata: %b\n\n" % (event.sequence, view_of(event).model_dump_json().encode())


def _place_frame(place: int) -> bytes:
    """No event, but from where to resume."""
    return b"id: %d\n\n" % place
