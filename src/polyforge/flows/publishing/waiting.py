"""Calls that wait for their runs: so many at once, for as long as their callers stay and the process does."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from polyforge.flows.publishing.running import Runs
from polyforge.flows.running.records import FlowRun
from polyforge.tenancy.callers import Caller

MOST: Final = 200
MOST_OF_ONE: Final = 20
"""Calls of one key that wait in a process at once."""


class RunWaiters:
    """Who waits in this process. Whoever may not wait is told of the run as it is; it goes on by itself."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._callers = Counter[str]()
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """Let every call answer now, and no other wait."""
        self._draining.set()

    async def wait(self, caller: Caller, run: FlowRun, seconds: float, left: Callable[[], Awaitable[None]]) -> FlowRun:
        """A run once it is over, or as it is after so long; sooner when `left` returns, as it does without a caller."""
        if self._callers.total() >= MOST or self._callers[caller.key_id] >= MOST_OF_ONE:
            return run
        self._callers[caller.key_id] += 1
        try:
            return await self._first(caller, run, seconds, left)
        finally:
            self._callers[caller.key_id] -= 1
            self._callers += Counter()

    async def _first(
        self, caller: Caller, run: FlowRun, seconds: float, left: Callable[[], Awaitable[None]]
    ) -> FlowRun:
        waiting = asyncio.ensure_future(self._runs.wait(caller, run.id, seconds))
        others = [asyncio.ensure_future(left()), asyncio.ensure_future(self._draining.wait())]
        try:
            await asyncio.wait([waiting, *others], return_when=asyncio.FIRST_COMPLETED)
            return waiting.result() if waiting.done() else await self._runs.get(caller, run.id)
        finally:
            for each in (waiting, *others):
                each.cancel()
            await asyncio.gather(waiting, *others, return_exceptions=True)
