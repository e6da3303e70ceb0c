"""How long a node may work. Waiting for a place among others does not count."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Final

_limit: Final[ContextVar[asyncio.Timeout | None]] = ContextVar("limit of a node", default=None)


@asynccontextmanager
async def working_time(seconds: float | None) -> AsyncGenerator[asyncio.Timeout]:
    """A limit on what runs within, None: there is none; TimeoutError when it is over."""
    async with asyncio.timeout(seconds) as limit:
        before = _limit.set(limit)
        try:
            yield limit
        finally:
            _limit.reset(before)


@asynccontextmanager
async def in_turn(places: asyncio.Semaphore) -> AsyncGenerator[None]:
    """One of so many places; meanwhile the limit of the node that waits stands still.

    That ends, for who has a place is limited in time. Of several waits of one node at once the first counts.
    """
    limit, now = _limit.get(), asyncio.get_running_loop().time
    over_at, began = None if limit is None or limit.expired() else limit.when(), now()
    if limit is None or over_at is None:
        await places.acquire()
    else:
        limit.reschedule(None)
        try:
            await places.acquire()
        finally:
            limit.reschedule(over_at + now() - began)
    try:
        yield
    finally:
        places.release()
