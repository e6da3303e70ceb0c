"""A worker process whose jobs write down what they do, to be killed, stopped and drained by tests.

`python -m tests.support.job_process '{...}'` with the fields of `Plan`. It prints `ready` once it takes jobs, and ends
with LOST when its lease ran out.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from polyforge.database.database import Database
from polyforge.database.settings import DatabaseSettings
from polyforge.jobs.engine import Engine
from polyforge.jobs.lease import Timing, WorkerPlace
from polyforge.jobs.running import JobContext
from polyforge.jobs.settings import JobSettings
from polyforge.jobs.worker import Worker
from polyforge.kernel.clock import SystemClock

LOST: Final = 3
SHORT: Final = 5.0
"""A lease that tests wait for to run out, of a worker that may be lost earlier too: its machine may be busy."""


class Plan(msgspec.Struct):
    """What process it is."""

    url: str
    data: str
    desk: str
    """A folder: of the file `marks`, which tells what happened, and of gates, which hold up what they are named for."""
    session: str
    lease: float
    hold: float = 60.0


class Steps:
    """Jobs of `args.steps` steps, each of which leaves marks when it begins and when it ends."""

    name = "steps"

    def __init__(self, desk: Path) -> None:
        self._desk = desk

    async def run(self, context: JobContext) -> Any:
        """Take one step after the other."""
        results: list[int] = []
        for number in range(context.job.args["steps"]):
            results.append(await context.step(f"step {number}", self._work(context, number)))
            await self._gate(f"after-{number}")
        return results

    def _work(self, context: JobContext, number: int) -> Callable[[], Awaitable[int]]:
        async def work() -> int:
            key = context.idempotency_key(f"step {number}")
            self._mark("begin", number, key)
            await self._gate(f"inside-{number}")
            self._mark("end", number, key)
            return number * 10

        return work

    def _mark(self, what: str, number: int, key: str) -> None:
        line = f"{what} {number} {os.getpid()} {key.replace(' ', '-')}\n"
        with (self._desk / "marks").open("a") as marks:
            marks.write(line)

    async def _gate(self, name: str) -> None:
        gate = self._desk / name
        if gate.exists():
            (self._desk / f"{name}.{os.getpid()}").touch()
        while gate.exists():  # noqa: ASYNC110  it is another process that opens it
            await asyncio.sleep(0.01)


class Waits(Steps):
    """Jobs that take a step, wait for an answer, and take another step."""

    name = "waits"

    async def run(self, context: JobContext) -> Any:
        """The answer."""
        await context.step("step 0", self._work(context, 0))
        answer = await context.wait_for("answer", "answers", code="person", message="somebody has to say")
        await context.step("step 1", self._work(context, 1))
        return answer


async def serve(plan: Plan) -> int:
    """Run until SIGTERM, or until the lease is lost; the exit status."""
    settings, data, desk = DatabaseSettings(url=plan.url), Path(plan.data), Path(plan.desk)
    database = Database(settings, data)
    await database.open()
    worker = Worker(
        database,
        Engine(settings, data),
        [Steps(desk), Waits(desk)],
        SystemClock(),
        JobSettings(poll_seconds=0.1),
        WorkerPlace("here", plan.session, 0),
        Timing(lease=plan.lease, renew=1.0, scan=0.5, tick=0.1, hold=plan.hold),
    )
    await worker.open()
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    print("ready", flush=True)
    lost, ended = asyncio.ensure_future(worker.until_lost()), asyncio.ensure_future(end.wait())
    await asyncio.wait({lost, ended}, return_when=asyncio.FIRST_COMPLETED)
    if not worker.lost:
        await worker.drain(20.0)
    await worker.close()
    await database.close()
    return LOST if lost.done() else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(serve(msgspec.json.decode(sys.argv[1], type=Plan))))
