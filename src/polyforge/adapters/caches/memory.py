"""A cache in the memory of the process, bounded in bytes and entries.

Each gateway worker has its own: a look-up costs a microsecond and waits for nobody. One that workers share would need
locks and copies between processes on every look-up; who has many workers and wants each answer kept once uses Redis.

What makes room for what is decided by S3-FIFO (Yang et al., FIFO queues are all you need for cache eviction, SOSP
2023): what is new waits in a small queue, and only what was asked for again while it was there, or soon after, gets
into the main one. So a flood of requests that nobody repeats cannot drive out what many ask for. Everything is O(1),
the eviction amortised: an entry of the main queue is put back at most once per look-up that found it.
"""

from collections import deque
from typing import ClassVar, Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from polyforge.kernel.clock import Clock
from polyforge.ports.cache import CacheStats
from polyforge.ports.secret_source import SecretSource

_SMALL, _MAIN, _GHOST, _GONE = range(4)
"""Where an entry is: in one of the queues; remembered by its key alone, because it left the small one lately; deleted,
and still in its queue.
"""
_OVERHEAD: Final = 300
"""Bytes of bookkeeping per entry: the two objects, and its place in a queue."""
_SMALL_SHARE: Final = 10
_MOST_USES: Final = 3
_FEW_GONE: Final = 100
"""So many deleted entries may wait in queues, beside one for each that is there, before all are looked through."""
_MOST_SHARE: Final = 4
"""A value of more than this part of the whole would drive too much out."""


class Settings(BaseModel):
    """Answers in the memory of each gateway worker."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_bytes: int = Field(
        default=64 * 1024 * 1024, ge=64 * 1024, description="Most memory for answers, in each gateway worker."
    )
    max_entries: int = Field(default=100_000, ge=10, description="Most answers, in each gateway worker.")


class _Entry(msgspec.Struct, gc=False):
    key: str
    value: bytes | None
    expires_at: float
    size: int
    uses: int = 0
    place: int = _SMALL


class MemoryCache:
    """S3-FIFO over two queues and the keys of what left the small one lately, all found by one dictionary.

    One, because it is as large as the cache, and each look at it another wait for memory that no processor holds.
    """

    shared: ClassVar[bool] = False

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._max_bytes = settings.max_bytes
        self._max_entries = settings.max_entries
        self._largest = settings.max_bytes // _MOST_SHARE
        self._monotonic = clock.monotonic
        self._entries: dict[str, _Entry] = {}
        self._queues: tuple[deque[_Entry], ...] = (deque(), deque(), deque())
        self._lengths = [0, 0, 0, 0]
        """How many entries are in each place, and how many are gone but still in a queue."""
        self._small_size = 0
        self._size = 0
        self._evicted = 0

    async def open(self, secrets: SecretSource) -> None:
        """It is ready."""

    async def close(self) -> None:
        """Forget everything."""
        self._entries.clear()
        for queue in self._queues:
            queue.clear()
        self._lengths = [0, 0, 0, 0]
        self._size = self._small_size = 0

    def may_have(self, key: str) -> bool:
        """Whether there is such a key, or was until lately."""
        return key in self._entries

    async def get(self, key: str) -> bytes | None:
        """The value, unless its time is over or it had to make room."""
        entry = self._entries.get(key)
        if entry is None or entry.value is None:
            return None
        if entry.expires_at <= self._monotonic():
            self._drop(entry)
            return None
        if entry.uses < _MOST_USES:
            entry.uses += 1
        return entry.value

    def put(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a value; one that is too large for this cache finds no room."""
        size = len(key) + len(value) + _OVERHEAD
        place = _SMALL
        there = self._entries.get(key)
        if there is not None:
            place = _MAIN if there.place == _GHOST else _SMALL
            self._drop(there)
        if size > self._largest:
            self._evicted += 1
            return
        entry = self._entries[key] = _Entry(key, value, self._monotonic() + ttl, size, 0, place)
        self._queues[place].append(entry)
        self._lengths[place] += 1
        if place == _SMALL:
            self._small_size += size
        self._size += size
        if self._is_over():
            self._make_room()

    def delete(self, key: str) -> None:
        """Let go of a value."""
        entry = self._entries.get(key)
        if entry is not None and entry.value is not None:
            self._drop(entry)

    async def clear(self, prefix: str) -> int:
        """Let go of every key that begins with `prefix`; how many there were."""
        found = [each for key, each in self._entries.items() if each.value is not None and key.startswith(prefix)]
        for entry in found:
            self._drop(entry)
        return len(found)

    def stats(self) -> CacheStats:
        """How it does."""
        entries = self._lengths[_SMALL] + self._lengths[_MAIN]
        return CacheStats(entries, self._size, self._max_bytes, evicted=self._evicted)

    def _is_over(self) -> bool:
        lengths = self._lengths
        return self._size > self._max_bytes or lengths[_SMALL] + lengths[_MAIN] > self._max_entries

    def _drop(self, entry: _Entry) -> None:
        """Forget an entry wherever it is; its queue comes to it later, or now where too many wait for that."""
        del self._entries[entry.key]
        self._lengths[entry.place] -= 1
        if entry.value is not None:
            self._size -= entry.size
        if entry.place == _SMALL:
            self._small_size -= entry.size
        entry.value, entry.place = None, _GONE
        lengths = self._lengths
        lengths[_GONE] += 1
        if lengths[_GONE] > len(self._entries) + _FEW_GONE:
            self._queues = tuple(deque(e for e in queue if e.place != _GONE) for queue in self._queues)
            lengths[_GONE] = 0

    def _oldest(self, place: int) -> _Entry:
        """Take the oldest entry out of the queue of a place that has some."""
        queue, lengths = self._queues[place], self._lengths
        while (entry := queue.popleft()).place == _GONE:
            lengths[_GONE] -= 1
        lengths[place] -= 1
        return entry

    def _make_room(self) -> None:
        lengths = self._lengths
        while self._is_over():
            is_main_empty = not lengths[_MAIN]
            if lengths[_SMALL] and (self._small_size * _SMALL_SHARE > self._size or is_main_empty):
                self._leave_small()
            else:
                self._leave_main()

    def _leave_small(self) -> None:
        """The oldest of the small queue goes: into the main one if it was asked for again, else away."""
        entry, lengths = self._oldest(_SMALL), self._lengths
        self._small_size -= entry.size
        if entry.uses:
            entry.uses = 0
            self._enter(entry, _MAIN)
            return
        self._size -= entry.size
        self._evicted += 1
        entry.value = None
        self._enter(entry, _GHOST)
        if lengths[_GHOST] > max(lengths[_MAIN], lengths[_SMALL]):
            del self._entries[self._oldest(_GHOST).key]

    def _leave_main(self) -> None:
        """The oldest of the main queue goes, unless it was asked for since: then it goes round again."""
        entry = self._oldest(_MAIN)
        if entry.uses and entry.expires_at > self._monotonic():
            entry.uses -= 1
            self._enter(entry, _MAIN)
            return
        self._size -= entry.size
        self._evicted += 1
        del self._entries[entry.key]

    def _enter(self, entry: _Entry, place: int) -> None:
        entry.place = place
        self._queues[place].append(entry)
        self._lengths[place] += 1


ADAPTER = MemoryCache
