"""The worker process: everything that a gateway is made of, since jobs call models too, and what runs jobs."""

import asyncio
import gc
import os
import signal
from pathlib import Path
from typing import Final

import uvloop

from polyforge.flows.triggers.kind import TriggerKind
from polyforge.jobs.engine import Engine
from polyforge.jobs.lease import WorkerPlace
from polyforge.jobs.running import JobKind
from polyforge.jobs.worker import Worker
from polyforge.kernel.clock import SystemClock
from polyforge.registry.deployments.saying import machine_name
from polyforge.telemetry.logs import configure, get_logger
from polyforge.wiring.batches import batch_kind
from polyforge.wiring.flow_facilities import FlowFacilities
from polyforge.wiring.flow_runs import flow_run_kind
from polyforge.wiring.gateway import GatewayPlatform
from polyforge.wiring.jobs import MACHINE, JobGauges, counted, request_export
from polyforge.wiring.process import ProcessSpec, run_process
from polyforge.wiring.starting import begin

_PATIENCE_SECONDS: Final = 10
_OPEN_SECONDS: Final = 10.0

_log = get_logger(__name__)


def kinds_of(platform: GatewayPlatform, facilities: FlowFacilities) -> list[JobKind]:
    """Every kind of job that this installation runs."""
    batches = batch_kind(
        platform.settings,
        platform.database,
        platform.objects,
        platform.batches.stores,
        platform.lineups,
        platform.idempotency,
        platform.standing,
        platform.clock,
        platform.metrics_folder,
    )
    runs = flow_run_kind(
        platform.settings,
        platform.database,
        platform.flows,
        platform.objects.store,
        facilities,
        platform.standing,
        platform.master,
        platform.clock,
        platform.metrics,
        platform.admission,
    )
    triggers = TriggerKind(platform.flow_triggers.firings)
    return [request_export(platform.usage.history, platform.standing, platform.objects.files), batches, runs, triggers]


def facilities_of(platform: GatewayPlatform) -> FlowFacilities:
    """What nodes of flows may use."""
    return FlowFacilities(
        platform.settings,
        platform.database,
        platform.objects.store,
        platform.objects.files,
        platform.lineups,
        platform.idempotency,
        platform.master,
        platform.clock,
    )


class WorkerProcess:
    """One worker of `polyforge up`, from when its platform is open until SIGTERM, or until it is of no more use."""

    def __init__(self, platform: GatewayPlatform, spec: ProcessSpec, machine: str) -> None:
        settings = platform.settings
        self._platform = platform
        self._drain_seconds = settings.server.drain_seconds / 2
        self._over = asyncio.Event()
        self._opening: asyncio.Task[None] | None = None
        self._facilities = facilities_of(platform)
        self._worker = Worker(
            platform.database,
            Engine(settings.database, settings.data),
            counted(kinds_of(platform, self._facilities), platform.metrics),
            platform.clock,
            settings.jobs,
            WorkerPlace(machine, spec.session, spec.index),
        )
        self._gauges = JobGauges(platform.jobs.overview, platform.metrics, platform.clock)

    def end(self) -> None:
        """Have it end: what runs gets half of the time to drain, since what comes after it needs some too."""
        self._over.set()

    async def run(self) -> None:
        """Run jobs until it is to end."""
        background = [*self._platform.background(), asyncio.create_task(self._work(), name="jobs")]
        for task in background:
            task.add_done_callback(self._note)
        try:
            await self._over.wait()
            if not self._worker.lost:
                await self._worker.drain(self._drain_seconds)
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            if self._opening is not None:
                await asyncio.wait({self._opening}, timeout=_OPEN_SECONDS)
            await self._worker.close()
            await self._facilities.close()

    async def _work(self) -> None:
        """Begin once there is a database to take jobs from, and watch over it."""
        await self._platform.wait_for_schema()
        await self._facilities.open(self._platform.declared_secrets)
        # Not to be broken off: half of it would be left.
        self._opening = asyncio.create_task(self._worker.open(), name="opening of the worker")
        await asyncio.shield(self._opening)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._gauges.run())
            tasks.create_task(self._watch())

    async def _watch(self) -> None:
        await self._worker.until_lost()
        _log.error("the worker was not heard of for too long; it ends, and its jobs are others' by now")
        self.end()

    def _note(self, task: asyncio.Task[None]) -> None:
        """A process whose background work broke is of no use: it ends, and the supervisor starts another."""
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("background work broke", task=task.get_name(), reason=repr(error))
            self.end()


async def _serve(platform: GatewayPlatform, spec: ProcessSpec, machine: str) -> None:
    patience = asyncio.create_task(_ask_for_patience(spec), name="patience")
    await platform.open()
    patience.cancel()
    process = WorkerProcess(platform, spec, machine)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, process.end)
    loop.add_signal_handler(signal.SIGHUP, platform.operations.configuration.reload)
    gc.collect()
    gc.freeze()
    spec.announce_ready()
    try:
        await process.run()
    finally:
        await platform.close()


async def _ask_for_patience(spec: ProcessSpec) -> None:
    """Opening may take longer than a start usually does: a migration, or a long journal of an earlier session."""
    while True:
        await asyncio.sleep(_PATIENCE_SECONDS)
        spec.still_starting()


def main() -> None:
    """Be the worker that POLYFORGE_PROCESS describes."""
    spec = ProcessSpec.from_environment()
    spec.die_with_supervisor()
    # Its imports are over, and its adapters' are next: on a busy machine either may take most of what a start may.
    spec.still_starting()
    start = begin(spec)
    os.nice(start.settings.jobs.niceness)
    platform = GatewayPlatform(start, spec, SystemClock())
    machine = machine_name(Path(start.settings.data) / MACHINE)
    spec.still_starting()
    configure(start.settings.telemetry.log_level, spec.name, platform.lines)
    if start.trouble is not None:
        _log.error("the settings file cannot be used; what it last said is in force", reason=start.trouble)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(platform, spec, machine))


if __name__ == "__main__":
    run_process(main)
