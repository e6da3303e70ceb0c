"""Waiting for something to become true, with a deadline instead of a guess."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE = 60.0
"""Seconds after which a test stops waiting; generous, because a slow machine is not a fault."""
PAUSE = 0.02


def eventually(look: Callable[[], T], what: str = "the condition", deadline: float = DEADLINE) -> T:
    """What `look` returns once that is true; AssertionError after `deadline` seconds."""
    end = time.monotonic() + deadline
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {deadline:g} s; last seen: {seen!r}")
        time.sleep(PAUSE)


async def eventually_async(look: Callable[[], T], what: str = "the condition", deadline: float = DEADLINE) -> T:
    """The same, without holding up the event loop."""
    end = time.monotonic() + deadline
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {deadline:g} s; last seen: {seen!r}")
        await asyncio.sleep(PAUSE)
