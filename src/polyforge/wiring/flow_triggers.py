"""Triggers of flows as a process sees them: what callers do with them, and what fires them."""

from polyforge.database.database import Database
from polyforge.database.pruning import ExpiryPruning
from polyforge.flows.facilities.secrets import ProjectSecrets
from polyforge.flows.keeping.service import FlowService
from polyforge.flows.triggers.firing import Firings, Runs
from polyforge.flows.triggers.service import TriggerService
from polyforge.flows.triggers.tables import flow_trigger_firings
from polyforge.jobs.schedules import ScheduleService
from polyforge.kernel.clock import Clock
from polyforge.secrets.sealing import MasterKeys
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.standing import Standing
from polyforge.tenancy.vault.resolver import SecretResolver


class TriggerPlatform:
    """The rooms of triggers. A flow that one of them needs stays."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        recorder: Recorder,
        master: MasterKeys,
        schedules: ScheduleService,
        flows: FlowService,
        runs: Runs,
        standing: Standing,
    ) -> None:
        self._resolver = SecretResolver(database, clock, master)
        secrets = ProjectSecrets(self._resolver)
        self.service = TriggerService(database, clock, recorder, schedules, flows, secrets)
        self.firings = Firings(database, clock, standing, flows, secrets, runs)
        self.pruning = ExpiryPruning(flow_trigger_firings, database, clock)
        flows.needed_by(self.service)

    async def close(self) -> None:
        """Let go of who still waits for a secret."""
        await self._resolver.close()
