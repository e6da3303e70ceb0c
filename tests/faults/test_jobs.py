"""Worker processes with the real journal of steps, killed and stopped wherever it hurts; on SQLite and PostgreSQL."""

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from polyforge.database.database import Database
from polyforge.database.settings import DatabaseSettings
from polyforge.jobs.records import Job, NewJob
from polyforge.jobs.service import JobService
from polyforge.jobs.settings import JobSettings
from polyforge.kernel.clock import SystemClock
from polyforge.wiring.migrate import migrate
from tests.support.databases import Place
from tests.support.job_process import LOST, SHORT, Plan
from tests.support.postgres import Postgres, postgres_binaries
from tests.support.principals import install_default
from tests.support.recording import recorder
from tests.support.waiting import DEADLINE, PAUSE, eventually, eventually_async
from tests.unit.tenancy.samples import caller

ROOT = Path(__file__).parents[2]
ME = caller("jobs:write")
CLOCK = SystemClock()


class Mark(msgspec.Struct, frozen=True):
    """What a step wrote down."""

    what: str
    number: int
    pid: int
    key: str


class Site:
    """A database, and worker processes over it."""

    def __init__(self, place: Place, database: Database, desk: Path) -> None:
        self._place = place
        self._desk = desk
        self.service = JobService(database, CLOCK, recorder(CLOCK), JobSettings())
        self.processes: list[subprocess.Popen[str]] = []
        desk.mkdir()

    def worker(self, session: str, lease: float = 120.0, hold: float = 60.0) -> subprocess.Popen[str]:
        plan = Plan(self._place.settings.url, str(self._place.data), str(self._desk), session, lease, hold)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.job_process", msgspec.json.encode(plan).decode()],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    async def start(self, steps: int) -> Job:
        return await self.service.start(ME, NewJob(kind="steps", title="Steps", args={"steps": steps}))

    async def until(self, job: Job, seen: Callable[[Job], bool]) -> Job:
        async with asyncio.timeout(DEADLINE):
            while not seen(found := await self.service.get(ME, job.id)):  # noqa: ASYNC110  it is another process
                await asyncio.sleep(PAUSE)
        return found

    async def done(self, job: Job) -> Job:
        return await self.until(job, lambda found: found.finished)

    def close_gate(self, name: str) -> None:
        (self._desk / name).touch()

    def open_gate(self, name: str) -> None:
        (self._desk / name).unlink()

    async def held(self, name: str, process: subprocess.Popen[str]) -> None:
        """Until a process stands before a gate."""
        await eventually_async((self._desk / f"{name}.{process.pid}").exists, f"a process at {name}")

    def marks(self) -> list[Mark]:
        path = self._desk / "marks"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [line.split() for line in lines]
        return [Mark(what, int(number), int(pid), key) for what, number, pid, key in found]

    def ends(self) -> Counter[int]:
        return Counter(mark.number for mark in self.marks() if mark.what == "end")

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait(timeout=30)
            if process.stdout is not None:
                process.stdout.close()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(timeout=30)


@pytest.fixture
async def site(place: Place, database: Database, tmp_path: Path) -> AsyncIterator[Site]:
    await install_default(database, CLOCK)
    made = Site(place, database, tmp_path / "desk")
    yield made
    made.close()


async def test_a_job_survives_a_kill_inside_and_after_every_step(site: Site) -> None:
    """Each kill is followed by another process in the same place, as the supervisor starts it."""
    steps = 3
    places = [f"{where}-{number}" for number in range(steps) for where in ("inside", "after")]
    for place in places:
        site.close_gate(place)
    job = await site.start(steps)
    for place in places:
        process = site.worker("one")
        await site.held(place, process)
        kill(process)
        site.open_gate(place)
    site.worker("one")
    done = await site.done(job)
    assert (done.state, done.result, done.takeovers) == ("succeeded", [0, 10, 20], len(places))
    assert site.ends() == dict.fromkeys(range(steps), 1), "a completed step never runs again"
    begins = [mark for mark in site.marks() if mark.what == "begin"]
    assert Counter(mark.number for mark in begins) == dict.fromkeys(range(steps), 2), "each was killed inside once"
    assert len({(mark.number, mark.key) for mark in begins}) == steps, "a repeat has the same idempotency key"


async def test_a_living_worker_takes_over_from_a_dead_one(site: Site) -> None:
    site.close_gate("inside-1")
    job = await site.start(3)
    first = site.worker("one", SHORT)
    await site.held("inside-1", first)
    second = site.worker("two")
    kill(first)
    await site.held("inside-1", second)
    site.open_gate("inside-1")
    done = await site.done(job)
    assert (done.state, done.result, done.takeovers) == ("succeeded", [0, 10, 20], 1)
    assert site.ends() == {0: 1, 1: 1, 2: 1}


async def test_a_worker_that_was_paused_runs_no_further_step(site: Site) -> None:
    site.close_gate("inside-0")
    job = await site.start(2)
    paused = site.worker("one", SHORT)
    await site.held("inside-0", paused)
    second = site.worker("two")
    paused.send_signal(signal.SIGSTOP)
    await site.held("inside-0", second)
    site.open_gate("inside-0")
    done = await site.done(job)
    assert done.result == [0, 10]
    paused.send_signal(signal.SIGCONT)
    assert eventually(lambda: paused.poll() is not None and paused.returncode + 1, "its end") == LOST + 1
    mine = [(mark.what, mark.number) for mark in site.marks() if mark.pid == paused.pid]
    assert ("begin", 1) not in mine
    assert (await site.service.get(ME, job.id)).result == [0, 10]


async def test_a_worker_that_is_told_to_end_finishes_its_step_and_leaves_the_rest(site: Site) -> None:
    site.close_gate("inside-0")
    job = await site.start(2)
    first = site.worker("one")
    await site.held("inside-0", first)
    first.terminate()
    site.open_gate("inside-0")
    assert first.wait(timeout=60) == 0
    left = await site.service.get(ME, job.id)
    assert (left.state, left.takeovers) == ("queued", 0)
    site.worker("two")
    done = await site.done(job)
    assert done.result == [0, 10]
    assert [(mark.what, mark.number) for mark in site.marks() if mark.pid == first.pid] == [("begin", 0), ("end", 0)]
    assert site.ends() == {0: 1, 1: 1}


async def test_a_job_goes_on_after_its_database_was_away(tmp_path: Path, postgres: Postgres) -> None:
    """For longer than a lease lasts: the worker ends, and another one goes on where it was."""
    binaries = postgres_binaries()
    assert binaries is not None
    server = Postgres(binaries)
    server.create()
    server.start()
    try:
        await _run_through_an_outage(server, tmp_path)
    finally:
        server.remove()


async def _run_through_an_outage(server: Postgres, folder: Path) -> None:
    server.execute("CREATE DATABASE away")
    place = Place(DatabaseSettings(url=server.url("away")), folder / "data")
    await migrate(place.process())
    database = place.database()
    await database.open()
    await install_default(database, CLOCK)
    site = Site(place, database, folder / "desk")
    try:
        site.close_gate("inside-1")
        job = await site.start(3)
        first = site.worker("one", SHORT)
        await site.held("inside-1", first)
        server.stop()
        site.open_gate("inside-1")
        await asyncio.sleep(SHORT * 2)
        server.start()
        assert await eventually_async(lambda: first.poll() is not None and first.returncode + 1, "its end") == LOST + 1
        site.worker("one")
        done = await site.done(job)
        assert (done.state, done.result) == ("succeeded", [0, 10, 20])
        assert site.ends()[0] == 1
    finally:
        site.close()
        await database.close()


async def test_each_of_many_jobs_is_done_once_by_several_processes(site: Site) -> None:
    made = [await site.start(2) for _ in range(20)]
    for number in range(3):
        site.worker(f"worker {number}")
    for job in made:
        assert (await site.done(job)).state == "succeeded"
    marks = Counter((mark.what, mark.key) for mark in site.marks())
    assert len(marks) == 20 * 2 * 2
    assert set(marks.values()) == {1}


async def test_workers_that_die_one_after_the_other_leave_the_job_failed(site: Site) -> None:
    site.close_gate("inside-0")
    job = await site.start(1)
    for _ in range(5):
        process = site.worker("one")
        await site.held("inside-0", process)
        kill(process)
    site.worker("one")
    done = await site.done(job)
    assert done.error is not None
    assert (done.state, done.error.code) == ("failed", "worker_lost")


async def test_jobs_that_nobody_has_outlive_every_worker(site: Site) -> None:
    """Told while no worker lives, and while workers that let go of them are killed."""
    made = [await site.service.start(ME, NewJob(kind="waits", title="Waits")) for _ in range(6)]
    first = site.worker("one", hold=0.2)
    for job in made:
        await site.until(job, lambda found: found.let_go)
    kill(first)
    assert [(await site.service.get(ME, job.id)).state for job in made] == ["waiting"] * 6
    for number, job in enumerate(made[:2]):
        await site.service.tell(ME, job.id, "answers", {"n": number})
    second = site.worker("one", hold=0.2)
    for number, job in enumerate(made[:2]):
        done = await site.done(job)
        assert (done.result, done.takeovers) == ({"n": number}, 0)
    for number, job in enumerate(made[2:], 2):
        await site.service.tell(ME, job.id, "answers", {"n": number})
    kill(second)
    site.worker("one", hold=0.2)
    for number, job in enumerate(made):
        assert (await site.done(job)).result == {"n": number}
    assert site.ends()[0] == 6, "a completed step never runs again"


async def test_a_worker_that_dies_while_it_lets_go_leaves_nothing_behind(site: Site) -> None:
    """Killed again and again around the moment in which it does."""
    made = [await site.service.start(ME, NewJob(kind="waits", title="Waits")) for _ in range(6)]
    for number in range(4):
        process = site.worker("one", hold=0.0)
        await site.until(made[number], lambda found: found.state == "waiting")
        kill(process)
    for number, job in enumerate(made):
        await site.service.tell(ME, job.id, "answers", {"n": number})
    site.worker("one", hold=0.2)
    for number, job in enumerate(made):
        assert (await site.done(job)).result == {"n": number}
