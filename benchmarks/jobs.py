"""`python -m benchmarks.jobs`: what a step of a job costs, beside an empty step of DBOS on the same database.

On SQLite in a temporary folder, or with `--postgres URL` in an empty database there. Runs take turns; medians count.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from dbos import DBOS

from polyforge.database.database import Database
from polyforge.database.settings import DatabaseSettings
from polyforge.jobs.engine import Engine
from polyforge.jobs.lease import WorkerPlace
from polyforge.jobs.records import NewJob
from polyforge.jobs.running import JobContext
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
from polyforge.wiring.migrate import migrate
from polyforge.wiring.settings import Settings

_CALLER: Final = Caller("0" * 26, "benchmark", DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID, frozenset({"*"}))


class Steps:
    """Jobs of many steps that do nothing; they tell how long their steps took."""

    name = "steps"

    async def run(self, context: JobContext) -> Any:
        """Take one after the other."""
        began = time.perf_counter()
        for number in range(context.job.args["steps"]):
            await context.step(str(number), _nothing)
        return time.perf_counter() - began


async def _nothing() -> None:
    """The work of a step that does nothing."""


async def plain_steps(engine: Engine, steps: int) -> float:
    """Seconds for as many empty steps of DBOS alone."""
    taken: list[float] = []

    async def body() -> None:
        began = time.perf_counter()
        for number in range(steps):
            await DBOS.run_step_async({"name": str(number)}, _nothing)
        taken.append(time.perf_counter() - began)

    await engine.run(new_ulid(), body)
    return taken[0]


async def _job(service: JobService, steps: int) -> float:
    """Seconds for the steps of one job."""
    job = await service.start(_CALLER, NewJob(kind="steps", title="Steps", args={"steps": steps}))
    while not (found := await service.get(_CALLER, job.id)).finished:  # noqa: ASYNC110  nothing announces it here
        await asyncio.sleep(0.2)
    return float(found.result)


async def measure(settings: Settings, steps: int, rounds: int) -> dict[str, float]:
    """Milliseconds for each step, as medians of rounds that take turns."""
    await migrate(settings)
    clock, database = SystemClock(), Database(settings.database, settings.data)
    await database.open()
    engine = Engine(settings.database, settings.data)
    place = WorkerPlace("benchmark", new_ulid(), 0)
    worker = Worker(database, engine, [Steps()], clock, JobSettings(), place)
    recorder = Recorder(AuditLog(Chain(MasterKeys([bytes(32)])), clock))
    service = JobService(database, clock, recorder, JobSettings())
    await worker.open()
    plain, ours = list[float](), list[float]()
    for _ in range(rounds):
        plain.append(await plain_steps(engine, steps))
        ours.append(await _job(service, steps))
    await worker.close()
    await database.close()
    per_step = 1_000 / steps
    return {
        "dbos_ms": round(statistics.median(plain) * per_step, 3),
        "job_ms": round(statistics.median(ours) * per_step, 3),
        "ratio": round(statistics.median(ours) / statistics.median(plain), 2),
    }


def main() -> None:
    """Measure, and print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--postgres", metavar="URL")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = DatabaseSettings(url=options.postgres or "sqlite")
        settings = Settings.model_validate({"data": Path(folder), "database": database})
        print(json.dumps(asyncio.run(measure(settings, options.steps, options.rounds))))


if __name__ == "__main__":
    main()
