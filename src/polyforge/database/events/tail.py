"""The tail of the events: what every process follows, and hands on to its listeners and subscribers.

Sequence numbers have no gaps and rise in the order of the commits, so whoever has read up to one has missed none below
it. The tail asks the database for what is later than the last that it saw, at once when this process added something,
else every 0.3 s. It keeps the latest events in memory; a reader who wants earlier ones, because it resumes or is slow,
has them from the database by its own place. So nobody's slowness costs memory, and nobody loses anything.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final

import msgspec

from polyforge.database.database import Database
from polyforge.database.events.log import STREAMS, Stream
from polyforge.database.events.store import LOOKED_AT, PAGE, Audience, Event, SystemEvents, is_contiguous
from polyforge.kernel.errors import PolyforgeError, Unavailable
from polyforge.telemetry.logs import get_logger

POLL_SECONDS: Final = 0.3
LONGEST_PAUSE: Final = 2.0
KEPT: Final = 2_000
"""Events in memory."""

Heard = Callable[[Sequence[Event]], None]
"""Told of new events, in order; of none when some may have been missed, so that anything may have changed."""

_log = get_logger(__name__)


class Batch(msgspec.Struct, frozen=True):
    """What a reader gets: events that are for it, and how far it has now read."""

    events: Sequence[Event]
    place: int


class Gone(Exception):
    """What a reader wants is older than what is kept; it goes on from `oldest`."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"events are kept from {oldest} on")
        self.oldest = oldest


def _always() -> bool:
    """The readiness of a database that somebody has prepared."""
    return True


class EventTail:
    """Follows the events of the installation for one process; takes its place once the database is `ready`."""

    def __init__(
        self,
        database: Database,
        *,
        ready: Callable[[], bool] = _always,
        poll_seconds: float = POLL_SECONDS,
        kept: int = KEPT,
    ) -> None:
        self._database = database
        self._ready = ready
        self._poll_seconds = poll_seconds
        self._recent: deque[Event] = deque(maxlen=kept)
        self._listeners: dict[Stream, list[Heard]] = {stream: [] for stream in STREAMS}
        self._place: int | None = None
        self._wake = asyncio.Event()
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failures = 0

    def listen(self, streams: Iterable[Stream], heard: Heard) -> None:
        """Have `heard` called with what happens on these streams. It must not block, and is to be named before `open`.

        Also called without events when the tail takes its place and whenever it may have missed some. Whoever keeps a
        copy of rows therefore reads them when called, and misses no change.
        """
        for stream in streams:
            self._listeners[stream].append(heard)

    async def open(self) -> None:
        """Take a place at the end, and follow from there. A database that is down is tried again in the background."""
        self._database.told = self.wake
        await self._turn()
        self._task = asyncio.create_task(self._follow(), name="event tail")

    async def close(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def wake(self) -> None:
        """Look now rather than at the next tick."""
        self._wake.set()

    @property
    def place(self) -> int:
        """The sequence of the last event that this process has seen; Unavailable before it could see any."""
        if self._place is None:
            raise Unavailable("events cannot be read for now; try again", retry_after=1.0)
        return self._place

    async def wait(self, place: int) -> None:
        """Return once there may be events later than `place`, or at the next `stir`."""
        if self._place is None or self._place <= place:
            await self._news.wait()

    def stir(self) -> None:
        """Let everybody who waits look around."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def read(self, place: int, audience: Audience) -> Batch:
        """Some of the events for an audience that are later than `place`, as far as this process has seen them.

        Gone when events just after `place` are no longer kept, or it is a place that was never reached.
        """
        newest = self.place
        if place == newest:
            return Batch((), place)
        if self._recent and self._recent[0].sequence <= place + 1 <= newest:
            return self._from_memory(place, newest, audience)
        return await self._from_database(place, newest, audience)

    def _from_memory(self, place: int, newest: int, audience: Audience) -> Batch:
        first = place + 1 - self._recent[0].sequence
        return Batch([event for event in islice(self._recent, first, None) if audience.sees(event)], newest)

    async def _from_database(self, place: int, newest: int, audience: Audience) -> Batch:
        async with self._database.read() as session:
            store = SystemEvents(session)
            oldest = await store.oldest()
            if place < oldest - 1 or place > await store.newest():
                raise Gone(oldest)
            if place > newest:
                return Batch((), place)  # Another process has seen more by now; it was given there.
            last = min(newest, place + LOOKED_AT)
            found = await store.between(place, last, audience)
        return Batch(found, last if len(found) < PAGE else found[-1].sequence)

    # Following

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._wake.wait()
            self._wake.clear()
            await self._turn()

    def _pause(self) -> float:
        return min(LONGEST_PAUSE, self._poll_seconds * 2**self._failures)

    async def _turn(self) -> None:
        """See what there is; whatever goes wrong, without this task no process would hear of changes again."""
        try:
            await self._catch_up()
        except PolyforgeError as error:
            self._note_failure(error.message)
        except Exception as error:  # noqa: BLE001 - see above
            _log.exception("the events could not be followed")
            self._note_failure(repr(error))
        else:
            self._note_success()

    async def _catch_up(self) -> None:
        if self._place is None and not self._ready():
            return
        if self._place is None:
            await self._take_place()
        while True:
            place = self.place
            async with self._database.read() as session:
                found = await SystemEvents(session).after(place)
            if not is_contiguous(found, place):
                _log.warning("events were missed", after=place, next=found[0].sequence)
                self._recent.clear()
                self._tell_all()
            self._advance(found)
            if len(found) < PAGE:
                return

    async def _take_place(self) -> None:
        async with self._database.read() as session:
            self._place = await SystemEvents(session).newest()
        self._tell_all()
        self.stir()

    def _advance(self, found: Sequence[Event]) -> None:
        if not found:
            return
        self._recent.extend(found)
        self._place = found[-1].sequence
        for stream, listeners in self._listeners.items():
            if listeners and (told := [event for event in found if event.stream == stream]):
                for heard in listeners:
                    _tell(heard, told)
        self.stir()

    def _tell_all(self) -> None:
        for listeners in self._listeners.values():
            for heard in listeners:
                _tell(heard, ())

    def _note_failure(self, reason: str) -> None:
        if not self._failures:
            _log.warning("the events cannot be followed", reason=reason)
        self._failures = min(self._failures + 1, 8)

    def _note_success(self) -> None:
        if self._failures:
            _log.warning("the events are followed again", place=self._place)
        self._failures = 0


def _tell(heard: Heard, told: Sequence[Event]) -> None:
    """A listener that breaks must not keep the others from hearing."""
    try:
        heard(told)
    except Exception:  # noqa: BLE001 - see above
        _log.exception("a listener to events broke", listener=repr(heard))
