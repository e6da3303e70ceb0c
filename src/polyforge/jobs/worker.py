"""The worker: claims jobs, runs them, and takes over those of workers that died."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final

import msgspec

from polyforge.database.database import Database
from polyforge.jobs.chores import Chores
from polyforge.jobs.claiming import claim_jobs
from polyforge.jobs.endings import Ending, ending_of, lost_worker, no_such_kind, not_run
from polyforge.jobs.journal import Fenced, StepJournal
from polyforge.jobs.lease import Lease, Timing, WorkerPlace
from polyforge.jobs.notes import Notes
from polyforge.jobs.records import LogLine, Progress
from polyforge.jobs.releasing import as_it_is_now
from polyforge.jobs.resting import to_let_go
from polyforge.jobs.run import Run, StopReason
from polyforge.jobs.running import JobKind
from polyforge.jobs.settings import JobSettings
from polyforge.jobs.working_store import Claim, JobKeeper, JobReader
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import PolyforgeError
from polyforge.telemetry.logs import get_logger

MAX_HELD: Final = 1_000
"""Jobs that one worker has, those that wait for something included."""
MAX_STRIKES: Final = 5
"""Workers that may die of a job one after the other, without a step of it being completed."""
_ENDS_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 1.0

_TAKEN_OVER: Final = "the worker that ran it is gone; another one goes on, and repeats only what was under way"
_log = get_logger(__name__)


class Worker:
    """Runs jobs in this process. The database must be migrated, and the journal is this process's own."""

    def __init__(
        self,
        database: Database,
        journal: StepJournal,
        kinds: Iterable[JobKind],
        clock: Clock,
        settings: JobSettings,
        place: WorkerPlace,
        timing: Timing | None = None,
    ) -> None:
        self._database = database
        self._journal = journal
        self._kinds = {kind.name: kind for kind in kinds}
        self._clock = clock
        self._settings = settings
        self._timing = timing or Timing()
        self._lease = Lease(database, clock, journal.executor_id, place, self._timing)
        self._chores = Chores(database, journal, clock, settings)
        self._runs: dict[str, Run] = {}
        self._tasks: dict[asyncio.Task[None], Claim] = {}
        """What each conducts."""
        self._strays: set[tuple[str, int]] = set()
        self._strays_at = clock.monotonic()
        self._loops: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()
        self._watched_at = clock.monotonic()
        self._draining = False
        self._open = False
        self._failing: set[str] = set()

    @property
    def executor_id(self) -> str:
        """Unique for each start of a process."""
        return self._journal.executor_id

    @property
    def lost(self) -> bool:
        """Whether the lease ran out, as on a machine that was paused: the process has to end and start anew."""
        return self._lease.lost

    async def until_lost(self) -> None:
        """Return once the lease has run out."""
        await self._lease.until_lost()

    async def open(self) -> None:
        """Take a lease, take over what a dead worker of the same place left, and begin to claim jobs."""
        await self._journal.open()
        try:
            await self._lease.take()
        except BaseException:
            await self._journal.close()
            raise
        self._open = True
        self._loops = [
            asyncio.create_task(self._repeat("lease", self._lease.next_renewal, self._lease.renew), name="job lease"),
            asyncio.create_task(self._stop_when_lost(), name="job lease lost"),
            asyncio.create_task(self._repeat("claims", self._until_room, self._claim), name="job claims"),
            asyncio.create_task(self._repeat("notes", self._pause(self._timing.tick), self._tick), name="job notes"),
            asyncio.create_task(self._repeat("chores", self._pause(1.0), self._mind), name="job chores"),
        ]

    async def drain(self, seconds: float) -> None:
        """Claim nothing more, and give what runs so long to finish its steps; the rest is taken over by others."""
        self._draining = True
        self._wake.set()
        for run in self._runs.values():
            if run.state[0] == "waiting":
                _leave(run)
        await self._ended(seconds)

    async def close(self) -> None:
        """Stop at once and give up the lease; what still ran is taken over by others at once."""
        if not self._open:
            return
        self._open, self._draining = False, True
        for run in self._runs.values():
            run.stop("released")
        await self._ended(_ENDS_SECONDS)
        await _cancel([*self._loops, *self._tasks])
        try:
            await self._lease.give_up()
        except PolyforgeError as error:
            _log.warning("the lease could not be given up; others take over when it runs out", reason=error.message)
        await self._journal.close()

    # What runs need (`run.Desk`)

    def refusal(self) -> StopReason | None:
        """Why no step may begin now; None when one may."""
        if not self._lease.is_valid():
            return "lost"
        return "released" if self._draining else None

    async def take_message(self, claim: Claim, topic: str, step: str) -> str | None:
        """The next message on a topic, which this step has from now on; None when there is none to be had now."""
        try:
            async with self._database.write() as session:
                return await JobKeeper(session).take_message(claim.job.id, topic, step)
        except PolyforgeError as error:
            self._note_failure("messages", error.message)
            return None

    # Claiming

    async def _until_room(self) -> None:
        """Until the next look for jobs: at once when one ended, else after a while."""
        try:
            async with asyncio.timeout(self._settings.poll_seconds):
                await self._wake.wait()
        except TimeoutError:
            return
        finally:
            self._wake.clear()

    async def _claim(self) -> None:
        if self._draining or not self._lease.is_valid():
            return
        waiting = sum(run.state[0] == "waiting" or run.left is not None for run in self._runs.values())
        room = min(self._settings.concurrency + waiting, MAX_HELD) - len(self._tasks)
        if room <= 0:
            return
        held = Counter(claim.job.project_id for claim in self._tasks.values())
        claims = await claim_jobs(self._database, self._clock, self._settings, self.executor_id, room, held)
        for claim in claims:
            task = asyncio.create_task(self._conduct(claim), name=f"job {claim.job.id}")
            self._tasks[task] = claim
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._wake.set()

    # Running

    async def _conduct(self, claim: Claim) -> None:
        """One run of a job, from its claim to its end; whatever goes wrong concerns no other."""
        notes = Notes(self._clock, 0, claim.job.progress)
        try:
            notes = Notes(self._clock, await self._last_line(claim), claim.job.progress)
            ending = await self._attempt(claim, notes)
        except Exception as error:  # noqa: BLE001 - see above
            _log.exception("a job could not be run", job=claim.job.id, kind=claim.job.kind)
            ending = not_run(claim.job, error, self._clock.now())
        finally:
            self._runs.pop(claim.job.id, None)
        if ending is not None:
            await self._end(claim, notes, ending)

    async def _last_line(self, claim: Claim) -> int:
        async with self._database.read() as session:
            return await JobReader(session).last_line(claim.job.id)

    async def _attempt(self, claim: Claim, notes: Notes) -> Ending | None:
        """How it ended; None when it goes on elsewhere."""
        earlier = [run_id(claim, number) for number in range(1, claim.run)]
        await self._journal.fence(earlier)
        kept = await self._journal.kept(earlier)
        run = Run(claim, self._journal, self, self._clock, kept, notes)
        if claim.strikes:
            notes.log("warning", _TAKEN_OVER)
        if claim.strikes and not await self._forgive(claim, any(each.run_id == earlier[-1] for each in kept.values())):
            return lost_worker(claim.job, self._clock.now(), MAX_STRIKES)
        kind = self._kinds.get(claim.job.kind)
        if kind is None:
            return no_such_kind(claim.job, self._clock.now())
        self._runs[claim.job.id] = run
        if claim.job.cancel_requested:
            run.stop("cancelled")
        try:
            await self._journal.run(run_id(claim, claim.run), self._body(run, kind))
        except Fenced:
            run.stop("lost")
        return ending_of(run, self._clock.now())

    async def _forgive(self, claim: Claim, progressed: bool) -> bool:
        """Whether a job that was taken from dead workers may go on: it gets on, or did not have all its tries yet."""
        if progressed:
            async with self._database.write() as session:
                await JobKeeper(session).change(claim, self.executor_id, {"strikes": 0})
        return progressed or claim.strikes < MAX_STRIKES

    def _body(self, run: Run, kind: JobKind) -> Callable[[], Awaitable[None]]:
        async def body() -> None:
            run.task = asyncio.create_task(_as_coroutine(kind.run(run)))
            if run.stopped is not None:
                run.task.cancel()
            await asyncio.wait({run.task})

        return body

    async def _end(self, claim: Claim, notes: Notes, ending: Ending) -> None:
        """Write how it ended, however long that takes while the lease is valid."""
        lines, progress = notes.take()
        while self._lease.is_valid():
            try:
                if await self._write_end(claim, lines, progress, ending) and ending.state == "succeeded":
                    await self._journal.forget([run_id(claim, number) for number in range(1, claim.run + 1)])
                return
            except PolyforgeError as error:
                self._note_failure("endings", error.message)
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _write_end(self, claim: Claim, lines: list[LogLine], progress: Progress | None, ending: Ending) -> bool:
        async with self._database.write() as session:
            keeper = JobKeeper(session)
            if claim.job.id not in await keeper.still_held([claim], self.executor_id):
                return False
            await keeper.add_lines(claim, lines)
            ending = await as_it_is_now(keeper, claim.job, ending)
            values = ending.values | ({} if progress is None else columns_of(progress))
            await keeper.change(claim, self.executor_id, values)
            await keeper.note(claim.job, ending.event, ending.at, **ending.told)
        return True

    # Minding what runs

    async def _stop_when_lost(self) -> None:
        await self._lease.until_lost()
        _log.warning("the lease of this worker ran out; others take over what it had", worker=self.executor_id)
        for run in list(self._runs.values()):
            run.stop("lost")

    async def _tick(self) -> None:
        """Write what runs said, hear what is meant for them, and let go of those that only wait."""
        runs = [run for run in self._runs.values() if run.left is None]
        if not runs:
            self._watched_at = self._clock.monotonic()
            return
        now = self._clock.monotonic()
        for run in runs:
            self._watch(run, now - self._watched_at)
        self._watched_at = now
        await self._hear(runs)
        await self._write_notes([run for run in runs if run.notes.is_new or run.state != run.written_state])
        self._let_go()

    def _watch(self, run: Run, seconds: float) -> None:
        """So many seconds have passed since the last look."""
        state, limit = run.state[0], run.job.timeout_seconds
        if state == "running":
            run.seconds += seconds
        run.rested = run.rested + seconds if run.resting is not None else 0.0
        if run.stopped is not None:
            return
        if self._draining and state == "waiting":
            _leave(run)
        elif limit is not None and run.seconds > limit:
            run.stop("timeout")

    def _let_go(self) -> None:
        resting = [each for run in self._runs.values() if (each := run.resting) is not None]
        for job_id in to_let_go(resting, self._clock.now(), self._timing.hold):
            self._runs[job_id].let_go()

    async def _hear(self, runs: list[Run]) -> None:
        async with self._database.read() as session:
            reader = JobReader(session)
            cancelled = await reader.cancelled(self.executor_id)
            told = await reader.told(self.executor_id) if any(run.listens for run in runs) else []
        for job_id in cancelled:
            if (run := self._runs.get(job_id)) is not None and run.stopped is None:
                run.stop("cancelled")
        for job_id, topic in told:
            if (run := self._runs.get(job_id)) is not None:
                run.tell(topic)

    async def _write_notes(self, runs: list[Run]) -> None:
        if not runs:
            return
        taken = [(run, run.state, *run.notes.take()) for run in runs]
        try:
            await self._write_taken(taken)
        except BaseException:
            for run, _, lines, _ in taken:
                run.notes.give_back(lines)
            raise

    async def _write_taken(self, taken: list[tuple[Run, Any, list[LogLine], Progress | None]]) -> None:
        now = self._clock.now()
        async with self._database.write() as session:
            keeper = JobKeeper(session)
            held = await keeper.still_held([run.claim for run, *_ in taken], self.executor_id)
            changed: list[Run] = []
            for run, state, lines, progress in taken:
                if run.job.id not in held:
                    continue
                await keeper.add_lines(run.claim, lines)
                values = {} if progress is None else columns_of(progress)
                if state != run.written_state:
                    values |= columns_of_state(*state)
                if values:
                    await keeper.change(run.claim, self.executor_id, values)
                    changed.append(run)
            for run in changed:
                await keeper.note(run.job, "job.progressed", now, **told_of(run))
        for run, state, *_ in taken:
            run.written_state = state

    async def _mind(self) -> None:
        """Schedules, dead workers and old jobs, each when it is time for it."""
        if self._draining or not self._lease.is_valid():
            return
        await self._chores.turn(self._timing.scan)
        if self._clock.monotonic() >= self._strays_at + self._timing.scan:
            self._strays_at = self._clock.monotonic()
            await self._find_strays()

    async def _find_strays(self) -> None:
        """Put back what this worker has by its rows and does not run: a commit was broken off, or an end not written.

        Only what was so at the last look too, for a claim may be under way.
        """
        async with self._database.read() as session:
            found = await JobReader(session).held(self.executor_id)
        strays = found - {(claim.job.id, claim.run) for claim in self._tasks.values()}
        for job_id, run in strays & self._strays:
            async with self._database.write() as session:
                await JobKeeper(session).put_back(self.executor_id, job_id, run, self._clock.now())
            _log.warning("a job that nobody ran is queued again", job=job_id, run=run)
        self._strays = strays

    # Loops

    async def _repeat(
        self, what: str, pause: Callable[[], Awaitable[None]], turn: Callable[[], Awaitable[None]]
    ) -> None:
        """Take turns for as long as the process lives; a database that is down is tried again."""
        while True:
            await pause()
            try:
                await turn()
            except PolyforgeError as error:
                self._note_failure(what, error.message)
                await asyncio.sleep(_AGAIN_SECONDS)
            except Exception:  # noqa: BLE001 - without these loops no job would go on
                _log.exception("a turn of the worker failed", what=what)
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                self._failing.discard(what)

    def _note_failure(self, what: str, reason: str) -> None:
        if what not in self._failing:
            _log.warning("the worker cannot reach the database and tries again", what=what, reason=reason)
        self._failing.add(what)

    def _pause(self, seconds: float) -> Callable[[], Awaitable[None]]:
        async def pause() -> None:
            await asyncio.sleep(seconds)

        return pause

    async def _ended(self, seconds: float) -> None:
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)


def run_id(claim: Claim, number: int) -> str:
    """The id of a run in the journal."""
    return f"{claim.job.id}:{number}"


def columns_of(progress: Progress) -> dict[str, Any]:
    """Progress as a row has it."""
    return {f"progress_{name}": value for name, value in msgspec.structs.asdict(progress).items()}


def columns_of_state(state: str, waiting_for: Any) -> dict[str, Any]:
    """The state of a job that a worker has, as a row has it."""
    code, message = (None, None) if waiting_for is None else (waiting_for.code, waiting_for.message)
    return {"state": state, "waiting_code": code, "waiting_message": message}


def told_of(run: Run) -> dict[str, Any]:
    """What an event says of a run."""
    progress = run.notes.progress
    return {"state": run.state[0], "done": progress.done, "total": progress.total, "unit": progress.unit}


def _leave(run: Run) -> None:
    """Break off a run that waits: nobody has to have it until then, or another worker goes on with it."""
    if not run.let_go():
        run.stop("released")


def _as_coroutine(awaitable: Awaitable[Any]) -> Coroutine[Any, Any, Any]:
    async def waited() -> Any:
        return await awaitable

    return waited()


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
