"""What home and the page of models show, of one worker: the overview, its streams, and the models of the host."""

from collections.abc import Callable
from pathlib import Path

from polyforge.gateway.hosting.service import HostedService
from polyforge.gateway.operating import HostOperations
from polyforge.operations.overview.machine import Machine, Parts
from polyforge.operations.overview.service import OverviewService, Sources
from polyforge.operations.overview.streams import OverviewStreams
from polyforge.operations.overview.window import TrafficWindow
from polyforge.tenancy.limits.own import OwnBudgets
from polyforge.wiring.gateway import GatewayPlatform
from polyforge.wiring.process import ProcessSpec


class OverviewPlatform:
    """The rooms that look at all others. `console_built` tells whether this installation has the console's pages."""

    def __init__(self, platform: GatewayPlatform, spec: ProcessSpec, console_built: Callable[[], bool]) -> None:
        clock = platform.clock
        operations = HostOperations(platform.hosted, platform.database, platform.recorder)
        self.hosted = HostedService(platform.hosted, operations, platform.lineups, clock)
        sources = Sources(
            machine=Machine(_parts(platform, spec), clock),
            window=TrafficWindow(platform.database, clock),
            usage=platform.usage.service,
            keys=platform.key_service,
            registry=platform.registry.models,
            hosted=None if spec.model_socket is None else self.hosted,
            budgets=OwnBudgets(platform.limits.book, platform.ledger, clock),
            lineups=platform.lineups,
            console_built=console_built,
        )
        self.service = OverviewService(sources, clock)
        self.streams = OverviewStreams(self.service, platform.events, clock)

    async def close(self) -> None:
        """Stop what is under way."""
        await self.service.close()


def _parts(platform: GatewayPlatform, spec: ProcessSpec) -> Parts:
    return Parts(
        database=platform.database,
        ledger=platform.ledger,
        journal=platform.journal_folder,
        data=platform.settings.data,
        metrics=Path(spec.runtime) / "metrics",
        workers=spec.workers,
        host=None if spec.model_socket is None else platform.hosted,
        cache=platform.cache.store,
        cache_name=platform.settings.cache.use,
        audit_lags=platform.audit.exporters.lags,
        log_lags=platform.logs.exporters.lags,
        job_workers=platform.jobs.overview.workers,
        runs_jobs=spec.job_workers > 0,
    )
