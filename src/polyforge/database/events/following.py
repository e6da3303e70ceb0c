"""Keeps what a process remembers of the database abreast of it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from polyforge.kernel.errors import PolyforgeError
from polyforge.telemetry.logs import get_logger

_RETRY_SECONDS: Final = 1.0
_log = get_logger(__name__)


class Follower:
    """Calls `sync` at the start, whenever `wake` is called, and soon again where it failed. `what` is for the log."""

    def __init__(self, what: str, sync: Callable[[], Awaitable[None]]) -> None:
        self._what = what
        self._sync = sync
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.failing = False
        """Whether the last try failed."""

    async def open(self) -> None:
        """Try once, and follow from then on. A database that is down is tried again in the background."""
        self._wake.clear()
        await self._turn()
        self._task = asyncio.create_task(self._follow(), name=f"following {self._what}")

    async def close(self) -> None:
        """Stop following."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def wake(self) -> None:
        """Something may have changed."""
        self._wake.set()

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_SECONDS if self.failing else None):
                    await self._wake.wait()
            self._wake.clear()
            await self._turn()

    async def _turn(self) -> None:
        try:
            await self._sync()
        except PolyforgeError as error:
            self._note_failure(error.message)
        except Exception as error:  # noqa: BLE001  # whatever it was, without this task no change would arrive again
            self._note_failure(repr(error))
        else:
            self.failing = False

    def _note_failure(self, reason: str) -> None:
        if not self.failing:
            _log.warning("what is remembered of the database cannot be followed", what=self._what, reason=reason)
        self.failing = True
