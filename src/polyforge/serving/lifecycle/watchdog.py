"""A run that never ends takes a thread for good, and nobody can end it but the process itself.

Its supervisor starts it again, and models come back by last use. The watch is kept by a thread of its own, for a run
may be stuck on the event loop. Native code that holds the interpreter for good stops that thread, too: then a timer of
faulthandler's, which needs no interpreter, writes down where everybody stands and ends the process.
"""

import asyncio
import faulthandler
import os
import threading
from collections.abc import Callable
from typing import Final

from polyforge.serving.lifecycle.engine import Runs
from polyforge.telemetry.logs import get_logger

STATUS: Final = 75
"""Exit status: trying again may help."""
GRACE_SECONDS: Final = 5.0
"""For the runs that are not stuck, and their answers."""
POLL_SECONDS: Final = 0.05
MOST_LOOK_SECONDS: Final = 1.0
LOOKS: Final = 10
"""In the time that a run may take."""


_log = get_logger(__name__)


class Watchdog:
    """Calls `on_stuck` once, in its thread, with the model and the seconds of a run beyond `seconds`."""

    def __init__(self, runs: Runs, seconds: float, on_stuck: Callable[[str, float], None]) -> None:
        self._runs = runs
        self._seconds = seconds
        self._on_stuck = on_stuck
        self._over = threading.Event()

    def start(self) -> None:
        """Begin to watch."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no longer."""
        self._over.set()
        faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        while not self._over.wait(min(MOST_LOOK_SECONDS, self._seconds / LOOKS)):
            faulthandler.dump_traceback_later(self._seconds + GRACE_SECONDS, exit=True)
            oldest = self._runs.oldest()
            if oldest is not None and oldest[1] > self._seconds:
                self._on_stuck(*oldest)
                return


class Restart:
    """Ends this process for a supervisor to start it again, once the runs that are not stuck are answered.

    `wind_down` is called on the event loop, if that still runs, with the model whose run is stuck.
    """

    def __init__(self, runs: Runs, seconds: float, wind_down: Callable[[str], None]) -> None:
        self._runs = runs
        self._seconds = seconds
        self._wind_down = wind_down
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = threading.Event()
        self._task: asyncio.Task[None] | None = None

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tell it of the event loop."""
        self._loop = loop

    def now(self, model: str, seconds: float) -> None:
        """End the process, from any thread but that of the event loop; this does not return."""
        _log.error("a run does not end: the model host starts anew", model=model, seconds=round(seconds, 1))
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._begin, model)
        self._over.wait(GRACE_SECONDS)
        os._exit(STATUS)

    def _begin(self, model: str) -> None:
        self._wind_down(model)
        self._task = asyncio.get_running_loop().create_task(self._finish())

    async def _finish(self) -> None:
        while self._runs.younger(self._seconds):  # noqa: ASYNC110  # runs are ended in threads
            await asyncio.sleep(POLL_SECONDS)
        # Their answers go out.
        await asyncio.sleep(POLL_SECONDS)
        self._over.set()
