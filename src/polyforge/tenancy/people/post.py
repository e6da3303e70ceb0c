"""Messages on their way out, made and sent in the background, so that no answer tells whether there was one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from polyforge.kernel.errors import PolyforgeError, Unavailable
from polyforge.ports.notifier import Notice, Notifier
from polyforge.ports.secret_source import SecretSource
from polyforge.telemetry.logs import get_logger

_log = get_logger(__name__)

MAX_WAITING: Final = 1_000
_WORKERS: Final = 2
_PAUSES: Final = (1.0, 10.0)
"""Seconds before the second and the third try."""

Make = Callable[[], Awaitable[Notice | None]]
"""Makes a message, or finds that there is none to send."""


class Post:
    """A bounded queue of messages to make and send. What waits when the process ends is lost: people ask again."""

    def __init__(self, notifier: Notifier, *, pauses: tuple[float, ...] = _PAUSES) -> None:
        self._notifier = notifier
        self._pauses = pauses
        self._queue: asyncio.Queue[Make] = asyncio.Queue(MAX_WAITING)
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, secrets: SecretSource) -> None:
        """Begin to send."""
        await self._notifier.open(secrets)
        self._tasks = [asyncio.create_task(self._work(), name="post") for _ in range(_WORKERS)]

    async def close(self) -> None:
        """Stop sending."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._notifier.close()

    def put(self, make: Make) -> None:
        """Have a message made and sent later; Unavailable when too many wait."""
        try:
            self._queue.put_nowait(make)
        except asyncio.QueueFull as error:
            raise Unavailable("too many messages wait to be sent; try again later", retry_after=60.0) from error

    async def settled(self) -> None:
        """Wait until everything that was put is sent or given up."""
        await self._queue.join()

    async def _work(self) -> None:
        while True:
            make = await self._queue.get()
            try:
                notice = await make()
                if notice is not None:
                    await self._send(notice)
            except PolyforgeError as error:
                _log.error("a message could not be sent", reason=error.message)
            except Exception:  # noqa: BLE001 - whatever it was, the messages behind it must go out
                _log.exception("a message could not be made")
            finally:
                self._queue.task_done()

    async def _send(self, notice: Notice) -> None:
        for pause in self._pauses:
            try:
                await self._notifier.send(notice)
            except PolyforgeError as error:
                _log.warning("a message will be sent again", reason=error.message)
                await asyncio.sleep(pause)
            else:
                return
        await self._notifier.send(notice)
