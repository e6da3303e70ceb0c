"""The port to a cache of answers: bytes by key, for a while. Losing any of them costs a call to a model, no more."""

from typing import ClassVar, Protocol

import msgspec

from polyforge.ports.secret_source import SecretSource


class CacheStats(msgspec.Struct, frozen=True):
    """How a cache does. None: it cannot tell."""

    entries: int | None
    size: int | None
    """Bytes that the entries take, keys and bookkeeping included."""
    capacity: int | None
    """Bytes that it may take."""
    evicted: int = 0
    """Entries that made room for others, and values that found none."""
    failures: int = 0
    """Calls that came to nothing because the cache could not be reached in time."""
    available: bool = True


class Cache(Protocol):
    """Keeps values for a while. Built from its settings and a clock, `Adapter(settings, clock)`; that does no I/O.

    A cache that cannot be reached has nothing and takes nothing: `get`, `put` and `delete` never raise, and never hold
    a request up for more than a few hundredths of a second.
    """

    shared: ClassVar[bool]
    """Whether every process finds what one of them keeps."""

    async def open(self, secrets: SecretSource) -> None:
        """Get ready. Does not require anything else to be up. `secrets` is where `secret:name` is asked for."""
        ...

    async def close(self) -> None:
        """Let go of what `open` took."""
        ...

    def may_have(self, key: str) -> bool:
        """False where there is surely no such value, and that can be told without waiting: nobody need `get` it."""
        ...

    async def get(self, key: str) -> bytes | None:
        """The value that was put there last, unless its time is over or it had to make room."""
        ...

    def put(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a value for `ttl` seconds, instead of what was there. Returns at once; a `get` that follows sees it."""
        ...

    def delete(self, key: str) -> None:
        """Let go of a value. Returns at once, as `put` does."""
        ...

    async def clear(self, prefix: str) -> int:
        """Let go of every key that begins with `prefix`; how many there were. Unavailable when that cannot be done."""
        ...

    def stats(self) -> CacheStats:
        """How it does, as far as this process knows."""
        ...
