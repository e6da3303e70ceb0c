"""The gateway process, one worker of `polyforge up`: the platform that wiring builds, served over HTTP."""

import asyncio
import gc
import signal
import socket
from functools import partial
from typing import Any, Final

import uvloop
from fastapi import APIRouter

from polyforge.batch.tables import api as batches_api
from polyforge.flows.publishing.tools import FlowTools
from polyforge.gateway import api as gateway_api
from polyforge.gateway.caching import api as cache_api
from polyforge.gateway.comparing import Comparing
from polyforge.gateway.guarding import api as guarding_api
from polyforge.gateway.guarding.trying import Trying
from polyforge.gateway.guide import ModelGuide
from polyforge.gateway.hosting import api as hosting_api
from polyforge.gateway.operating import HostOperations
from polyforge.gateway.tokenizing import api as tokenizing_api
from polyforge.gateway.tokenizing.service import TokenizingService, tokenizer_files
from polyforge.jobs import api as jobs_api
from polyforge.kernel.clock import SystemClock
from polyforge.operations.additions import api as additions_api
from polyforge.operations.configuration import api as configuration_api
from polyforge.operations.events import api as events_api
from polyforge.operations.exports import api as exports_api
from polyforge.operations.exports.service import ExportService
from polyforge.operations.flags import api as flags_api
from polyforge.operations.overview import api as overview_api
from polyforge.registry.versions import api as versions_api
from polyforge.server.app import API_BODY_BYTES, Application
from polyforge.server.authentication import Authentication
from polyforge.server.batches import Batches
from polyforge.server.browser import Browser
from polyforge.server.console.site import FOLDER as CONSOLE_FOLDER
from polyforge.server.console.site import INDEX as CONSOLE_INDEX
from polyforge.server.console.site import Console
from polyforge.server.files import Files
from polyforge.server.flows import flow_routers, flow_run_routers, flow_trigger_routers
from polyforge.server.hooks import Hooks
from polyforge.server.inference import Inference
from polyforge.server.management import build_management
from polyforge.server.mcp import Mcp
from polyforge.server.models import Models
from polyforge.server.observing import Observation
from polyforge.server.once import Once
from polyforge.server.open_inference.routes import OpenInference
from polyforge.server.operations import Operations
from polyforge.server.payloads import Payloads
from polyforge.server.refusals import Refusals
from polyforge.server.responses import Conversations
from polyforge.server.well_known import WellKnown
from polyforge.telemetry.families import REFUSALS_DROPPED
from polyforge.telemetry.logs import configure, get_logger
from polyforge.tenancy import api as tenancy_api
from polyforge.tenancy.audit import api as audit_api
from polyforge.tenancy.conversations import api as conversations_api
from polyforge.tenancy.corrections import api as corrections_api
from polyforge.tenancy.erasing import api as erasing_api
from polyforge.tenancy.history import api as history_api
from polyforge.tenancy.limits import api as limits_api
from polyforge.tenancy.limits.service import LimitService
from polyforge.tenancy.organizations import api as organizations_api
from polyforge.tenancy.payloads import api as payloads_api
from polyforge.tenancy.people import api as people_api
from polyforge.tenancy.people.arriving import api as arriving_api
from polyforge.tenancy.people.sign_on import api as sign_on_api
from polyforge.tenancy.people.tokens import api as tokens_api
from polyforge.tenancy.request_logs import api as request_logs_api
from polyforge.tenancy.usage import api as usage_api
from polyforge.tenancy.vault import api as vault_api
from polyforge.tokens.counter import TokenCounter
from polyforge.tokens.encodings import Encodings
from polyforge.wiring.gateway import GatewayPlatform
from polyforge.wiring.http_server import SupervisedServer
from polyforge.wiring.jobs import SCHEDULED
from polyforge.wiring.listening import grpc_listener
from polyforge.wiring.overview import OverviewPlatform
from polyforge.wiring.people import PeoplePlatform
from polyforge.wiring.process import ProcessSpec
from polyforge.wiring.settings import Settings
from polyforge.wiring.starting import begin
from polyforge.wiring.usage import make_writer

_KEEP_ALIVE_SECONDS: Final = 75
_PATIENCE_SECONDS: Final = 10
_COLLECT_AFTER: Final = (20_000, 20, 50)
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")

_log = get_logger(__name__)


def create_app(platform: GatewayPlatform, overview: OverviewPlatform) -> Application:
    """The ASGI application over a platform."""
    settings = platform.settings
    access = platform.lines if settings.telemetry.access_log else None
    observation = Observation(platform.metrics, access, platform.tracer)
    authentication = _authentication(platform)
    conversations = Conversations(platform.responses, settings.gateway.max_body_bytes)
    inference = Inference(
        settings.gateway,
        platform.keys,
        platform.tokens,
        authentication,
        platform.lineups,
        observation,
        platform.tracer,
        conversations,
        platform.cache.answers,
        platform.idempotency,
        Refusals(
            platform.journal, platform.clock, settings.requests.refused_per_second, platform.count(REFUSALS_DROPPED)
        ),
        Payloads(platform.payloads.policy, platform.payloads.writer, settings.requests.payloads.max_bytes),
    )
    counter = TokenCounter(Encodings(), tokenizer_files(settings.tokens, settings.models))
    management = build_management(
        [
            tenancy_api.router(platform.key_service),
            usage_api.router(platform.usage.service, make_writer),
            corrections_api.router(platform.usage.corrections),
            history_api.router(platform.usage.history, platform.usage.feedback),
            payloads_api.router(platform.payloads.service),
            conversations_api.router(platform.payloads.conversations),
            erasing_api.router(platform.payloads.erasing),
            request_logs_api.router(platform.logs.service(platform.recorder)),
            limits_api.router(_limit_service(platform)),
            cache_api.router(platform.cache.administration),
            versions_api.router(platform.registry.models, platform.registry.imports, platform.registry.wake),
            _additions(platform),
            gateway_api.usage_router(Comparing(platform.usage.service, platform.lineups)),
            gateway_api.router(ModelGuide(platform.lineups, settings.gateway, platform.clock), overview.hosted),
            guarding_api.router(Trying(platform.lineups)),
            tokenizing_api.router(TokenizingService(platform.lineups, counter)),
            audit_api.router(platform.audit.service, platform.audit.export_service),
            tokens_api.router(platform.token_service),
            *_people(platform.people),
            vault_api.router(platform.vault_service, platform.sealing),
            hosting_api.router(overview.hosted),
            overview_api.router(overview.service, overview.streams),
            events_api.router(platform.operations.event_service),
            _jobs(platform),
            batches_api.router(platform.batches.service),
            exports_api.router(ExportService(platform.jobs.service, platform.clock), platform.clock),
            flags_api.router(platform.operations.flag_service),
            configuration_api.router(platform.operations.configuration_service),
            *flow_routers(platform.flows),
            *flow_run_routers(platform.flow_runs, platform.flows, platform.address),
            *flow_trigger_routers(platform.flow_triggers, platform.address),
        ]
    )
    models = Models(platform.lineups, platform.clock.now())
    operations = Operations(platform.render_metrics, _is_private(settings))
    well_known = WellKnown(platform.signing_keys, platform.address)
    open_inference = OpenInference(
        platform.hosted,
        HostOperations(platform.hosted, platform.database, platform.recorder),
        platform.lineups,
        authentication,
        operations,
        settings.serving.max_request_bytes,
    )
    once = Once(platform.idempotency, API_BODY_BYTES)
    return Application(
        inference,
        models,
        operations,
        once.managed(management),
        authentication,
        observation,
        well_known,
        conversations,
        open_inference,
        Console(),
        Files(platform.objects.files),
        Batches(platform.batches.service, once),
        Hooks(platform.flow_triggers.firings, authentication.address),
        Mcp(FlowTools(platform.flows.publishing, platform.flow_runs.runs), authentication, platform.address),
    )


def has_console() -> bool:
    """Whether this installation has the console's pages."""
    return (CONSOLE_FOLDER / CONSOLE_INDEX[1:]).is_file()


def _additions(platform: GatewayPlatform) -> APIRouter:
    added = platform.operations.added
    return additions_api.router(added.providers, added.models, added.trying)


def _jobs(platform: GatewayPlatform) -> APIRouter:
    jobs = platform.jobs
    events = platform.operations.event_service
    return jobs_api.router(jobs.service, jobs.schedules, jobs.logs, events, platform.clock, SCHEDULED)


def _limit_service(platform: GatewayPlatform) -> LimitService:
    return LimitService(platform.database, platform.clock, platform.recorder, platform.limits.book, platform.counters)


def _authentication(platform: GatewayPlatform) -> Authentication:
    people, server = platform.people, platform.settings.server
    browser = Browser(
        people.sessions,
        people.cookie,
        people.csrf,
        site=platform.address,
        tls=server.tls is not None,
        behind_proxy=server.behind_proxy,
    )
    return Authentication(platform.keys, platform.tokens, browser, behind_proxy=server.behind_proxy)


def _people(people: PeoplePlatform) -> list[APIRouter]:
    """The routes of people, of their ways in, and of who may do what in organizations."""
    return [
        arriving_api.router(people.arrivals, people.sign_on, people.post, people.cookie),
        people_api.ways_in(people.sign_in, people.links, people.cookie),
        sign_on_api.router(people.sign_on, people.cookie, people.sign_on_cookie),
        people_api.own_account(people.account, people.sessions, people.links, people.cookie, people.csrf),
        people_api.users_router(people.users),
        organizations_api.organizations_router(people.organizations),
        organizations_api.members_router(people.members, people.groups, people.roles),
        organizations_api.invitations_router(people.invitations),
        organizations_api.service_accounts_router(people.service_accounts),
    ]


def _is_private(settings: Settings) -> bool:
    return settings.server.host in _LOOPBACK and not settings.server.behind_proxy


def _server(
    platform: GatewayPlatform, overview: OverviewPlatform, app: Application, grpc: Any | None, spec: ProcessSpec
) -> SupervisedServer:
    settings = platform.settings
    tls = settings.server.tls
    return SupervisedServer(
        app,
        drain=partial(_drain, app, grpc, platform, overview),
        drain_seconds=settings.server.drain_seconds,
        announce=spec.announce_ready,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        ssl_certfile=str(tls.cert) if tls else None,
        ssl_keyfile=str(tls.key) if tls else None,
    )


def _drain(app: Application, grpc: Any | None, platform: GatewayPlatform, overview: OverviewPlatform) -> None:
    """Take nothing new; streams of events, which have no end of their own, end now, and what is to be mailed soon."""
    app.drain()
    if grpc is not None:
        grpc.drain(platform.settings.server.drain_seconds)
    platform.operations.event_service.drain()
    platform.jobs.logs.drain()
    platform.flow_runs.streams.drain()
    platform.flow_runs.waiters.drain()
    overview.streams.drain()
    # Half of the time: what comes after the post, and the model host, must end before the supervisor loses patience.
    platform.people.post.drain(platform.settings.server.drain_seconds / 2)


def _spare_the_collector() -> None:
    """What lives as long as the process need not be looked at again; requests make few cycles.

    With the interpreter's own thresholds, collecting took a third of the CPU of a request.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


async def _serve(platform: GatewayPlatform, listener: socket.socket, spec: ProcessSpec) -> None:
    patience = asyncio.create_task(_ask_for_patience(spec), name="patience")
    await platform.open()
    patience.cancel()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, platform.operations.configuration.reload)
    overview = OverviewPlatform(platform, spec, has_console)
    app = create_app(platform, overview)
    grpc = grpc_listener(platform.settings, app, shared=spec.workers > 1)
    server = _server(platform, overview, app, grpc, spec)
    if grpc is not None:
        await grpc.open()
    _spare_the_collector()
    background = platform.background()
    for task in background:
        task.add_done_callback(partial(_end_with, server))
    try:
        await server.serve(sockets=[listener])
    finally:
        if grpc is not None:
            await grpc.close()
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await overview.close()
        await platform.close()


def _end_with(server: SupervisedServer, task: asyncio.Task[None]) -> None:
    """A process whose background work broke is of no use: it drains, and the supervisor starts another."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("background work broke", task=task.get_name(), reason=repr(error))
        server.should_exit = True


async def _ask_for_patience(spec: ProcessSpec) -> None:
    """Opening may take longer than a start usually does: a migration, or a long journal of an earlier session."""
    while True:
        await asyncio.sleep(_PATIENCE_SECONDS)
        spec.still_starting()


def main() -> None:
    """Be the gateway worker that POLYFORGE_PROCESS describes."""
    spec = ProcessSpec.from_environment()
    spec.die_with_supervisor()
    # Its imports are over, and its adapters' are next: on a busy machine either may take most of what a start may.
    spec.still_starting()
    start = begin(spec)
    platform = GatewayPlatform(start, spec, SystemClock())
    spec.still_starting()
    configure(start.settings.telemetry.log_level, spec.name, platform.lines)
    if start.trouble is not None:
        _log.error("the settings file cannot be used; what it last said is in force", reason=start.trouble)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(platform, spec.listening_socket(), spec))
