"""What a process that calls models is made of: the rooms of a gateway, or of a worker, built from the settings."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Final

from polyforge import __version__
from polyforge.adapters.providers import local
from polyforge.adapters.tracing import otlp
from polyforge.database.database import Database
from polyforge.database.events.tail import EventTail
from polyforge.database.metadata import metadata
from polyforge.database.pruning import ExpiryPruning
from polyforge.database.upgrading import ensure_current
from polyforge.egress.guarding import Guard
from polyforge.flows.running.sealing import SEALED as SEALED_OF_RUNS
from polyforge.gateway.dispatch import Dispatch
from polyforge.gateway.guarding.hop import Guarding
from polyforge.gateway.health import Health
from polyforge.gateway.hosted import HostedModels
from polyforge.gateway.lineup import Lineup, Lineups
from polyforge.gateway.service import Gateway
from polyforge.gateway.settlement import Settlement
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import PolyforgeError, SettingsError, Unavailable
from polyforge.kernel.prices import PriceList
from polyforge.operations.additions.content import NOTHING_ADDED, Additions
from polyforge.ports.provider import Capabilities, Provider
from polyforge.ports.tracing import Tracer
from polyforge.registry.answering import Answering
from polyforge.registry.catalog import LOCAL, Catalog, Origin, build_catalog
from polyforge.registry.costs import Costs
from polyforge.registry.settings import DeploymentSettings, ModelSettings
from polyforge.registry.tariffs import ESTIMATED, tariff_of
from polyforge.secrets.master import load_master_keys
from polyforge.serving.sources import BUILT_IN
from polyforge.telemetry.families import (
    AUDIT_LAG,
    COOLING,
    JOURNAL_LAG,
    LOG_DROPPED,
    PAYLOADS_DROPPED,
    REQUEST_LOG_LAG,
    REQUEST_LOG_REFUSED,
    TRACES_DROPPED,
    Family,
)
from polyforge.telemetry.lines import LineWriter
from polyforge.telemetry.logs import get_logger
from polyforge.telemetry.metrics import Metrics
from polyforge.telemetry.metrics import Observation as Reading
from polyforge.telemetry.tracing import NullTracer
from polyforge.tenancy.admin_key import admin_key
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.bootstrap import install
from polyforge.tenancy.conversations.records import CONTENT_BELONGS_TO, TITLE_BELONGS_TO
from polyforge.tenancy.conversations.tables import conversations
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID
from polyforge.tenancy.history.pruning import HistoryPruning
from polyforge.tenancy.idempotency.service import BELONGS_TO as IDEMPOTENT_BELONGS_TO
from polyforge.tenancy.idempotency.service import Idempotency
from polyforge.tenancy.idempotency.tables import idempotent_requests
from polyforge.tenancy.key_cache import TOLD_SYNC_SECONDS, KeyCache
from polyforge.tenancy.ledger.drainer import Drainer
from polyforge.tenancy.ledger.journal import Journal
from polyforge.tenancy.ledger.recovery import next_incarnation, recover
from polyforge.tenancy.ledger_store import LedgerStore
from polyforge.tenancy.limits.counters import LimitCounters
from polyforge.tenancy.payloads.records import BELONGS_TO as PAYLOAD_BELONGS_TO
from polyforge.tenancy.payloads.tables import request_payloads
from polyforge.tenancy.people.attempts import Attempts
from polyforge.tenancy.people.callers import Principals
from polyforge.tenancy.people.tables import signing_keys, users
from polyforge.tenancy.people.tokens.callers import TokenCallers
from polyforge.tenancy.people.tokens.service import TokenService
from polyforge.tenancy.people.tokens.signing import SigningKeys
from polyforge.tenancy.responses.service import BELONGS_TO as RESPONSE_BELONGS_TO
from polyforge.tenancy.responses.service import Responses
from polyforge.tenancy.responses.tables import responses
from polyforge.tenancy.service import KeyService
from polyforge.tenancy.standing import Standing
from polyforge.tenancy.usage.pruning import MinutePruning
from polyforge.tenancy.vault.declared import DeclaredSecrets
from polyforge.tenancy.vault.records import BELONGS_TO
from polyforge.tenancy.vault.sealing import SealedColumn, Sealing
from polyforge.tenancy.vault.service import VaultService
from polyforge.tenancy.vault.tables import secrets
from polyforge.wiring import adapters
from polyforge.wiring.adding import guarded_provider
from polyforge.wiring.audit import AuditPlatform
from polyforge.wiring.batches import BatchPlatform
from polyforge.wiring.caching import CachePlatform, check_embedders, with_default
from polyforge.wiring.flow_runs import FlowRunPlatform
from polyforge.wiring.flow_triggers import TriggerPlatform
from polyforge.wiring.flows import FlowPlatform
from polyforge.wiring.forgetting import rooms_of_people
from polyforge.wiring.guardrails import check_models, rulebook_of
from polyforge.wiring.jobs import JobPlatform
from polyforge.wiring.limits import LimitPlatform
from polyforge.wiring.objects import ObjectPlatform
from polyforge.wiring.open_inference import NO_SOCKET, hosted_models
from polyforge.wiring.operations import OperationsPlatform
from polyforge.wiring.payloads import PayloadPlatform
from polyforge.wiring.people import PeoplePlatform
from polyforge.wiring.prices import costs_of
from polyforge.wiring.process import ProcessSpec
from polyforge.wiring.registered_models import RegistryPlatform
from polyforge.wiring.request_logs import LogPlatform
from polyforge.wiring.settings import Settings
from polyforge.wiring.starting import Start
from polyforge.wiring.usage import UsagePlatform

BUILT_IN_MODEL: Final = f"polyforge/{BUILT_IN}"
_SYNC_SECONDS: Final = 1.0
SEALED: Final = (
    SealedColumn(secrets, "sealed", BELONGS_TO, master="master"),
    SealedColumn(users, "totp", "totp/{id}"),
    SealedColumn(signing_keys, "sealed", "signing key/{id}"),
    SealedColumn(responses, "sealed", RESPONSE_BELONGS_TO, rows=8),
    SealedColumn(idempotent_requests, "sealed", IDEMPOTENT_BELONGS_TO, rows=8),
    SealedColumn(request_payloads, "sealed", PAYLOAD_BELONGS_TO, rows=8),
    SealedColumn(conversations, "title", TITLE_BELONGS_TO),
    SealedColumn(conversations, "content", CONTENT_BELONGS_TO, rows=8),
    *SEALED_OF_RUNS,
)
"""Every column of sealed values."""

_log = get_logger(__name__)


class GatewayPlatform:
    """Everything of a gateway that settings decide, built but not opened.

    A worker has the same, because what its jobs ask of models takes the same path; it only serves nobody.
    """

    def __init__(self, start: Start, spec: ProcessSpec, clock: Clock) -> None:
        self.settings = settings = start.settings
        self._spec = spec
        self.clock = clock
        self.journal_folder = journal_folder = settings.data / "journal"
        name = spec.name
        self.incarnation = next_incarnation(journal_folder, spec.session, spec.slot)
        # A worker on a machine of its own knows no admin key, and must not replace the gateways'.
        self.admin = admin_key(settings.admin_key, settings.data) if spec.role == "gateway" else None
        self.master = load_master_keys(settings.secrets, settings.data)
        self.database = Database(settings.database, settings.data)
        self.declared_secrets = DeclaredSecrets(self.database, self.master, DEFAULT_ORGANIZATION_ID)
        self.logs = LogPlatform(settings.logs, self.database, clock, self.count(REQUEST_LOG_REFUSED))
        self.journal = Journal(
            journal_folder, spec.session, spec.slot, self.incarnation, before_rotation=self._write_cells
        )
        self.drainer = Drainer(journal_folder, spec.session, self.ledger, clock, _log_drain_error)
        self.metrics_folder = Path(spec.runtime) / "metrics"
        self.metrics = Metrics(self.metrics_folder, name, metric_models=settings.telemetry.metric_models)
        self.lines = LineWriter(sys.stderr.fileno(), process=name, on_drop=self.count(LOG_DROPPED))
        self.tracer = _tracer(settings, name, self.count(TRACES_DROPPED))
        self.keys = KeyCache(
            self.database,
            clock,
            given=None if self.admin is None else self.admin.secret.hash,
            prepare=self._prepare,
            sync_seconds=TOLD_SYNC_SECONDS,
        )
        self.limits = LimitPlatform(settings, spec, self.database, self.ledger, clock, self.journal)
        self.admission = self.limits.admission()
        self.audit = AuditPlatform(settings.audit, self.database, clock, self.master)
        self.events = EventTail(self.database, ready=lambda: self.keys.synchronised)
        self.cache = CachePlatform(settings.cache, self.database, clock, self.recorder)
        self.registry = RegistryPlatform(
            settings, self.database, clock, self.recorder, spec.model_socket, self._declares
        )
        self.lineups = Lineups(self._lineup(settings), self.declared_secrets, self._prepare_lineup)
        self.address = _address(settings, spec)
        self.principals = Principals(self.database)
        self.attempts = Attempts(self.database, clock)
        self.signing_keys = SigningKeys(self.database, clock, self.master, self.recorder)
        self.tokens = TokenCallers(self.database, clock, self.signing_keys, self.principals, self.address)
        self.usage = UsagePlatform(self.database, self.counters, clock, self.recorder)
        self._listen()
        self.token_service = TokenService(
            self.database,
            clock,
            self.signing_keys,
            self.tokens,
            self.principals,
            self.attempts,
            self.recorder,
            self.address,
        )
        self.operations = OperationsPlatform(
            start,
            self.database,
            clock,
            self.recorder,
            self.events,
            self.master,
            self.declared_secrets,
            self.lineups,
            self._lineup,
            spec.slot,
        )
        self.people = PeoplePlatform(
            settings, self.database, clock, self.master, self.recorder, self.principals, self.attempts, self.address
        )
        self.key_service = KeyService(self.database, clock, self.recorder, self.keys.wake)
        self.responses = Responses(settings.responses, self.database, clock, self.master)
        self.idempotency = Idempotency(settings.idempotency, self.database, clock, self.master)
        self.payloads = PayloadPlatform(
            settings.requests.payloads,
            self.database,
            clock,
            self.master,
            self.recorder,
            rooms_of_people(self.database, self.objects, clock),
            self.count(PAYLOADS_DROPPED),
        )
        self.jobs = JobPlatform(settings.jobs, self.database, clock, self.recorder, self.events)

    def _listen(self) -> None:
        """What hears of changes by other processes as they happen."""
        self.events.listen(("keys",), lambda _: self.keys.wake())
        self.events.listen(("people",), self.tokens.heard)
        self.events.listen(("people",), self.keys.heard)
        self.events.listen(("budgets",), self.usage.corrected_budgets.heard)
        self.events.listen(("budgets",), self.limits.book.heard)
        self.events.listen(("secrets",), self.declared_secrets.heard)
        self.events.listen(("cache",), self.cache.administration.heard)
        self.events.listen(("models",), lambda _: self.registry.wake())

    @cached_property
    def sealing(self) -> Sealing:
        """What renews the seals of everything that is sealed."""
        return Sealing(self.database, self.master, SEALED)

    @cached_property
    def vault_service(self) -> VaultService:
        """What keeps secrets for callers."""
        return VaultService(self.database, self.clock, self.recorder, self.master)

    @cached_property
    def standing(self) -> Standing:
        """Who asked for something, as they stand when it is done."""
        return Standing(self.database, self.clock, self.principals)

    @cached_property
    def batches(self) -> BatchPlatform:
        """What callers do with batches."""
        return BatchPlatform(self.settings, self.database, self.objects, self.jobs.service, self.clock, self.recorder)

    @cached_property
    def flows(self) -> FlowPlatform:
        """What callers do with flows."""
        return FlowPlatform(self.settings, self.database, self.clock, self.recorder)

    @cached_property
    def flow_runs(self) -> FlowRunPlatform:
        """What callers do with runs of flows."""
        return FlowRunPlatform(
            self.settings,
            self.database,
            self.flows,
            self.objects.store,
            self.jobs.service,
            self.standing,
            self.master,
            self.clock,
            self.recorder,
            self.admission,
        )

    @cached_property
    def flow_triggers(self) -> TriggerPlatform:
        """What begins runs of flows by itself."""
        return TriggerPlatform(
            self.database,
            self.clock,
            self.recorder,
            self.master,
            self.jobs.schedules,
            self.flows.flows,
            self.flow_runs.runs,
            self.standing,
        )

    @cached_property
    def objects(self) -> ObjectPlatform:
        """Where objects are kept, and files among them."""
        return ObjectPlatform(self.settings, self.database, self.clock, self.recorder)

    @cached_property
    def hosted(self) -> HostedModels:
        """What callers of the Open Inference Protocol reach."""
        return hosted_models(self.settings, self._spec, BUILT_IN_MODEL)

    @property
    def ledger(self) -> LedgerStore:
        """Where usage records end up."""
        return self.logs.ledger

    @property
    def counters(self) -> LimitCounters:
        """What keys have used."""
        return self.limits.counters

    @property
    def recorder(self) -> Recorder:
        """What services tell of changes."""
        return self.audit.recorder

    def count(self, family: Family) -> Callable[[int], None]:
        """What adds to a counter."""
        return lambda lost: self.metrics.counter(family).add(lost)

    def _declares(self, name: str) -> bool:
        return self.lineups.current.catalog.knows(name)

    def _lineup(self, settings: Settings, added: Additions = NOTHING_ADDED) -> Lineup:
        """What serves the models of some settings; SettingsError when they do not work."""
        providers = _providers(settings, self._spec, added)
        costs = costs_of(settings, providers, self.clock)
        catalog = _catalog(settings, providers, costs, self.registry.answering, added)
        half_life = self.settings.gateway.latency_half_life_seconds
        health = Health(_health_path(settings, self._spec, added), catalog.deployment_count(), self.clock, half_life)
        rulebook = rulebook_of(settings)
        check_models(rulebook, catalog)
        dispatch = Dispatch(self.settings.gateway, providers, health, self.limits.limiting, self.clock)
        gateway = Gateway(
            self.admission,
            Guarding(rulebook),
            self.cache.answers,
            dispatch,
            Settlement(self.counters, self.journal, self.clock),
            catalog,
            self.clock,
        )
        return Lineup(catalog, providers, _digests(settings, added), health, rulebook, gateway)

    async def _prepare_lineup(self, lineup: Lineup) -> None:
        """Before requests run on it: its names in the metrics, and the secrets that it was the first to ask for."""
        self.metrics.declare(lineup.catalog.names())
        with suppress(Unavailable):
            await self.declared_secrets.sync()

    async def _prepare(self) -> None:
        """Before the first key is looked up: the schema, the admin key, what earlier sessions left in the journal."""
        await ensure_current(self.database, self.settings.database, self.settings.data, metadata)
        if self.admin is not None:
            await install(self.database, self.admin, self.clock)
        await self.drainer.settle_past()

    async def open(self) -> None:
        """Open everything; a database that is down is waited for in the background."""
        self.lines.open()
        self.metrics.declare(self.lineups.current.catalog.names())
        self.metrics.open()
        self.journal_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.limits.prepare()
        self.counters.open(self.incarnation)
        recover(self.counters, self.journal_folder, self._spec.session, self._spec.slot)
        self.counters.live()
        self.journal.open()
        await self.database.open()
        await self.tracer.open()
        await self.cache.open(self.declared_secrets)
        await self.lineups.open()
        await self.audit.exporters.open(self.declared_secrets)
        await self.logs.exporters.open(self.declared_secrets)
        await self.keys.open()
        await self.limits.open(self.declared_secrets)
        await self.usage.corrected_budgets.open()
        self.flow_runs.streams.listen(self.events)
        await self.events.open()
        await self.declared_secrets.open()
        await self.operations.open()
        await self.people.open(self.declared_secrets)
        await self.registry.open(self.declared_secrets)
        await self.objects.open(self.declared_secrets)
        await self.batches.open(self.declared_secrets)

    async def close(self) -> None:
        """Close everything, the journal last: it holds what the others may still say."""
        await self.batches.close()
        await self.flow_triggers.close()
        await self.objects.close()
        await self.registry.close()
        await self.operations.close()
        await self.idempotency.close()
        await self.payloads.writer.close()
        await self.people.close()
        await self.declared_secrets.close()
        await self.events.close()
        await self.usage.corrected_budgets.close()
        await self.limits.close()
        await self.tokens.close()
        await self.signing_keys.close()
        await self.keys.close()
        await self.audit.exporters.close()
        await self.logs.exporters.close()
        await self.lineups.close()
        await self.hosted.close()
        await self.cache.close()
        await self.tracer.close()
        self.journal.close()
        # Once the ledger has it all, nobody keeps the journal for recovery.
        self.counters.write_cells()
        await self.drainer.finish()
        await self.limits.leave()
        await self.database.close()
        self.counters.close()
        self.metrics.close()
        self.lines.close()

    def _write_cells(self) -> None:
        self.counters.write_cells()

    def background(self) -> list[asyncio.Task[None]]:
        """Start what goes on for as long as the process lives; it is useless once one of these breaks."""
        work = {
            "journal": self.keep_durable(),
            "drainer": self.drainer.run(),
            "payloads": self.keep_payloads(),
            "sealing": self.renew_seals(),
            "model-imports": self.import_models(),
            "registered-models": self.registry.answering.follow(),
            "audit-exports": self.export_audit(),
            "request-log-exports": self.export_logs(),
            "pruning": self.prune_events(),
            "pruning-responses": self.prune_responses(),
        }
        return [asyncio.create_task(each, name=name) for name, each in work.items()]

    async def keep_durable(self) -> None:
        """Bound what a power cut can take from the journal."""
        while True:
            await asyncio.sleep(_SYNC_SECONDS)
            self.cache.measure(self.metrics)
            self.counters.write_cells()
            try:
                await self.journal.make_durable()
            except OSError as error:
                _log.error("the journal cannot be synchronised", reason=str(error))

    async def export_audit(self) -> None:
        """Send audit events to their sinks, once there is a database to read them from."""
        await self.wait_for_schema()
        await self.audit.exporters.run()

    async def export_logs(self) -> None:
        """Send the log of requests to its sinks, once there is a database to read it from."""
        await self.wait_for_schema()
        await self.logs.exporters.run()

    async def keep_payloads(self) -> None:
        """Write down payloads of requests, once there is a database to write them to."""
        await self.wait_for_schema()
        await self.payloads.writer.run()

    async def import_models(self) -> None:
        """Make versions of what was asked for and have them served, once there is a database; one process does it."""
        await self.wait_for_schema()
        if self._spec.slot == 0:
            await self.registry.run()

    async def renew_seals(self) -> None:
        """Seal again what an earlier master key sealed; one process of a machine is enough, and they take turns."""
        await self.wait_for_schema()
        if self._spec.slot == 0:
            await self.sealing.run()

    async def prune_events(self) -> None:
        """Let go of old events; one process of a machine does it."""
        await self.wait_for_schema()
        if self._spec.slot == 0:
            await self.operations.pruning.run()

    async def prune_responses(self) -> None:
        """Let go of what callers had kept and that has expired; one process of a machine does it."""
        await self.wait_for_schema()
        if self._spec.slot == 0:
            pruning = (
                ExpiryPruning(responses, self.database, self.clock),
                ExpiryPruning(idempotent_requests, self.database, self.clock),
                ExpiryPruning(request_payloads, self.database, self.clock),
                HistoryPruning(self.settings.requests, self.database, self.clock),
                MinutePruning(self.database, self.clock),
                self.objects.pruning,
                self.batches.pruning,
                *self.flow_runs.pruning,
                self.flow_triggers.pruning,
            )
            await asyncio.gather(*(each.run() for each in pruning))

    async def wait_for_schema(self) -> None:
        """Return once there is a database, and it is as this version needs it."""
        while not self.keys.synchronised:  # noqa: ASYNC110  # once at the start, and nothing tells of it
            await asyncio.sleep(_SYNC_SECONDS)

    def render_metrics(self) -> bytes:
        """The page for Prometheus, over every process of this machine."""
        cooling = self.lineups.current.cooling(self.clock.now())
        readings = [Reading(COOLING, deployment, 1.0) for deployment in sorted(cooling)]
        readings.append(Reading(JOURNAL_LAG, (), float(self.drainer.backlog_bytes())))
        readings += [Reading(AUDIT_LAG, (name,), float(lag)) for name, lag in self.audit.exporters.lags().items()]
        readings += [Reading(REQUEST_LOG_LAG, (name,), lag) for name, lag in self.logs.exporters.lags().items()]
        return self.metrics.render(readings)


def _address(settings: Settings, spec: ProcessSpec) -> str:
    """Where people and clients reach this installation, without a slash at the end."""
    if settings.people.public_url is not None:
        return settings.people.public_url.rstrip("/")
    server = settings.server
    host = f"[{server.host}]" if ":" in server.host else server.host
    return f"{'https' if server.tls else 'http'}://{host}:{server.port or spec.listening_port() or 0}"


def _log_drain_error(error: PolyforgeError) -> None:
    _log.error("usage records wait in the journal", reason=error.message)


def _health_path(settings: Settings, spec: ProcessSpec, added: Additions) -> Path:
    """One file per content of what is declared: the workers that serve the same number deployments alike."""
    content = settings.model_dump_json(include={"models", "providers"}) + str(sorted(added.changed.items()))
    return Path(spec.runtime) / f"health-{sha256(content.encode()).hexdigest()[:16]}"


def _digests(settings: Settings, added: Additions) -> dict[str, bytes]:
    """What tells providers of one name apart when their settings differ. Our own model host changes with a restart."""
    changed = added.changed
    declared = {name: f"{chosen.model_dump_json()} {changed.get(name)}" for name, chosen in settings.providers.items()}
    return {name: sha256(f"{name} {content}".encode()).digest() for name, content in {**declared, LOCAL: ""}.items()}


def _providers(settings: Settings, spec: ProcessSpec, added: Additions) -> dict[str, Provider]:
    if LOCAL in settings.providers:
        raise SettingsError(f"providers.{LOCAL}: this name is our own model host's; choose another")
    guard, patience = Guard(settings.egress.allow), settings.gateway.timeouts.connect
    built: dict[str, Provider] = {}
    for name, chosen in settings.providers.items():
        if name in added.providers:
            built[name] = guarded_provider(f"providers.{name}", chosen, patience, guard)
            continue
        adapter, adapter_settings = adapters.find("providers", f"providers.{name}", chosen)
        built[name] = adapter(adapter_settings, patience)
    host = local.Settings(
        socket=spec.model_socket or str(Path(spec.runtime) / NO_SOCKET),
        max_texts=settings.serving.max_batch_texts,
        timeout_seconds=settings.serving.timeout_seconds,
        max_answer_bytes=settings.serving.max_request_bytes,
    )
    built[LOCAL] = local.LocalProvider(host)
    return built


def _catalog(
    settings: Settings, providers: Mapping[str, Provider], costs: Costs, registered: Answering, added: Additions
) -> Catalog:
    capabilities: dict[str, Capabilities] = {name: provider.capabilities for name, provider in providers.items()}
    place = DeploymentSettings(provider=LOCAL, model=BUILT_IN)
    builtin = {BUILT_IN_MODEL: ModelSettings(task="embedding", deployments=(place,))}
    estimate = settings.gateway.estimate
    unknown = tariff_of(PriceList(input=estimate.input, output=estimate.output), ESTIMATED)
    refuse = settings.gateway.unknown_price == "refuse"
    models = {name: with_default(model, settings.cache) for name, model in settings.models.items()}
    template = with_default(ModelSettings(task="embedding", deployments=(place,)), settings.cache)
    origins: dict[str, Origin] = {BUILT_IN_MODEL: "package", **dict.fromkeys(added.models, "api")}
    unknown_cost = None if refuse else unknown
    catalog = build_catalog({**builtin, **models}, capabilities, unknown_cost, costs, registered, template, origins)
    check_embedders(models, catalog)
    return catalog


def _tracer(settings: Settings, process: str, on_drop: Callable[[int], None]) -> Tracer:
    telemetry = settings.telemetry
    if telemetry.otlp_endpoint is None:
        return NullTracer()
    chosen = otlp.Settings(endpoint=telemetry.otlp_endpoint, sample=telemetry.trace_sample)
    return otlp.OtlpTracer(chosen, process=process, version=__version__, on_drop=on_drop)
