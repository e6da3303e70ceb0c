"""Workers that run flows and die where a test wants it.

`python -m tests.support.flow_process '{...}'` with the fields of `Plan` forks a worker for each line that it reads, for
starting Python anew for each of some fifty deaths would take minutes. A line says how the worker dies: `inside` the
first step that it does, when its work is done and not kept; `after` the first that is kept; or `never`. It answers with
a line once the worker ended, by itself or not.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import msgspec

from polyforge.adapters.objects.folder import FolderObjects
from polyforge.adapters.objects.folder import Settings as FolderSettings
from polyforge.database.database import Database
from polyforge.database.settings import DatabaseSettings
from polyforge.egress.guarding import Guard
from polyforge.flows.facilities.calling import GuardedHttp
from polyforge.jobs.engine import Engine
from polyforge.jobs.lease import Timing, WorkerPlace
from polyforge.jobs.settings import JobSettings
from polyforge.jobs.worker import Worker
from tests.support.databases import Place
from tests.support.flow_house import FlowHouse

DEATHS: Final = ("inside", "after", "never")


class Plan(msgspec.Struct):
    """Where the workers live."""

    url: str
    data: str
    desk: str
    """A folder with the file `kept`, which names each step that was kept."""


class DyingEngine(Engine):
    """The real journal, in a process that dies."""

    def __init__(self, settings: DatabaseSettings, data: Path, desk: Path, death: str) -> None:
        super().__init__(settings, data)
        self._desk = desk
        self._death = death

    async def step(self, name: str, work: Callable[[], Awaitable[bytes]]) -> bytes:
        """Do `work`, keep what it gives, and die where that is wanted."""

        async def done() -> bytes:
            result = await work()
            if self._death == "inside":
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        result = await super().step(name, done)
        with (self._desk / "kept").open("a") as kept:
            kept.write(f"{name}\n")
        if self._death == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result


async def serve(plan: Plan, death: str) -> None:
    """Run flows until SIGTERM, or death."""
    place, desk = Place(DatabaseSettings(url=plan.url), Path(plan.data)), Path(plan.desk)
    database = Database(place.settings, place.data)
    await database.open()
    async with AsyncExitStack() as stack:
        house = FlowHouse(place, database, stack)
        house.objects = FolderObjects(FolderSettings(), place.data)
        house.http = GuardedHttp(Guard(["127.0.0.1/32"]))
        worker = Worker(
            database,
            DyingEngine(place.settings, place.data, desk, death),
            [house.kind(database)],
            house.clock,
            JobSettings(poll_seconds=0.1),
            WorkerPlace("here", "one", 0),
            Timing(lease=120.0, renew=1.0, scan=0.5, tick=0.1),
        )
        await worker.open()
        end = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
        await end.wait()
        await worker.drain(20.0)
        await worker.close()
    await database.close()


def main() -> None:
    """Fork a worker for each line."""
    plan = msgspec.json.decode(sys.argv[1], type=Plan)
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                asyncio.run(serve(plan, line.strip()))
                status = 0
            finally:
                os._exit(status)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
