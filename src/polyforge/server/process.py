"""The gateway process, one worker of `polyforge up`: the platform that wiring builds, served over HTTP."""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Callable, Generator
from typing import Final

import httptools
import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from polyforge.kernel.clock import SystemClock
from polyforge.server.app import Application
from polyforge.server.http import CONNECTION, Presence
from polyforge.server.inference import Inference
from polyforge.server.management import build_management
from polyforge.server.models import Models
from polyforge.server.observing import Observation
from polyforge.server.operations import Operations
from polyforge.telemetry.logs import configure, get_logger
from polyforge.tenancy import api as tenancy_api
from polyforge.wiring.gateway import GatewayPlatform
from polyforge.wiring.process import ProcessSpec
from polyforge.wiring.settings import Settings, load

_BACKLOG: Final = 2048
_KEEP_ALIVE_SECONDS: Final = 75
_HEAD_BYTES: Final = 64 * 1024
_COLLECT_AFTER: Final = (20_000, 20, 50)
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")

_log = get_logger(__name__)


def create_app(platform: GatewayPlatform) -> Application:
    """The ASGI application over a platform."""
    settings = platform.settings
    access = platform.lines if settings.telemetry.access_log else None
    observation = Observation(platform.metrics, access, platform.tracer)
    inference = Inference(
        settings.gateway, platform.keys, platform.catalog, platform.gateway, observation, platform.tracer
    )
    management = build_management([tenancy_api.router(platform.key_service, platform.usage_service)])
    models = Models(platform.catalog, platform.clock.now())
    operations = Operations(platform.render_metrics, _is_private(settings))
    return Application(inference, models, operations, management, platform.keys)


def _is_private(settings: Settings) -> bool:
    return settings.server.host in _LOOPBACK and not settings.server.behind_proxy


class _Protocol(HttpToolsProtocol):
    """uvicorn's HTTP with a bound on the request line and the headers, and with word of lost connections."""

    _head_bytes = 0
    _in_head = True
    presence: Presence | None = None
    lost = False

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"] = {CONNECTION: self}

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.lost = True
        if self.presence is not None:
            self.presence.gone()

    def data_received(self, data: bytes) -> None:
        if self._in_head and self._head_bytes > _HEAD_BYTES:
            self.send_400_response("The headers are too long.")
            return
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) + len(value) > _HEAD_BYTES:
            raise httptools.HttpParserError("a header is too long")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        self._head_bytes = 0
        super().on_message_complete()


class _Server(uvicorn.Server):
    """uvicorn with the signals of a supervised process: SIGTERM drains, Ctrl-C is the supervisor's business."""

    def __init__(self, app: Application, settings: Settings, announce: Callable[[], None]) -> None:
        tls = settings.server.tls
        super().__init__(
            uvicorn.Config(
                app,
                http=_Protocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                backlog=_BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=max(1, int(settings.server.drain_seconds)),
                ssl_certfile=str(tls.cert) if tls else None,
                ssl_keyfile=str(tls.key) if tls else None,
            )
        )
        self._app = app
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept, then say so."""
        await super().startup(sockets)
        self._announce()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Replaces uvicorn's, which raises the signal again at the end, so that the exit status would not be 0."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._drain)
        loop.add_signal_handler(signal.SIGINT, _log.debug, "SIGINT is left to the supervisor")
        yield

    def _drain(self) -> None:
        self._app.drain()
        self.should_exit = True


def _spare_the_collector() -> None:
    """What lives as long as the process need not be looked at again; requests make few cycles.

    With the interpreter's own thresholds, collecting took a third of the CPU of a request.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


async def _serve(platform: GatewayPlatform, listener: socket.socket, spec: ProcessSpec) -> None:
    await platform.open()
    _spare_the_collector()
    server = _Server(create_app(platform), platform.settings, spec.announce_ready)
    background = [
        asyncio.create_task(platform.keep_durable(), name="journal"),
        asyncio.create_task(platform.drainer.run(), name="drainer"),
    ]
    try:
        await server.serve(sockets=[listener])
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await platform.close()


def main() -> None:
    """Be the gateway worker that POLYFORGE_PROCESS describes."""
    spec = ProcessSpec.from_environment()
    spec.die_with_supervisor()
    settings, _ = load(spec.config_path, spec.overrides)
    platform = GatewayPlatform(settings, spec, SystemClock())
    configure(settings.telemetry.log_level, f"gateway-{spec.index}", platform.lines)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(platform, spec.listening_socket(), spec))
