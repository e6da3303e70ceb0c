"""What waits in the journal, as the ledger itself says how far it got: so every worker tells the same."""

import asyncio
from pathlib import Path
from typing import Protocol

import msgspec

from polyforge.tenancy.ledger.journal import read, segments
from polyforge.tenancy.ledger.records import UsageRecord


class Offsets(Protocol):
    """Where the ledger keeps how far it has read."""

    async def offset(self, journal: str) -> int:
        """Up to where a journal was moved; 0 for one that is not known."""
        ...


class Backlog(msgspec.Struct, frozen=True):
    """What is settled and not in the ledger yet."""

    size: int
    """Bytes of journal from the first such record on."""
    oldest: float | None
    """When the call of that record ended, in seconds since the epoch; None where nothing waits."""


async def backlog_of(folder: Path, ledger: Offsets) -> Backlog:
    """Over all segments; a look for now and then, which opens each of them."""
    size, ends = 0, list[float]()
    for name in await asyncio.to_thread(segments, folder):
        start = await ledger.offset(str(name))
        waiting = await asyncio.to_thread(_waiting, folder / str(name), start)
        if waiting is not None:
            size += waiting[0]
            ends.append(waiting[1])
    return Backlog(size, min(ends, default=None))


def _waiting(path: Path, start: int) -> tuple[int, float] | None:
    try:
        first = next(read(path, start, intents=False), None)
        size = path.stat().st_size
    except FileNotFoundError:
        # The drainer was through with it just now.
        return None
    if first is None or not isinstance(first.record, UsageRecord):
        return None
    return max(0, size - start), first.record.started_at + first.record.duration_ms / 1000
