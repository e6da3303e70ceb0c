"""The model host process: its models, its threads, and its socket. Started by the supervisor.

Beside gateways it answers them alone, on a Unix socket; without them, whoever shows its token, on TCP and over gRPC.

Imports only what serving needs: no database, no FastAPI, no telemetry exporters, so that it stays small.
"""

import asyncio
import gc
import os
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Final

# One thread per run is the host's own choice; numpy's linear algebra would start one per core, with a buffer each.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import uvloop

from polyforge import __version__
from polyforge.kernel.hosted_names import is_hosted
from polyforge.ports.model_backend import ModelBackend
from polyforge.secrets.handed import HandedSecrets
from polyforge.serving.api import OipApp
from polyforge.serving.guard import Guard
from polyforge.serving.lifecycle.attempts import LoadAttempts
from polyforge.serving.lifecycle.engine import Engine, Runs
from polyforge.serving.lifecycle.keeping import MEGABYTE, Lifecycle, Limits
from polyforge.serving.lifecycle.known import KnownSignatures
from polyforge.serving.lifecycle.recent import RecentlyUsed, order_of
from polyforge.serving.lifecycle.roster import Roster
from polyforge.serving.lifecycle.tuner import Tuner, machine_is_busy
from polyforge.serving.lifecycle.tunings import FOLDER as TUNING_FOLDER
from polyforge.serving.lifecycle.tunings import Tunings, machine_kind
from polyforge.serving.lifecycle.watchdog import Restart, Watchdog
from polyforge.serving.plan import Plan
from polyforge.serving.repository import HostedModel, Repository
from polyforge.serving.scheduler import Scheduler
from polyforge.serving.served import served_path
from polyforge.serving.settings import ServingSettings
from polyforge.serving.sources import BUILT_IN, REMOTE, ModelSource, model_sources, secret_names
from polyforge.serving.triton.control import ModelControl
from polyforge.serving.triton.polling import RepositoryPoller
from polyforge.serving.tuning import measure
from polyforge.telemetry.logs import configure, get_logger
from polyforge.wiring.engines import engine_for
from polyforge.wiring.http_server import BACKLOG, SupervisedServer
from polyforge.wiring.listening import grpc_listener, token_of
from polyforge.wiring.process import ProcessSpec, run_process
from polyforge.wiring.settings import Settings
from polyforge.wiring.starting import begin
from polyforge.wiring.triton import TritonLoader, triton_control

FOLDER: Final = "models"
"""Of the data folder: what the host keeps, and is told."""
KEEP_ALIVE_SECONDS: Final = 3600
"""Gateways keep their connections; there is nobody else on this socket."""
PUBLIC_KEEP_ALIVE_SECONDS: Final = 75

_log = get_logger(__name__)


class ModelHost:
    """Everything of the model host that settings decide, built but not started."""

    def __init__(self, settings: Settings, scratch: Path | None = None, *, public: bool = False) -> None:
        serving = settings.serving
        self._server_settings = settings.server if public else None
        # Without gateways there is nobody who would know them.
        self._secrets = None if public else HandedSecrets()
        self._cores = usable_cores()
        self.runs = Runs()
        self.repository = Repository([])
        self.scheduler = Scheduler(
            threads=serving.threads or self._cores,
            max_queue=serving.max_queue,
            max_queue_per_model=serving.max_queue_per_model,
            cache_bytes=serving.response_cache_mb * 1_000_000,
            loaders=serving.parallel_loads + 1,
        )
        self._attempts = LoadAttempts(settings.data / FOLDER / "loading.json")
        self.lifecycle = Lifecycle(self.scheduler, _limits(serving), attempts=self._attempts)
        self.recent = RecentlyUsed(settings.data / FOLDER / "recent.json")
        self._known = KnownSignatures(settings.data / FOLDER / "known")
        self._tunings = Tunings(settings.data / TUNING_FOLDER, machine_kind(self._cores))
        self._declared = model_sources(settings.models)
        self.roster = Roster(
            self._declared,
            served_path(settings.data),
            repository=self.repository,
            lifecycle=self.lifecycle,
            recent=self.recent,
            known=self._known,
            make=self._hosted,
            idle_seconds=serving.idle_unload,
        )
        self.roster.list_all()
        self._tuner = self._new_tuner() if serving.tune else None
        self.control = None if serving.repository is None else self._control(serving, serving.repository, scratch)
        self._poller = _poller(serving, self.control)
        self.app = OipApp(
            self.repository,
            self.scheduler,
            version=__version__,
            max_rows=serving.max_batch_texts,
            timeout=serving.timeout_seconds,
            max_body_bytes=serving.max_request_bytes,
            control=self.control,
            lifecycle=self.lifecycle,
            roster=self.roster,
            secrets=self._secrets,
        )
        self._restart = Restart(self.runs, serving.stuck_seconds, self._wind_down)
        self._watchdog = Watchdog(self.runs, serving.stuck_seconds, self._restart.now)
        self._front = Guard(self.app, token_of(settings)) if public else self.app
        self._grpc = grpc_listener(settings, self._front, shared=False) if public else None
        self._drain_seconds = settings.server.drain_seconds

    async def serve(self, listener: socket.socket, *, starting: Callable[[], None], ready: Callable[[], None]) -> None:
        """Answer on `listener` until SIGTERM, then finish what is under way.

        `starting` is called before each model is loaded, `ready` once each has been, or could not be. When a run is
        stuck this never returns: the process ends.
        """
        self.scheduler.open()
        self._watch_secrets()
        self._restart.open(asyncio.get_running_loop())
        self._watchdog.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                if self._grpc is not None:
                    await self._grpc.open()
                beside = [tasks.create_task(work) for work in self._beside(starting, ready)]
                await self._server().serve(sockets=[listener])
                for task in beside:
                    task.cancel()
        finally:
            if self._grpc is not None:
                await self._grpc.close()
            await self.scheduler.close()
            self._watchdog.stop()
            self.repository.close()
            self.recent.save(order_of(self.repository))
            self._attempts.close()

    def _watch_secrets(self) -> None:
        """Load models of other servers once the secrets that they need are there."""
        if self._secrets is None:
            return
        for name in secret_names(self._declared):
            self._secrets.watch(name, self._try_again)

    def _try_again(self) -> None:
        remote = {source.name for source in self._declared if source.hints.backend in REMOTE}
        self.lifecycle.try_again([model for model in self.repository if model.name in remote])

    def _beside(self, starting: Callable[[], None], ready: Callable[[], None]) -> list[Coroutine[Any, Any, None]]:
        beside: list[Coroutine[Any, Any, None]] = [
            self._load(starting, ready),
            self.roster.follow(),
            self.lifecycle.run(),
            self.recent.keep(lambda: self.repository),
        ]
        return beside if self._tuner is None else [*beside, self._tuner.run()]

    def _server(self) -> SupervisedServer:
        public = self._server_settings
        tls = None if public is None else public.tls
        return SupervisedServer(
            self._front,
            drain=self._drain,
            drain_seconds=self._drain_seconds,
            timeout_keep_alive=KEEP_ALIVE_SECONDS if public is None else PUBLIC_KEEP_ALIVE_SECONDS,
            ssl_certfile=None if tls is None else str(tls.cert),
            ssl_keyfile=None if tls is None else str(tls.key),
        )

    def _drain(self) -> None:
        self.app.drain()
        if self._grpc is not None:
            self._grpc.drain(self._drain_seconds)

    async def _load(self, starting: Callable[[], None], ready: Callable[[], None]) -> None:
        await self.roster.begin(starting)
        if self._poller is not None:
            await self._poller.begin()
        if self.control is not None:
            await self.control.load_all(starting)
        # What is loaded stays: no garbage collection needs to look at it again.
        gc.collect()
        gc.freeze()
        ready()
        if self._poller is not None:
            await self._poller.follow()

    def _hosted(self, source: ModelSource) -> HostedModel:
        # What projects registered gets none: the secrets of the settings are the whole installation's.
        secrets = None if is_hosted(source.name) else self._secrets
        engine = Engine(
            source.name,
            lambda: engine_for(source.folder, source.hints, source.name, secrets),
            self.runs,
            lambda signature: self._known.keep(source, signature),
        )
        shape = self._tunings.shape_of(source)
        return HostedModel(source.name, engine, source.version, shape=shape, cores=self._cores)

    def _new_tuner(self) -> Tuner:
        def measured(backend: ModelBackend, cancelled: Callable[[], bool]) -> Plan:
            return measure(backend, self._cores, cancelled=cancelled)

        def source_of(model: HostedModel) -> ModelSource | None:
            # The built-in model takes no time that would be worth measuring.
            return None if model.name == BUILT_IN else self.roster.source_of(model)

        return Tuner(
            lambda: self.repository,
            source_of,
            self._tunings,
            self.scheduler,
            self.runs,
            measured,
            machine_is_busy,
        )

    def _control(self, serving: ServingSettings, folder: Path, scratch: Path | None) -> ModelControl:
        loader = TritonLoader(self.lifecycle, serving.idle_unload)
        return triton_control(folder, self.repository, loader, scratch or Path(gettempdir()), self.runs)

    def _wind_down(self, stuck: str) -> None:
        """A run is stuck, and this process is about to end: take no more requests for its model, and say so."""
        self.app.drain()
        for model in self.repository.versions(stuck):
            # Its callers may come again.
            model.state, model.reason = "LOADING", "one of its runs does not end; the model host starts anew"
        self.recent.save(order_of(self.repository))
        self._attempts.close()


def _poller(serving: ServingSettings, control: ModelControl | None) -> RepositoryPoller | None:
    if control is None or serving.repository is None or serving.repository_poll_seconds is None:
        return None
    return RepositoryPoller(serving.repository, control, serving.repository_poll_seconds)


def _limits(serving: ServingSettings) -> Limits:
    return Limits(
        memory_bytes=None if serving.memory_mb is None else serving.memory_mb * MEGABYTE,
        parallel_loads=serving.parallel_loads,
        wait_seconds=serving.load_seconds,
    )


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
    spec.still_starting()
    settings = begin(spec).settings
    configure(settings.telemetry.log_level, "models")
    host = ModelHost(settings, Path(spec.runtime), public=spec.listen_fd is not None)
    listener = spec.listening_socket() if spec.model_socket is None else bind(Path(spec.model_socket))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(host.serve(listener, starting=spec.still_starting, ready=spec.announce_ready))


if __name__ == "__main__":
    run_process(main)
