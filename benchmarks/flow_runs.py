"""`python -m benchmarks.flow_runs`: what a node of a flow costs, beside an empty step of DBOS on the same database.

A chain of nodes that fill in a template, with its row, its events and its result. On SQLite in a temporary folder, or
with `--postgres URL` in an empty database there. Runs take turns; medians count.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.jobs import plain_steps
from polyforge.adapters.objects.memory import MemoryObjects
from polyforge.adapters.objects.memory import Settings as MemorySettings
from polyforge.database.database import Database
from polyforge.database.settings import DatabaseSettings
from polyforge.flows.built_in import runners
from polyforge.flows.document import Document
from polyforge.flows.keeping.records import FlowVersion
from polyforge.flows.reading import load
from polyforge.flows.running.contract import Facilities
from polyforge.flows.running.kind import FlowRunKind, RunTools
from polyforge.flows.running.pages import RunValues
from polyforge.flows.running.sealing import Seals
from polyforge.flows.running.service import RunService
from polyforge.jobs.engine import Engine
from polyforge.jobs.lease import WorkerPlace
from polyforge.jobs.service import JobService
from polyforge.jobs.settings import JobSettings
from polyforge.jobs.worker import Worker
from polyforge.kernel.clock import SystemClock
from polyforge.kernel.ids import new_ulid
from polyforge.secrets.sealing import MasterKeys
from polyforge.tenancy.audit.log import AuditLog, Chain
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID
from polyforge.wiring.flow_runs import StoredDocuments
from polyforge.wiring.flows import FlowPlatform
from polyforge.wiring.migrate import migrate
from polyforge.wiring.settings import Settings

_CALLER: Final = Caller("0" * 26, "benchmark", DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID, frozenset({"*"}))


def chain(count: int) -> Document:
    """Nodes one behind the other."""
    nodes: dict[str, Any] = {"n0": {"type": "prompt.template", "v": 1, "params": {"template": "x"}}}
    for number in range(1, count):
        params, given = {"template": "{{a}}"}, {"a": {"from": [f"n{number - 1}", "text"]}}
        nodes[f"n{number}"] = {"type": "prompt.template", "v": 1, "params": params, "in": given}
    last = {"from": [f"n{count - 1}", "text"]}
    nodes["out"] = {"type": "flow.output", "v": 1, "params": {"name": "text"}, "in": {"value": last}}
    interface = {"outputs": {"text": {"type": "text"}}}
    document = load({"schema": "flow.v1", "name": "Chain", "interface": interface, "nodes": nodes}).document
    assert document is not None
    return document


class Bench:
    """A worker that runs flows over a database."""

    def __init__(self, settings: Settings) -> None:
        self.clock = clock = SystemClock()
        self.database = Database(settings.database, settings.data)
        self.engine = Engine(settings.database, settings.data)
        master = MasterKeys([bytes(32)])
        recorder, seals = Recorder(AuditLog(Chain(master), clock)), Seals(master)
        self.flows = FlowPlatform(settings, self.database, clock, recorder)
        jobs, objects = (
            JobService(self.database, clock, recorder, JobSettings()),
            MemoryObjects(MemorySettings(), Path()),
        )
        self.runs = RunService(
            settings.flows.runs, self.database, self.flows.flows, self.flows.types, jobs, RunValues(objects), clock,
            recorder, seals,
        )  # fmt: skip
        nothing: Any = None
        tools = RunTools(
            settings=settings.flows.runs,
            database=self.database,
            objects=objects,
            documents=StoredDocuments(self.flows.versions),
            types=self.flows.types,
            runners=runners(),
            facilities=Facilities(
                models=nothing,
                http=nothing,
                secrets=nothing,
                objects=nothing,
                sandbox=nothing,
                sql=nothing,
                notifier=nothing,
                guardrails=nothing,
                memory=nothing,
            ),
            current=_same,
            clock=clock,
            seals=seals,
        )
        place = WorkerPlace("benchmark", new_ulid(), 0)
        self.worker = Worker(self.database, self.engine, [FlowRunKind(tools)], clock, JobSettings(), place)

    async def version(self, count: int) -> FlowVersion:
        """A flow of so many nodes."""
        await self.flows.flows.create(_CALLER, document=chain(count), slug="chain")
        await self.flows.drafts.commit(_CALLER, "chain", "", None)
        return await self.flows.flows.resolve(_CALLER, "chain")

    async def run(self, version: FlowVersion) -> float:
        """Seconds for one run, from when a worker began it until all of it was written."""
        run = await self.runs.start(_CALLER, version, {})
        done = await self.runs.wait(_CALLER, run.id, 600)
        assert done.state == "succeeded", done.error
        assert done.started_at is not None
        assert done.ended_at is not None
        return done.ended_at - done.started_at


async def _same(caller: Caller) -> Caller:
    return caller


async def measure(settings: Settings, nodes: int, rounds: int) -> dict[str, float]:
    """Milliseconds for each node and each step, as medians of rounds that take turns."""
    await migrate(settings)
    bench = Bench(settings)
    await bench.database.open()
    await bench.worker.open()
    version = await bench.version(nodes)
    plain, ours, began = list[float](), list[float](), time.perf_counter()
    for _ in range(rounds):
        plain.append(await plain_steps(bench.engine, nodes))
        ours.append(await bench.run(version))
    await bench.worker.close()
    await bench.database.close()
    per_node = 1_000 / nodes
    return {
        "dbos_ms": round(statistics.median(plain) * per_node, 3),
        "node_ms": round(statistics.median(ours) * per_node, 3),
        "ratio": round(statistics.median(ours) / statistics.median(plain), 2),
        "seconds": round(time.perf_counter() - began, 1),
    }


def main() -> None:
    """Measure, and print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--postgres", metavar="URL")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = DatabaseSettings(url=options.postgres or "sqlite")
        settings = Settings.model_validate({"data": Path(folder), "database": database})
        print(json.dumps(asyncio.run(measure(settings, options.nodes, options.rounds))))


if __name__ == "__main__":
    main()
