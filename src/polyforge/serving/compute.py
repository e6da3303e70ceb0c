"""The threads that compute: each takes a job, does it, and tells the event loop.

A `ThreadPoolExecutor` would do, and takes some 20 us more per run for futures that nobody needs.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

T = TypeVar("T")

_Job = Callable[[], None]


class ComputeThreads:
    """At most `limit` threads, started when there is more to do than there are threads."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._running = 0
        self._threads: list[Thread] = []
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()

    @property
    def free(self) -> int:
        """How many jobs would start at once."""
        return self.limit - self._running

    def run(self, compute: Callable[[], T], finish: Callable[[T], None]) -> None:
        """Do `compute`, which raises nothing, in a thread, then `finish` on this event loop."""
        self._running += 1
        if len(self._threads) < min(self._running, self.limit):
            self._start()
        loop = asyncio.get_running_loop()
        self._jobs.put(lambda: _tell(loop, partial(self._end, finish), compute()))

    def _end(self, finish: Callable[[T], None], found: T) -> None:
        self._running -= 1
        finish(found)

    def close(self) -> None:
        """Let the threads end when they have done what they were given."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _start(self) -> None:
        thread = Thread(target=self._work, name=f"compute_{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            # Between two jobs, what the last one held would be kept alive.
            del job


def _tell(loop: asyncio.AbstractEventLoop, finish: Callable[[T], None], found: T) -> None:
    try:
        loop.call_soon_threadsafe(finish, found)
    except RuntimeError:
        # The loop was closed while this ran: nobody is left to tell.
        return
