"""The overview as server-sent events: at once, whenever it changed, and a comment now and then where it did not."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final, cast

import msgspec

from polyforge.database.events.store import Event
from polyforge.database.events.tail import EventTail
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import PolyforgeError
from polyforge.operations.overview.schemas import Overview
from polyforge.operations.overview.service import FRESH_SECONDS, OverviewService
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.streaming import CallerStream, CallerStreams

HEARTBEAT_SECONDS: Final = 15.0
LONGEST_SECONDS: Final = 900.0
"""After so long a stream ends, and who goes on must show again that they may."""
MOST_PER_PROJECT: Final = 50
MOST: Final = 500
_SETTLING_SECONDS: Final = 2.0
"""By then every process knows what a caller may do since it was changed."""
_RETRY_MILLISECONDS: Final = 2_000
_MOST_CHANGED: Final = 10_000
_ALL_KEYS: Final = "every key"
_ALL_PEOPLE: Final = "everybody"
_BUSY_FIGURES: Final = {
    "at",
    "until",
    "latency_ms",
    "used_bytes",
    "backlog_bytes",
    "lag_seconds",
    "seconds",
    "seen_at",
    "detail",
    "message",
}
"""What is never twice the same: alone it is no change worth telling."""


class OverviewStream(CallerStream):
    """One reader of the overview."""

    def __init__(self, owner: "OverviewStreams", caller: Caller, clock: Clock) -> None:
        super().__init__(caller, clock, LONGEST_SECONDS)
        self.began = clock.monotonic()
        self._owner = owner

    def frames(self) -> AsyncGenerator[bytes]:
        """The stream as bytes: whole events and comments."""
        return self._owner.frames(self)


class OverviewStreams(CallerStreams[OverviewStream]):
    """All streams of this process. They end when it drains, and soon when what their caller may do may have changed."""

    def __init__(
        self,
        service: OverviewService,
        tail: EventTail,
        clock: Clock,
        *,
        every_seconds: float = FRESH_SECONDS,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        super().__init__("the overview", clock, most=MOST, most_each=MOST_PER_PROJECT)
        self._service = service
        self._every = every_seconds
        self._heartbeat = heartbeat_seconds
        self._changed: dict[str, float] = {}
        self.listen(tail)

    def subscribe(self, caller: Caller) -> OverviewStream:
        """A new stream, to be released; Unavailable when there are too many."""
        return self._admit(OverviewStream(self, caller, self._clock))

    async def frames(self, stream: OverviewStream) -> AsyncGenerator[bytes]:
        """What a stream sends until it is over."""
        yield b"retry: %d\n\n" % _RETRY_MILLISECONDS
        told: object = None
        said_at = self._clock.monotonic()
        number = 0
        while not self._is_over(stream):
            overview = await _looked(self._service, stream.caller)
            if overview is not None and (now := _gist(overview)) != told:
                told, said_at, number = now, self._clock.monotonic(), number + 1
                yield b"event: overview\nid: %d\ndata: %b\n\n" % (number, overview.model_dump_json().encode())
            elif self._clock.monotonic() - said_at >= self._heartbeat:
                said_at = self._clock.monotonic()
                yield b": nothing changed\n\n"
            await stream.rest(self._every)

    def _whose(self, caller: Caller) -> tuple[str, str]:
        return caller.project_id, "the project has"

    def _is_over(self, stream: OverviewStream) -> bool:
        if stream.left() <= 0:
            return True
        now, caller = self._clock.monotonic(), stream.caller
        # One that began just after a change may have been let in by what was known before.
        names = (_ALL_KEYS, caller.key_id) if caller.kind == "key" else (_ALL_PEOPLE, caller.organization_id)
        changes = (self._changed.get(name) for name in names)
        return any(
            change is not None
            and stream.began < change + _SETTLING_SECONDS
            and now >= (change if stream.began < change else change + _SETTLING_SECONDS)
            for change in changes
        )

    def _heard_of_keys(self, events: Sequence[Event]) -> None:
        """Something happened to these keys; no events: anything may have."""
        self._note({event.resource_id for event in events} or {_ALL_KEYS})

    def _heard_of_people(self, events: Sequence[Event]) -> None:
        """Something happened to people of these organizations; no events: anything may have."""
        self._note({event.organization_id or _ALL_PEOPLE for event in events} or {_ALL_PEOPLE})

    def _note(self, names: set[str]) -> None:
        now = self._clock.monotonic()
        self._changed = {name: at for name, at in self._changed.items() if now - at < LONGEST_SECONDS}
        if len(self._changed) + len(names) > _MOST_CHANGED:
            self._changed, names = {}, {_ALL_KEYS, _ALL_PEOPLE}
        self._changed.update(dict.fromkeys(names, now))


async def _looked(service: OverviewService, caller: Caller) -> Overview | None:
    try:
        return await service.look(caller)
    except PolyforgeError:
        # Too many look at once: the next turn tells.
        return None


def _gist(overview: Overview) -> bytes:
    """What two overviews are compared by."""
    return msgspec.json.encode(_without_busy(overview.model_dump(mode="json")))


def _without_busy(part: Any) -> Any:
    match part:
        case dict():
            named = cast("dict[str, Any]", part)
            return {name: _without_busy(value) for name, value in named.items() if name not in _BUSY_FIGURES}
        case list():
            return [_without_busy(each) for each in cast("list[Any]", part)]
        case _:
            return part
