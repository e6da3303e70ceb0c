"""Runs of flows as a process sees them: what callers do with them, and in a worker what runs them."""

from polyforge.database.database import Database
from polyforge.database.pruning import ExpiryPruning
from polyforge.flows.built_in import runners
from polyforge.flows.document import Document
from polyforge.flows.facilities.removing import ObjectPruning
from polyforge.flows.keeping.versions import Versions
from polyforge.flows.publishing.waiting import RunWaiters
from polyforge.flows.running.approvals import ApprovalService
from polyforge.flows.running.assignees import Assignees
from polyforge.flows.running.ceilings import Budgets
from polyforge.flows.running.contract import Facilities
from polyforge.flows.running.kind import FlowRunKind, RunTools
from polyforge.flows.running.links import ApprovalLinks
from polyforge.flows.running.pages import RunValues
from polyforge.flows.running.removing import ResultPruning, RunPruning
from polyforge.flows.running.sealing import Seals
from polyforge.flows.running.service import RunService
from polyforge.flows.running.streams import RunStreams
from polyforge.flows.running.tables import flow_results
from polyforge.jobs.service import JobService
from polyforge.kernel.clock import Clock
from polyforge.ports.objects import ObjectStore
from polyforge.secrets.sealing import MasterKeys
from polyforge.telemetry.families import FLOW_NODE_SECONDS, FLOW_NODES, FLOW_RUNS, NANO
from polyforge.telemetry.metrics import Metrics
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.standing import Standing
from polyforge.wiring.flow_facilities import FlowFacilities
from polyforge.wiring.flows import FlowPlatform
from polyforge.wiring.settings import Settings


class FlowRunPlatform:
    """The rooms of runs and approvals."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        flows: FlowPlatform,
        objects: ObjectStore,
        jobs: JobService,
        standing: Standing,
        master: MasterKeys,
        clock: Clock,
        recorder: Recorder,
        budgets: Budgets,
    ) -> None:
        chosen = settings.flows.runs
        values, seals = RunValues(objects), Seals(master)
        self.runs = RunService(
            chosen, database, flows.flows, flows.types, jobs, values, clock, recorder, seals, budgets
        )
        self.streams = RunStreams(self.runs, clock)
        self.waiters = RunWaiters(self.runs)
        links = ApprovalLinks(master, clock)
        self.approvals = ApprovalService(database, jobs, Assignees(database), links, standing, clock, recorder, seals)
        self.pruning = (
            RunPruning(database, objects, clock, chosen.retention_days, seals),
            ExpiryPruning(flow_results, database, clock),
            ResultPruning(database, chosen.max_results),
            ObjectPruning(database, objects, clock, chosen.retention_days + chosen.result_days),
        )
        flows.flows.needed_by(self.runs)


class StoredDocuments:
    """Stored versions, those of flows that were put away meanwhile too."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions

    async def document(self, caller: Caller, flow_id: str, version: str) -> Document:
        """What a version holds."""
        return (await self._versions.get(caller, flow_id, version))[1]


def flow_run_kind(
    settings: Settings,
    database: Database,
    flows: FlowPlatform,
    objects: ObjectStore,
    facilities: FlowFacilities,
    standing: Standing,
    master: MasterKeys,
    clock: Clock,
    metrics: Metrics,
    budgets: Budgets,
) -> FlowRunKind:
    """What runs flows in a worker."""

    def seen(kind: str, seconds: float) -> None:
        metrics.counter(FLOW_NODES, kind).add()
        metrics.counter(FLOW_NODE_SECONDS, kind).add(seconds * NANO)

    return FlowRunKind(
        RunTools(
            settings=settings.flows.runs,
            database=database,
            objects=objects,
            documents=StoredDocuments(flows.versions),
            types=flows.types,
            runners=runners(),
            facilities=Facilities(
                models=facilities.models,
                http=facilities.http,
                secrets=facilities.secrets,
                objects=facilities.objects,
                sandbox=facilities.sandbox,
                sql=facilities.sql,
                notifier=facilities.notifier,
                guardrails=facilities.guardrails,
                memory=facilities.memory,
            ),
            current=standing.confirmed,
            clock=clock,
            seals=Seals(master),
            budgets=budgets,
            ended=lambda outcome: metrics.counter(FLOW_RUNS, outcome).add(),
            seen=seen,
        )
    )
