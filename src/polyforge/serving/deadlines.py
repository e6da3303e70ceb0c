"""The times at which requests have waited long enough, kept by one timer: one for each costs some 15 us."""

import asyncio
import time
from collections.abc import Callable

from polyforge.serving.work import Ticket

MIN_SECONDS = 0.001


class Deadlines:
    """Calls `expire` with every watched ticket whose `due` is over; one that is watched on then has a later one."""

    def __init__(self, expire: Callable[[Ticket, float], None]) -> None:
        self._expire = expire
        self._watched: dict[Ticket, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next = float("inf")

    def __len__(self) -> int:
        return len(self._watched)

    def watch(self, ticket: Ticket) -> None:
        """Look after a ticket until it is left alone."""
        self._watched[ticket] = None
        if ticket.due < self._next:
            self._set(ticket.due)

    def leave(self, ticket: Ticket) -> None:
        """Look after a ticket no longer."""
        self._watched.pop(ticket, None)

    def close(self) -> None:
        """Look after none."""
        self._watched.clear()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._next = float("inf")

    def _set(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = when
        left = max(MIN_SECONDS, when - time.monotonic())
        self._timer = asyncio.get_running_loop().call_later(left, self._look)

    def _look(self) -> None:
        now = time.monotonic()
        for ticket in [ticket for ticket in self._watched if ticket.due <= now]:
            self._expire(ticket, now)
        self._timer = None
        self._next = float("inf")
        if self._watched:
            self._set(min(ticket.due for ticket in self._watched))
