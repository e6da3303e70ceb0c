"""What a run says of itself: events in their order, written in groups soon after, and never waited for.

Pieces of text that a node makes are put together until they are written, and taken away once the node's result is
there. A run that goes on after a kill says again what was not written before it, and nothing twice.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from polyforge.flows.running.records import EventType, RunState
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import PolyforgeError
from polyforge.kernel.money import Micros
from polyforge.telemetry.logs import get_logger

PAUSE_SECONDS: Final = 0.1
AGAIN_SECONDS: Final = 1.0
MOST_WAITING: Final = 5_000
"""Events that wait to be written; beyond it they go without their values, so that a run needs bounded memory."""
MOST_WAITING_BYTES: Final = 32 * 1024 * 1024
MOST_TOKEN: Final = 64 * 1024
"""Characters of one node's text that wait to be written."""
_ONCE: Final[frozenset[EventType]] = frozenset(
    {"run.started", "run.succeeded", "node.finished", "node.skipped", "node.waiting", "item.left_out"}
)
_log = get_logger(__name__)
_encode: Final = msgspec.json.Encoder().encode
Place = tuple[str, str]
"""A node and the rounds around it."""


class NewEvent(msgspec.Struct, frozen=True):
    """An event that is to be written."""

    at: float
    type: EventType
    node: str
    path: str
    payload: str


class Said(msgspec.Struct, frozen=True):
    """What was written of a run before."""

    events: int = 0
    once: frozenset[tuple[str, str, str]] = frozenset()
    """Type, node and path of what is said once."""
    tokens: Mapping[Place, tuple[int, ...]] = {}
    """The numbers of the pieces of text that are still there."""


class Page(msgspec.Struct, frozen=True):
    """What is written at once."""

    events: tuple[NewEvent, ...]
    removed: tuple[int, ...]
    """Numbers of events that go."""
    state: RunState
    cost: Micros
    ending: Mapping[str, Any] | None = None
    """Columns of a run that is over."""


class Pages(Protocol):
    """Where events are written."""

    async def write(self, page: Page) -> Sequence[int]:
        """Add events, in order, and take some away; the numbers that they got. PolyforgeError: none of it happened."""
        ...


class _Text:
    """Pieces of one node's text that wait to be written."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.length = 0

    def add(self, piece: str) -> None:
        """One more."""
        self.pieces.append(piece)
        self.length += len(piece)


class RunNotes:
    """The events of one run in this process."""

    def __init__(self, pages: Pages, clock: Clock, said: Said, most_events: int) -> None:
        self._pages = pages
        self._clock = clock
        self._once = set(said.once)
        self._left = most_events - said.events
        self._tokens: dict[Place, list[int]] = {place: list(seqs) for place, seqs in said.tokens.items()}
        self._texts: dict[Place, _Text] = {}
        self._waiting: list[NewEvent] = []
        self._bytes = 0
        self._over: set[Place] = set()
        self._again: set[Place] = set()
        self._stir = asyncio.Event()
        self._writing = asyncio.Lock()
        self._failing = False
        self._waits = 0
        self._busy = 0
        self._ending: Mapping[str, Any] | None = None
        self.cost: Micros = 0

    @property
    def state(self) -> RunState:
        """What the run is doing: waiting where it does nothing else."""
        return "waiting" if self._waits and not self._busy else "running"

    def busy(self, change: int) -> None:
        """So many more steps go on, or fewer."""
        self._busy += change

    def waits(self, change: int) -> None:
        """So many more nodes wait, or fewer."""
        self._waits += change
        self._stir.set()

    def said(self, type_: EventType, node: str, path: str) -> bool:
        """Whether an earlier attempt told of this, or this one did of what is told of once."""
        return (type_, node, path) in self._once

    def event(self, type_: EventType, node: str = "", path: str = "", **payload: Any) -> None:
        """Something happened."""
        key = (type_, node, path)
        if type_ == "node.started" and ("node.finished", node, path) in self._once:
            return
        if type_ in _ONCE:
            if key in self._once:
                return
            self._once.add(key)
        if type_ in ("node.started", "node.finished", "node.failed"):
            self._texts.pop((node, path), None)
        if type_ == "node.started":
            self._again.add((node, path))
        if type_ == "node.finished":
            self._over.add((node, path))
        self._add(type_, node, path, payload)

    def end(self, type_: EventType, values: Mapping[str, Any], **payload: Any) -> None:
        """It is over; the columns are written with the last event."""
        self._ending = values
        self.event(type_, **payload)

    def token(self, node: str, path: str, text: str) -> None:
        """A piece of text was made."""
        if not text:
            return
        written = self._texts.setdefault((node, path), _Text())
        if written.length < MOST_TOKEN:
            written.add(text)
            self._stir.set()

    async def run(self) -> None:
        """Write what there is, again and again, until cancelled."""
        while True:
            await self._stir.wait()
            await asyncio.sleep(AGAIN_SECONDS if self._failing else PAUSE_SECONDS)
            try:
                await self.flush()
            except Exception:  # noqa: BLE001 - it is tried again, and the end of the run needs it to succeed
                _log.exception("events of a run could not be written")
                self._failing = True
                self._stir.set()

    async def flush(self) -> bool:
        """Write what there is; whether that succeeded."""
        async with self._writing:
            self._stir.clear()
            self._put_texts_together()
            events, self._waiting, size, self._bytes = self._still_true(), [], self._bytes, 0
            ended = self._over | self._again
            removed = tuple(seq for place in ended for seq in self._tokens.get(place, ()))
            page = Page(tuple(events), removed, self.state, self.cost, self._ending)
            writing = asyncio.ensure_future(self._pages.write(page))
            try:
                await _outcome(writing)
            finally:
                if _failed(writing):
                    self._waiting, self._bytes = events + self._waiting, self._bytes + size
                else:
                    self._written(events, writing.result(), ended, len(removed))
            error = writing.exception()
            if error is None:
                return True
            if not isinstance(error, PolyforgeError):
                raise error
            self._note_failure(error.message)
        return False

    def _written(self, events: Sequence[NewEvent], seqs: Sequence[int], ended: set[Place], removed: int) -> None:
        self._failing = False
        self._left += removed
        for place in ended:
            self._tokens.pop(place, None)
        # What ended while this was written is still to be dealt with.
        self._over -= ended
        self._again -= ended
        for event, seq in zip(events, seqs, strict=True):
            if event.type == "node.token":
                self._tokens.setdefault((event.node, event.path), []).append(seq)

    def _still_true(self) -> list[NewEvent]:
        """What waits, without the texts of nodes whose result is there."""
        return [each for each in self._waiting if each.type != "node.token" or (each.node, each.path) not in self._over]

    def _put_texts_together(self) -> None:
        texts, self._texts = self._texts, {}
        for (node, path), written in texts.items():
            self._add("node.token", node, path, {"text": "".join(written.pieces)})

    def _add(self, type_: EventType, node: str, path: str, payload: dict[str, Any]) -> None:
        self._left -= 1
        if self._left < 0 and not type_.startswith("run."):
            if self._left < -1:
                return
            type_, node, path, payload = "events.left_out", "", "", {"message": "the run has more events than are kept"}
        if "outputs" in payload and (len(self._waiting) >= MOST_WAITING or self._bytes >= MOST_WAITING_BYTES):
            payload = {name: value for name, value in payload.items() if name != "outputs"}
        text = _encode(payload).decode()
        self._bytes += len(text)
        self._waiting.append(NewEvent(self._clock.now(), type_, node, path, text))
        self._stir.set()

    def _note_failure(self, reason: str) -> None:
        if not self._failing:
            _log.warning("events of a run cannot be written for now", reason=reason)
        self._failing = True
        self._stir.set()


async def _outcome(writing: asyncio.Future[Sequence[int]]) -> None:
    """Wait until a page is written or is not, also where nobody wants to wait any more: it counts all the same."""
    try:
        await asyncio.wait({writing})
    except asyncio.CancelledError:
        await asyncio.wait({writing})
        raise


def _failed(writing: asyncio.Future[Sequence[int]]) -> bool:
    return not writing.done() or writing.cancelled() or writing.exception() is not None
