"""The gateway process: one worker of `polyforge up`. The only place that builds the gateway's rooms."""

import asyncio
import contextlib
import json
import signal
import socket
import sys
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Final

import uvicorn
import uvloop

from polyforge import __version__
from polyforge.adapters.providers import local
from polyforge.adapters.tracing import otlp
from polyforge.database.database import Database
from polyforge.database.schema import ensure_current
from polyforge.gateway.admission import Admission
from polyforge.gateway.dispatch import Dispatch
from polyforge.gateway.health import Health
from polyforge.gateway.service import Gateway
from polyforge.gateway.settlement import Settlement
from polyforge.kernel.clock import Clock, SystemClock
from polyforge.kernel.errors import PolyforgeError, SettingsError
from polyforge.ports.provider import Capabilities, Provider
from polyforge.ports.tracing import Tracer
from polyforge.registry.catalog import LOCAL, Catalog, build_catalog
from polyforge.registry.settings import DeploymentSettings, ModelSettings, Prices
from polyforge.registry.tariffs import tariff_of
from polyforge.server.app import Application
from polyforge.server.inference import Inference
from polyforge.server.management import build_management
from polyforge.server.models import Models
from polyforge.server.observing import Observation
from polyforge.server.operations import Operations
from polyforge.serving.sources import BUILT_IN
from polyforge.telemetry.families import COOLING, JOURNAL_LAG, LOG_DROPPED, TRACES_DROPPED
from polyforge.telemetry.lines import LineWriter
from polyforge.telemetry.logs import configure, get_logger
from polyforge.telemetry.metrics import Metrics
from polyforge.telemetry.metrics import Observation as Reading
from polyforge.telemetry.tracing import NullTracer
from polyforge.tenancy import api as tenancy_api
from polyforge.tenancy.bootstrap import admin_key, install
from polyforge.tenancy.key_cache import KeyCache
from polyforge.tenancy.ledger.counters import SharedCounters
from polyforge.tenancy.ledger.drainer import Drainer
from polyforge.tenancy.ledger.journal import Journal
from polyforge.tenancy.ledger.recovery import next_incarnation, recover
from polyforge.tenancy.service import KeyService, UsageService
from polyforge.tenancy.store import LedgerStore
from polyforge.wiring import adapters
from polyforge.wiring.process import ProcessSpec
from polyforge.wiring.settings import Settings, load

BUILT_IN_MODEL: Final = f"polyforge/{BUILT_IN}"
_BACKLOG: Final = 2048
_KEEP_ALIVE_SECONDS: Final = 75
_SYNC_SECONDS: Final = 1.0
_EXIT_SETTINGS: Final = 2
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")

_log = get_logger(__name__)


class GatewayProcess:
    """Everything of a gateway worker that settings decide, built but not opened."""

    def __init__(self, settings: Settings, spec: ProcessSpec, clock: Clock) -> None:
        self._settings = settings
        self._spec = spec
        self._clock = clock
        runtime = Path(spec.runtime)
        journal_folder = settings.data / "journal"
        name = f"gateway-{spec.index}"
        self.incarnation = next_incarnation(journal_folder, spec.session, spec.index)
        self.admin = admin_key(settings.admin_key, settings.data)
        self.database = Database(settings.database, settings.data)
        self.ledger = LedgerStore(self.database)
        self.counters = SharedCounters(
            runtime / "counters", spec.index, spec.workers, settings.gateway.max_limited_keys
        )
        self.journal = Journal(journal_folder, spec.session, spec.index, self.incarnation)
        self.drainer = Drainer(journal_folder, spec.session, self.ledger, clock, _log_drain_error)
        self.journal_folder = journal_folder
        self.providers = _providers(settings, spec)
        self.catalog = _catalog(settings, self.providers)
        self.health = Health(runtime / "health", self.catalog.deployment_count(), clock)
        self.lines = LineWriter(sys.stderr.fileno(), process=name)
        self.metrics = Metrics(
            runtime / "metrics",
            name,
            models=[model.name for model in self.catalog.listed() if not model.any_task],
            metric_models=settings.telemetry.metric_models,
        )
        self.tracer = _tracer(settings, name)
        self.keys = KeyCache(self.database, clock, given=self.admin.secret.hash, prepare=self._prepare)
        self.operations = Operations(self._render_metrics, _is_private(settings))
        self.app = self._build_application()

    def _build_application(self) -> Application:
        gateway_settings = self._settings.gateway
        admission = Admission(gateway_settings, self.counters, self.journal, self.ledger.spent, self._clock)
        dispatch = Dispatch(gateway_settings, self.providers, self.health, self._clock)
        gateway = Gateway(admission, dispatch, Settlement(self.counters, self.journal, self._clock))
        access = self.lines if self._settings.telemetry.access_log else None
        observation = Observation(self.metrics, access, self.tracer)
        inference = Inference(gateway_settings, self.keys, self.catalog, gateway, observation, self.tracer)
        services = (
            KeyService(self.database, self._clock, self.keys.wake),
            UsageService(self.database, self._clock),
        )
        management = build_management([tenancy_api.router(*services)])
        models = Models(self.catalog, self._clock.now())
        return Application(inference, models, self.operations, management, self.keys)

    async def _prepare(self) -> None:
        """Before the first key is looked up: the schema, the admin key, and what earlier sessions left in the journal."""
        described = json.dumps({"config": self._spec.config, "overrides": self._spec.overrides})
        await ensure_current(self.database, [sys.executable, "-m", "polyforge.wiring.migrate", described])
        await install(self.database, self.admin, self._clock)
        await self.drainer.settle_past()

    async def open(self) -> None:
        """Open everything; a database that is down is waited for in the background."""
        self.lines.open()
        self.metrics.open()
        self.journal_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.counters.open(self.incarnation)
        recover(self.counters, self.journal_folder, self._spec.session, self._spec.index)
        self.journal.open()
        self.health.open()
        await self.database.open()
        await self.tracer.open()
        for provider in self.providers.values():
            await provider.open()
        await self.keys.open()

    async def close(self) -> None:
        """Close everything, the journal last: it holds what the others may still say."""
        await self.keys.close()
        for provider in self.providers.values():
            await provider.close()
        await self.tracer.close()
        self.journal.sync()
        await self.drainer.finish()
        await self.database.close()
        self.journal.close()
        self.counters.close()
        self.health.close()
        self.metrics.close()
        self.lines.close()

    async def keep_durable(self) -> None:
        """Bound what a power cut can take from the journal."""
        while True:
            await asyncio.sleep(_SYNC_SECONDS)
            try:
                await asyncio.to_thread(self.journal.sync)
            except OSError as error:
                _log.error("the journal cannot be synchronised", reason=str(error))

    def _render_metrics(self) -> bytes:
        readings = [
            Reading(COOLING, (deployment.provider, deployment.model), 1.0)
            for model in self.catalog.listed()
            for deployment in model.deployments
            if self.health.cooling_until(deployment.index) > self._clock.now()
        ]
        self.metrics.gauge(JOURNAL_LAG).set(self.drainer.backlog_bytes())
        return self.metrics.render(readings)


def _log_drain_error(error: PolyforgeError) -> None:
    _log.error("usage records wait in the journal", reason=error.message)


def _is_private(settings: Settings) -> bool:
    return settings.server.host in _LOOPBACK and not settings.server.behind_proxy


def _providers(settings: Settings, spec: ProcessSpec) -> dict[str, Provider]:
    if LOCAL in settings.providers:
        raise SettingsError(f"providers.{LOCAL}: this name is our own model host's; choose another")
    built: dict[str, Provider] = {}
    for name, chosen in settings.providers.items():
        adapter, adapter_settings = adapters.find("providers", f"providers.{name}", chosen)
        built[name] = adapter(adapter_settings, settings.gateway.timeouts.connect)
    host = local.Settings(
        socket=spec.model_socket or str(Path(spec.runtime) / "no-model-host.sock"),
        max_texts=settings.serving.max_batch_texts,
        timeout_seconds=settings.serving.timeout_seconds,
    )
    built[LOCAL] = local.LocalProvider(host)
    return built


def _catalog(settings: Settings, providers: Mapping[str, Provider]) -> Catalog:
    capabilities: dict[str, Capabilities] = {name: provider.capabilities for name, provider in providers.items()}
    place = DeploymentSettings(provider=LOCAL, model=BUILT_IN)
    builtin = {BUILT_IN_MODEL: ModelSettings(task="embedding", deployments=(place,))}
    estimate = settings.gateway.estimate
    unknown = tariff_of(Prices(input=estimate.input, output=estimate.output), estimated=True)
    refuse = settings.gateway.unknown_price == "refuse"
    return build_catalog({**builtin, **settings.models}, capabilities, None if refuse else unknown)


def _tracer(settings: Settings, process: str) -> Tracer:
    telemetry = settings.telemetry
    if telemetry.otlp_endpoint is None:
        return NullTracer()
    chosen = otlp.Settings(endpoint=telemetry.otlp_endpoint, sample=telemetry.trace_sample)
    return otlp.OtlpTracer(chosen, process=process, version=__version__)


class _Server(uvicorn.Server):
    """uvicorn with the signals of a supervised process: SIGTERM drains, Ctrl-C is the supervisor's business."""

    def __init__(self, process: GatewayProcess, settings: Settings) -> None:
        tls = settings.server.tls
        super().__init__(
            uvicorn.Config(
                process.app,
                http="httptools",
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
        self._operations = process.operations

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Replaces uvicorn's, which raises the signal again at the end, so that the exit status would not be 0."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._drain)
        loop.add_signal_handler(signal.SIGINT, _log.debug, "SIGINT is left to the supervisor")
        yield

    def _drain(self) -> None:
        self._operations.drain()
        self.should_exit = True


async def _serve(process: GatewayProcess, settings: Settings, listener: socket.socket, spec: ProcessSpec) -> None:
    await process.open()
    background = [
        asyncio.create_task(process.keep_durable(), name="journal"),
        asyncio.create_task(process.drainer.run(), name="drainer"),
    ]
    server = _Server(process, settings)
    announcing = asyncio.create_task(_announce(server, spec), name="ready")
    try:
        await server.serve(sockets=[listener])
    finally:
        for task in (*background, announcing):
            task.cancel()
        await asyncio.gather(*background, announcing, return_exceptions=True)
        await process.close()


async def _announce(server: uvicorn.Server, spec: ProcessSpec) -> None:
    while not server.started:
        await asyncio.sleep(0.005)
    spec.announce_ready()


def main() -> int:
    """Be the gateway worker that POLYFORGE_PROCESS describes."""
    spec = ProcessSpec.from_environment()
    spec.die_with_supervisor()
    try:
        settings, _ = load(spec.config_path, spec.overrides)
        process = GatewayProcess(settings, spec, SystemClock())
        configure(settings.telemetry.log_level, f"gateway-{spec.index}", process.lines)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(process, settings, spec.listening_socket(), spec))
    except SettingsError as error:
        sys.stderr.write(f"{error.message}\n")
        return _EXIT_SETTINGS
    return 0


if __name__ == "__main__":
    sys.exit(main())
