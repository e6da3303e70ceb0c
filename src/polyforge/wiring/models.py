"""The model host process: its models, its threads, and its Unix socket. Started by the supervisor.

Imports only what serving needs: no database, no FastAPI, no telemetry exporters, so that it stays small.
"""

import asyncio
import gc
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir

# One thread per run is the host's own choice; numpy's linear algebra would start one per core, with a buffer each.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import uvloop

from polyforge import __version__
from polyforge.adapters.model_backends.static_embedding import Settings as StaticEmbeddingSettings
from polyforge.adapters.model_backends.static_embedding import StaticEmbedding
from polyforge.kernel.errors import SettingsError
from polyforge.serving.api import OipApp
from polyforge.serving.repository import HostedModel, Repository
from polyforge.serving.scheduler import Scheduler
from polyforge.serving.sources import ModelSource, model_sources
from polyforge.telemetry.logs import configure, get_logger
from polyforge.wiring.http_server import BACKLOG, SupervisedServer
from polyforge.wiring.process import ProcessSpec, run_process
from polyforge.wiring.settings import Settings
from polyforge.wiring.starting import begin
from polyforge.wiring.triton import triton_control

KEEP_ALIVE_SECONDS = 3600
"""Gateways keep their connections; there is nobody else on this socket."""

_log = get_logger(__name__)


class ModelHost:
    """Everything of the model host that settings decide, built but not started."""

    def __init__(self, settings: Settings, scratch: Path | None = None) -> None:
        self.repository = Repository(_hosted(source) for source in model_sources(settings.models))
        self.scheduler = Scheduler(
            threads=settings.serving.threads or usable_cores(), max_queue=settings.serving.max_queue
        )
        folder = settings.serving.repository
        self.control = (
            None
            if folder is None
            else triton_control(folder, self.repository, self.scheduler, scratch or Path(gettempdir()))
        )
        self.app = OipApp(
            self.repository,
            self.scheduler,
            version=__version__,
            max_rows=settings.serving.max_batch_texts,
            timeout=settings.serving.timeout_seconds,
            control=self.control,
        )
        self._drain_seconds = settings.server.drain_seconds

    async def serve(self, listener: socket.socket, *, starting: Callable[[], None], ready: Callable[[], None]) -> None:
        """Answer on `listener` until SIGTERM, then finish what is under way.

        `starting` is called before each model is loaded, `ready` once each has been, or could not be.
        """
        self.scheduler.open()
        try:
            async with asyncio.TaskGroup() as tasks:
                loading = tasks.create_task(self._load(starting, ready))
                await self._server().serve(sockets=[listener])
                loading.cancel()
        finally:
            await self.scheduler.close()
            self.repository.close()

    def _server(self) -> SupervisedServer:
        return SupervisedServer(
            self.app,
            drain=self.app.drain,
            drain_seconds=self._drain_seconds,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )

    async def _load(self, starting: Callable[[], None], ready: Callable[[], None]) -> None:
        for model in self.repository:
            starting()
            try:
                await self.scheduler.load(model)
            except RuntimeError:
                _log.exception("a model broke while loading", model=model.name)
            if not model.ready:
                _log.error("a model is not served", model=model.name, reason=model.reason)
        if self.control is not None:
            await self.control.load_all(starting)
        # What is loaded stays: no garbage collection needs to look at it again.
        gc.collect()
        gc.freeze()
        ready()


def _hosted(source: ModelSource) -> HostedModel:
    return HostedModel(source.name, StaticEmbedding(StaticEmbeddingSettings(folder=source.folder)))


def usable_cores() -> int:
    """The cores that this process may run on."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def bind(path: Path) -> socket.socket:
    """A listening Unix socket that only this user can connect to; replaces what a killed host left behind."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setblocking(False)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    listener.listen(BACKLOG)
    return listener


def main() -> None:
    """Be the model host that POLYFORGE_PROCESS describes."""
    spec = ProcessSpec.from_environment()
    spec.die_with_supervisor()
    settings = begin(spec).settings
    configure(settings.telemetry.log_level, "models")
    if spec.model_socket is None:
        raise SettingsError("POLYFORGE_PROCESS: the model host was given no socket")
    host = ModelHost(settings, Path(spec.runtime))
    listener = bind(Path(spec.model_socket))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(host.serve(listener, starting=spec.still_starting, ready=spec.announce_ready))


if __name__ == "__main__":
    run_process(main)
