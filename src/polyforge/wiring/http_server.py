"""uvicorn as a supervised process runs it."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Generator
from typing import Any, Final

import uvicorn

from polyforge.telemetry.logs import get_logger
from polyforge.wiring.http_connection import HttpConnection

BACKLOG: Final = 2048
_log = get_logger(__name__)


class SupervisedServer(uvicorn.Server):
    """SIGTERM drains and ends with status 0; Ctrl-C is the supervisor's business.

    `drain` is called when the end begins, `announce` once connections are accepted. Further arguments are uvicorn's.
    """

    def __init__(
        self,
        app: Any,
        *,
        drain: Callable[[], None],
        drain_seconds: float,
        announce: Callable[[], None] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=HttpConnection,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                backlog=BACKLOG,
                timeout_graceful_shutdown=max(1, int(drain_seconds)),
                **arguments,
            )
        )
        self._on_drain = drain
        self._on_start = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept, then say so."""
        await super().startup(sockets)
        if self._on_start is not None:
            self._on_start()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Replaces uvicorn's, which raises the signal again at the end, so that the exit status would not be 0."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._drain)
        loop.add_signal_handler(signal.SIGINT, _log.debug, "SIGINT is left to the supervisor")
        yield

    def _drain(self) -> None:
        self.should_exit = True
        try:
            self._on_drain()
        except Exception:  # noqa: BLE001 - whatever it was, a process that was told to end ends
            _log.exception("draining broke; what was not told of it ends with the process")
