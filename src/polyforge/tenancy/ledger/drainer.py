"""Moves the journal into the ledger, for all workers of one machine; the one that holds the lock does it."""

import asyncio
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol

from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import PolyforgeError
from polyforge.tenancy.ledger.journal import Entry, SegmentName, is_owned, read, segments
from polyforge.tenancy.ledger.records import Intent, UsageRecord

FINISHED = 1 << 62
"""The offset of a segment whose last record, and the intents it left open, are in the ledger."""
_BATCH = 1000
_SLICE = 50
_PAUSE_SECONDS = 0.5
_RETRY_SECONDS = 1.0
_FINISH_SECONDS = 3.0
_LOOK_SECONDS = 0.05


class Ledger(Protocol):
    """Where records end up; `append` is one transaction, refused unless the journal stood at `start`."""

    async def append(self, journal: str, start: int, end: int, records: Sequence[UsageRecord]) -> None:
        """Write the records and move the journal's offset to `end`; Conflict when it is not at `start`."""
        ...

    async def offset(self, journal: str) -> int:
        """Up to where a journal was moved; 0 for one that is not known."""
        ...

    async def forget(self, journal: str) -> None:
        """Remove the offset of a journal that is gone."""
        ...


class Drainer:
    """One per worker; `run` waits for the machine's drainer lock and then drains until it is cancelled."""

    def __init__(
        self, folder: Path, session: str, ledger: Ledger, clock: Clock, on_error: Callable[[PolyforgeError], None]
    ) -> None:
        self._folder = folder
        self._session = session
        self._ledger = ledger
        self._clock = clock
        self._on_error = on_error
        self._offsets: dict[SegmentName, int] = {}
        self._lock_fd = -1

    async def run(self) -> None:
        """Drain for as long as this process lives, whenever it holds the lock."""
        while not self._take_lock():  # noqa: ASYNC110 - another process holds it, and no event tells of its end
            await asyncio.sleep(_RETRY_SECONDS)
        while True:
            moved = await self._try_pass()
            await asyncio.sleep(0 if moved >= _BATCH else _PAUSE_SECONDS)

    async def finish(self) -> None:
        """Drain what is there now, once the other workers that stop have done so, and let go of the lock."""
        patience = _FINISH_SECONDS
        while not self._take_lock():
            patience -= _LOOK_SECONDS
            if patience < 0:
                return
            await asyncio.sleep(_LOOK_SECONDS)
        while await self._try_pass() > 0:
            pass
        os.close(self._lock_fd)
        self._lock_fd = -1

    async def settle_past(self) -> None:
        """Bring every earlier session's journal into the ledger, before the first request; all may do it at once."""
        fd = os.open(self._folder / "past.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not _try_flock(fd):  # noqa: ASYNC110 - another process holds it, and no event tells of its end
                await asyncio.sleep(0.05)
            for name in segments(self._folder):
                if name.session != self._session:
                    await self._drain_whole(name)
        finally:
            os.close(fd)
            self._offsets.clear()

    async def _drain_whole(self, name: SegmentName) -> None:
        while await self._drain(name) > 0:
            pass

    def backlog_bytes(self) -> int:
        """Bytes of journal that are not in the ledger yet, as far as this process knows."""
        total = 0
        for name in segments(self._folder):
            size = (self._folder / str(name)).stat().st_size
            total += max(0, size - self._offsets.get(name, 0))
        return total

    def _take_lock(self) -> bool:
        if self._lock_fd >= 0:
            return True
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._folder / "drainer.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if _try_flock(descriptor):
            self._lock_fd = descriptor
            return True
        os.close(descriptor)
        return False

    async def _try_pass(self) -> int:
        moved = 0
        try:
            for name in segments(self._folder):
                moved += await self._drain(name)
        except PolyforgeError as error:
            self._offsets.clear()
            self._on_error(error)
            await asyncio.sleep(_RETRY_SECONDS)
        return moved

    async def _drain(self, name: SegmentName) -> int:
        """Move one batch of a segment; how many records it was. A segment that is through and dead is removed."""
        path = self._folder / str(name)
        start = self._offsets.get(name)
        if start is None:
            start = self._offsets[name] = await self._ledger.offset(str(name))
        if start >= FINISHED:
            await self._remove(name)
            return 0
        dead = not is_owned(path)
        entries = await _read_batch(read(path, start, intents=False))
        if entries:
            settled = [entry.record for entry in entries if isinstance(entry.record, UsageRecord)]
            await self._move(name, start, entries[-1].end, settled)
            return len(entries)
        if dead and self._may_finish(name):
            left = [] if self._has_successor(name) else _left_open(path, self._clock.now())
            await self._move(name, start, FINISHED, left)
            await self._remove(name)
        return 0

    async def _move(self, name: SegmentName, start: int, end: int, records: Sequence[UsageRecord]) -> None:
        await self._ledger.append(str(name), start, end, records)
        self._offsets[name] = end

    async def _remove(self, name: SegmentName) -> None:
        (self._folder / str(name)).unlink(missing_ok=True)
        await self._ledger.forget(str(name))
        self._offsets.pop(name, None)

    def _may_finish(self, name: SegmentName) -> bool:
        """Not before the worker's next start has recovered its counters from it, which a later segment proves."""
        return name.session != self._session or self._has_successor(name) or self._has_next_start(name)

    def _has_successor(self, name: SegmentName) -> bool:
        return any(other[:3] == name[:3] and other.segment > name.segment for other in segments(self._folder))

    def _has_next_start(self, name: SegmentName) -> bool:
        return any(other[:2] == name[:2] and other.incarnation > name.incarnation for other in segments(self._folder))


def _try_flock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _read_batch(entries: Iterator[Entry]) -> list[Entry]:
    """At most a batch, in slices between which the event loop can serve requests."""
    batch: list[Entry] = []
    while len(batch) < _BATCH:
        some = list(islice(entries, _SLICE))
        batch += some
        if len(some) < _SLICE:
            break
        await asyncio.sleep(0)
    return batch


def _left_open(path: Path, now: float) -> list[UsageRecord]:
    """The ledger rows of the intents that a dead segment never settled."""
    intents: dict[str, Intent] = {}
    for entry in read(path):
        if isinstance(entry.record, Intent):
            intents[entry.record.id] = entry.record
        else:
            intents.pop(entry.record.id, None)
    return [intent.interrupted(now) for intent in intents.values()]
