"""A cache in the memory of the process, bounded in bytes and entries.

Each gateway worker has its own: a look-up costs a microsecond and waits for nobody. One that workers share would need
locks and copies between processes on every look-up; who has many workers and wants each answer kept once uses Redis.

What makes room for what is decided by S3-FIFO (Yang et al., FIFO queues are all you need for cache eviction, SOSP
2023): what is new waits in a small queue, and only what was asked for again while it was there, or soon after, gets
into the main one. So a flood of requests that nobody repeats cannot drive out what many ask for. Everything is O(1),
the eviction amortised: an entry of the main queue is put back at most once per look-up that found it.
"""

from collections import deque
from struct import Struct
from typing import ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field

from polyforge.kernel.clock import Clock
from polyforge.ports.cache import CacheStats
from polyforge.ports.secret_source import SecretSource

_OVERHEAD: Final = 300
"""Bytes of bookkeeping per entry: the two objects, and their places in the dictionary and in a queue."""
_SMALL_SHARE: Final = 10
_MOST_USES: Final = 3
_FEW_STALE: Final = 100
"""So many places in queues may be of entries that are gone, beside one for each that is there."""
_AT_ONCE: Final = 64
"""So many values get their places together: one after the other, that is done in half the time."""
_SHORT: Final = 16 * 1024
"""Most bytes of a value that may wait for others, less where all of them would be more than a tenth of the cache."""
_EXPIRY: Final = Struct("<d")
_MOST_SHARE: Final = 4
"""A value of more than this part of the whole would drive too much out."""


class Settings(BaseModel):
    """Answers in the memory of each gateway worker."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_bytes: int = Field(
        default=64 * 1024 * 1024, ge=64 * 1024, description="Most memory for answers, in each gateway worker."
    )
    max_entries: int = Field(default=100_000, ge=10, description="Most answers, in each gateway worker.")


class MemoryCache:
    """S3-FIFO over two queues and the keys of what left the small one lately, all found by one dictionary.

    An entry that nobody asked for is two objects, its key and its value with the end of its time before it: whatever
    lives for long lies between what lives for one request, which is slower the more there is of it.
    """

    shared: ClassVar[bool] = False

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._max_bytes = settings.max_bytes
        self._max_entries = settings.max_entries
        self._largest = settings.max_bytes // _MOST_SHARE
        self._short = min(_SHORT, settings.max_bytes // (_AT_ONCE * _SMALL_SHARE))
        self._monotonic = clock.monotonic
        self._values: dict[str, bytes | None] = {}
        """None: it left the small queue lately, and its key alone is remembered."""
        self._asked: dict[str, int] = {}
        """How often entries were asked for, at most `_MOST_USES` times."""
        self._in_main: set[str] = set()
        self._small: deque[str] = deque()
        self._main: deque[str] = deque()
        self._ghosts: deque[str] = deque()
        """The keys in the order in which they came; some may be of what was deleted since."""
        self._fresh: dict[str, bytes] = {}
        """What came last, and has no place yet."""
        self._remembered = 0
        self._small_size = 0
        self._size = 0
        self._evicted = 0

    async def open(self, secrets: SecretSource) -> None:
        """It is ready."""

    async def close(self) -> None:
        """Forget everything."""
        for each in (self._values, self._asked, self._in_main, self._small, self._main, self._ghosts, self._fresh):
            each.clear()
        self._remembered = self._size = self._small_size = 0

    def may_have(self, key: str) -> bool:
        """Whether there is such a key, or was until lately."""
        return key in self._values or key in self._fresh

    async def get(self, key: str) -> bytes | None:
        """The value, unless its time is over or it had to make room."""
        if key in self._fresh:
            self._settle()
        data = self._values.get(key)
        if data is None:
            return None
        if _expiry(data) <= self._monotonic():
            self._drop(key)
            return None
        asked = self._asked.get(key, 0)
        if asked < _MOST_USES:
            self._asked[key] = asked + 1
        return data[_EXPIRY.size :]

    def put(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a value; one that is too large for this cache finds no room."""
        self._fresh[key] = _EXPIRY.pack(self._monotonic() + ttl) + value
        if len(self._fresh) >= _AT_ONCE or len(value) > self._short:
            self._settle()

    def _settle(self) -> None:
        """Give what came last its places."""
        fresh, self._fresh = self._fresh, {}
        for key, data in fresh.items():
            self._place(key, data)

    def _place(self, key: str, data: bytes) -> None:
        size = len(key) + len(data) + _OVERHEAD
        if size > self._largest:
            self._drop(key)
            self._evicted += 1
            return
        values = self._values
        if key in values:
            self._make_way(key)
        else:
            self._small.append(key)
        values[key] = data
        self._size += size
        if key not in self._in_main:
            self._small_size += size
        if self._size > self._max_bytes or len(values) - self._remembered > self._max_entries:
            self._make_room()

    def _make_way(self, key: str) -> None:
        """Let another value take the place of one, or the place in the main queue that one comes to that is back."""
        data = self._values[key]
        if data is not None:
            self._count_off(key, data)
            return
        self._remembered -= 1
        self._in_main.add(key)
        self._main.append(key)
        self._tidy()

    def delete(self, key: str) -> None:
        """Let go of a value."""
        self._fresh.pop(key, None)
        self._drop(key)

    def _drop(self, key: str) -> None:
        data = self._values.get(key)
        if data is None:
            return
        self._count_off(key, data)
        self._forget(key)
        self._tidy()

    def _count_off(self, key: str, data: bytes) -> None:
        size = len(key) + len(data) + _OVERHEAD
        self._size -= size
        if key not in self._in_main:
            self._small_size -= size

    def _forget(self, key: str) -> None:
        del self._values[key]
        self._asked.pop(key, None)
        self._in_main.discard(key)

    def _tidy(self) -> None:
        """Take out of the queues what is not there any more, once that is more than what is."""
        values, in_main = self._values, self._in_main
        if len(self._small) + len(self._main) + len(self._ghosts) <= 2 * len(values) + _FEW_STALE:
            return
        self._small = deque(dict.fromkeys(key for key in self._small if values.get(key) and key not in in_main))
        self._main = deque(dict.fromkeys(key for key in self._main if key in in_main))
        self._ghosts = deque(dict.fromkeys(key for key in self._ghosts if values.get(key, b"") is None))

    async def clear(self, prefix: str) -> int:
        """Let go of every key that begins with `prefix`; how many there were."""
        self._settle()
        found = [key for key, data in self._values.items() if data is not None and key.startswith(prefix)]
        for key in found:
            self._drop(key)
        return len(found)

    def stats(self) -> CacheStats:
        """How it does."""
        self._settle()
        entries = len(self._values) - self._remembered
        return CacheStats(entries, self._size, self._max_bytes, evicted=self._evicted)

    def _make_room(self) -> None:
        values, main = self._values, self._main
        while self._size > self._max_bytes or len(values) - self._remembered > self._max_entries:
            if self._small and (self._small_size * _SMALL_SHARE > self._size or not main):
                self._leave_small()
            else:
                self._leave_main()

    def _leave_small(self) -> None:
        """The oldest of the small queue goes: into the main one if it was asked for again, else away."""
        key = self._small.popleft()
        data = self._values.get(key)
        if data is None or key in self._in_main:
            return
        size = len(key) + len(data) + _OVERHEAD
        self._small_size -= size
        if self._asked and self._asked.pop(key, 0):
            self._in_main.add(key)
            self._main.append(key)
            return
        self._size -= size
        self._evicted += 1
        self._values[key] = None
        self._ghosts.append(key)
        self._remembered += 1
        there = len(self._values) - self._remembered
        if self._remembered > max(len(self._in_main), there - len(self._in_main)):
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        """Of what is remembered by its key, the one that left first is remembered no more."""
        while self._values.get(key := self._ghosts.popleft(), b"") is not None:
            continue
        del self._values[key]
        self._remembered -= 1

    def _leave_main(self) -> None:
        """The oldest of the main queue goes, unless it was asked for since: then it goes round again."""
        key = self._main.popleft()
        data = self._values.get(key)
        if data is None or key not in self._in_main:
            return
        asked = self._asked.get(key, 0)
        if asked and _expiry(data) > self._monotonic():
            self._asked[key] = asked - 1
            self._main.append(key)
            return
        self._count_off(key, data)
        self._forget(key)
        self._evicted += 1


def _expiry(data: bytes) -> float:
    found: float = _EXPIRY.unpack_from(data)[0]
    return found


ADAPTER = MemoryCache
