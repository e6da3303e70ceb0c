"""A cache in the memory of the process, bounded in bytes and entries.

Each gateway worker has its own: a look-up costs a microsecond and waits for nobody. One that workers share would need
locks and copies between processes on every look-up; who has many workers and wants each answer kept once uses Redis.

What makes room for what is decided by S3-FIFO (Yang et al., FIFO queues are all you need for cache eviction, SOSP
2023): what is new waits in a small queue, and only what was asked for again while it was there, or soon after, gets
into the main one. So a flood of requests that nobody repeats cannot drive out what many ask for. Everything is O(1),
the eviction amortised: an entry of the main queue is put back at most once per look-up that found it.
"""

from collections import OrderedDict
from typing import ClassVar, Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from polyforge.kernel.clock import Clock
from polyforge.ports.cache import CacheStats
from polyforge.ports.secret_source import SecretSource

_OVERHEAD: Final = 300
"""Bytes of bookkeeping per entry: the two objects, and its place in a queue."""
_SMALL_SHARE: Final = 10
_MOST_USES: Final = 3
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
    value: bytes
    expires_at: float
    size: int
    uses: int = 0


class MemoryCache:
    """S3-FIFO over two queues and the keys of what left the small one lately."""

    shared: ClassVar[bool] = False

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._max_bytes = settings.max_bytes
        self._max_entries = settings.max_entries
        self._largest = settings.max_bytes // _MOST_SHARE
        self._monotonic = clock.monotonic
        self._small: OrderedDict[str, _Entry] = OrderedDict()
        self._main: OrderedDict[str, _Entry] = OrderedDict()
        self._ghosts: OrderedDict[str, None] = OrderedDict()
        self._small_size = 0
        self._size = 0
        self._evicted = 0

    async def open(self, secrets: SecretSource) -> None:
        """It is ready."""

    async def close(self) -> None:
        """Forget everything."""
        self._small.clear()
        self._main.clear()
        self._ghosts.clear()
        self._size = self._small_size = 0

    async def get(self, key: str) -> bytes | None:
        """The value, unless its time is over or it had to make room."""
        entry = self._small.get(key) or self._main.get(key)
        if entry is None:
            return None
        if entry.expires_at <= self._monotonic():
            self.delete(key)
            return None
        if entry.uses < _MOST_USES:
            entry.uses += 1
        return entry.value

    def put(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a value; one that is too large for this cache finds no room."""
        small, main = self._small, self._main
        if key in small or key in main:
            self.delete(key)
        size = len(key) + len(value) + _OVERHEAD
        if size > self._largest:
            self._evicted += 1
            return
        entry = _Entry(value, self._monotonic() + ttl, size)
        if key in self._ghosts:
            del self._ghosts[key]
            main[key] = entry
        else:
            small[key] = entry
            self._small_size += size
        self._size += size
        if self._size > self._max_bytes or len(small) + len(main) > self._max_entries:
            self._make_room()

    def delete(self, key: str) -> None:
        """Let go of a value."""
        entry = self._small.pop(key, None)
        if entry is not None:
            self._small_size -= entry.size
        else:
            entry = self._main.pop(key, None)
        if entry is not None:
            self._size -= entry.size

    async def clear(self, prefix: str) -> int:
        """Let go of every key that begins with `prefix`; how many there were."""
        found = [key for queue in (self._small, self._main) for key in queue if key.startswith(prefix)]
        for key in found:
            self.delete(key)
        return len(found)

    def stats(self) -> CacheStats:
        """How it does."""
        return CacheStats(len(self._small) + len(self._main), self._size, self._max_bytes, evicted=self._evicted)

    def _make_room(self) -> None:
        while self._size > self._max_bytes or len(self._small) + len(self._main) > self._max_entries:
            if self._small and (self._small_size * _SMALL_SHARE > self._size or not self._main):
                self._leave_small()
            else:
                self._leave_main()

    def _leave_small(self) -> None:
        """The oldest of the small queue goes: into the main one if it was asked for again, else away."""
        key, entry = self._small.popitem(last=False)
        self._small_size -= entry.size
        if entry.uses:
            entry.uses = 0
            self._main[key] = entry
            return
        self._size -= entry.size
        self._evicted += 1
        self._ghosts[key] = None
        if len(self._ghosts) > max(len(self._main), len(self._small)):
            self._ghosts.popitem(last=False)

    def _leave_main(self) -> None:
        """The oldest of the main queue goes, unless it was asked for since: then it goes round again."""
        key, entry = self._main.popitem(last=False)
        if entry.uses and entry.expires_at > self._monotonic():
            entry.uses -= 1
            self._main[key] = entry
            return
        self._size -= entry.size
        self._evicted += 1


ADAPTER = MemoryCache
