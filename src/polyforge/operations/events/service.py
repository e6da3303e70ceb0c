"""Following events and looking back at them, on behalf of a caller."""

from collections.abc import Iterable, Sequence
from typing import Final

from polyforge.database.database import Database
from polyforge.database.events.log import Stream
from polyforge.database.events.store import Audience, Event, SystemEvents
from polyforge.database.events.tail import EventTail
from polyforge.kernel.clock import Clock
from polyforge.operations.events.subscription import HEARTBEAT_SECONDS, LONGEST_SECONDS, Subscription
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.streaming import CallerStreams

MOST_PER_CALLER: Final = 20
"""So that one caller leaves room for the others."""
_SETTLING_SECONDS: Final = 2.0
"""By then every process knows what a caller may do since it was changed."""
_MOST_SETTLING: Final = 10_000


class EventService(CallerStreams[Subscription]):
    """Gives callers the events that they may see: a page of them, or a stream that goes on.

    Streams end when the process drains, and when something may have changed about what their caller may do; whoever
    goes on from where it ended shows again that they may. One that begins just then is short: the caller may have been
    let in by what was known before.
    """

    def __init__(
        self,
        database: Database,
        tail: EventTail,
        clock: Clock,
        max_subscribers: int,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        super().__init__("events", clock, most=max_subscribers, most_each=MOST_PER_CALLER)
        self._database = database
        self._tail = tail
        self._heartbeat = heartbeat_seconds
        self._settling: dict[str | None, float] = {}
        self.listen(tail)

    async def recent(
        self, caller: Caller, streams: frozenset[Stream] | None, limit: int, before: int | None
    ) -> tuple[list[Event], int | None]:
        """Up to `limit` events, newest first, and before which the next page ends, None after the last."""
        async with self._database.read() as session:
            return await SystemEvents(session).recent(before, _audience(caller, streams), limit)

    def subscribe(
        self, caller: Caller, streams: frozenset[Stream] | None, after: int | None, resource_id: str | None = None
    ) -> Subscription:
        """A stream of the events after one, or from now on; Unavailable when there are too many. To be released.

        With a `resource_id` only of what happens to that.
        """
        place = self._tail.place if after is None else after
        audience = _audience(caller, streams, resource_id)
        subscription = Subscription(
            self._tail,
            self._clock,
            caller,
            audience,
            place,
            heartbeat_seconds=self._heartbeat,
            longest_seconds=_SETTLING_SECONDS if self._is_settling(caller) else LONGEST_SECONDS,
        )
        return self._admit(subscription)

    def drain(self) -> None:
        """End every stream, and begin no other."""
        super().drain()
        self._tail.stir()

    def _heard_of_keys(self, events: Sequence[Event]) -> None:
        self._note(event.resource_id for event in events)
        super()._heard_of_keys(events)

    def _heard_of_people(self, events: Sequence[Event]) -> None:
        self._note(event.organization_id for event in events)
        super()._heard_of_people(events)

    def _note(self, changed: Iterable[str | None]) -> None:
        """Remember keys and organizations (None: all) about which something has just changed."""
        now = self._clock.monotonic()
        self._settling = {name: until for name, until in self._settling.items() if until > now}
        self._settling.update(dict.fromkeys(list(set(changed))[:_MOST_SETTLING], now + _SETTLING_SECONDS))

    def _is_settling(self, caller: Caller) -> bool:
        names = {caller.key_id} if caller.kind == "key" else {None, caller.organization_id}
        return any(self._settling.get(name, 0.0) > self._clock.monotonic() for name in names)


def _audience(caller: Caller, streams: frozenset[Stream] | None, resource_id: str | None = None) -> Audience:
    return Audience(
        caller.organization_id,
        caller.project_id,
        organization=caller.may("organization:read"),
        installation=caller.may("settings:read"),
        streams=streams,
        resource_id=resource_id,
    )
