"""One run of a job in this process: steps that are done once, waits, and what stops it."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final, Literal, Protocol, TypeVar

import msgspec

from polyforge.jobs.journal import Fenced, Kept, StepJournal
from polyforge.jobs.notes import Notes, storable
from polyforge.jobs.records import Job, Level, State, WaitingFor
from polyforge.jobs.resting import Rest, Resting, Wait, first_end, rest_of
from polyforge.jobs.running import MAX_STEP_BYTES
from polyforge.jobs.working_store import Claim
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Invalid, PolyforgeError, TimedOut

T = TypeVar("T")
StopReason = Literal["cancelled", "timeout", "lost", "released", "let_go"]
"""It shall end, it took too long, others have it or may have it, this worker ends, or it only waits."""

MAX_STEPS: Final = 100_000
MAX_STEP_NAME: Final = 150
_LONGEST_PAUSE: Final = 3_600.0
_SHORT: Final = 2.0
"""Seconds of sleep for which a job stays `running`."""
_inside: Final[ContextVar[str | None]] = ContextVar("the step that goes on", default=None)
_encode: Final = msgspec.json.Encoder().encode


class Desk(Protocol):
    """What a run needs of its worker."""

    def refusal(self) -> StopReason | None:
        """Why no step may begin now; None when one may."""
        ...

    async def take_message(self, claim: Claim, topic: str, step: str) -> str | None:
        """The next message on a topic, which this step has from now on; None when there is none to be had now."""
        ...


class Run:
    """What a kind of job is given to run with; `kept` are the steps that earlier runs completed."""

    def __init__(
        self, claim: Claim, journal: StepJournal, desk: Desk, clock: Clock, kept: Mapping[str, Kept], notes: Notes
    ) -> None:
        self.claim = claim
        self.notes = notes
        self.task: asyncio.Task[Any] | None = None
        self.stopped: StopReason | None = None
        self.written_state: tuple[State, WaitingFor | None] = ("running", None)
        """As the row has it."""
        self.seconds = claim.seconds
        """For how long it has been running, waits not counted."""
        self.rested = 0.0
        """For how long it has only waited, as its worker saw it."""
        self.left: Rest | None = None
        """What it waited for when it was let go."""
        self._journal = journal
        self._desk = desk
        self._clock = clock
        self._kept = kept
        self._names: set[str] = set()
        self._busy = 0
        self._occupied = 0
        self._under_way: set[str] = set()
        self._waits: dict[str, Wait] = {}
        self._topics: dict[str, asyncio.Event] = {}

    @property
    def job(self) -> Job:
        """The job as it was when this run began."""
        return self.claim.job

    @property
    def cancelled(self) -> bool:
        """Whether somebody wants it to end."""
        return self.stopped == "cancelled"

    @property
    def released(self) -> bool:
        """Whether it goes on later or elsewhere."""
        return self.stopped in ("lost", "released", "let_go")

    @property
    def state(self) -> tuple[State, WaitingFor | None]:
        """What it is now: waiting when it does nothing else."""
        if self._waits and not self._busy:
            return "waiting", next(iter(self._waits.values())).waiting_for
        return "running", None

    @property
    def resting(self) -> Resting | None:
        """How it waits where nothing else goes on in it; None otherwise, and once it is to end."""
        if not self._waits or self.stopped is not None or self._occupied or self._under_way - self._waits.keys():
            return None
        return Resting(self.job.id, self.job.project_id, self.claim.run, self.rested, first_end(self._waits.values()))

    @property
    def listens(self) -> bool:
        """Whether it waits, so that there may be a message for it."""
        return bool(self._waits)

    def stop(self, reason: StopReason) -> None:
        """Have it end, now or at its next step; the first reason counts, but for one that is more serious."""
        if self.stopped is None or reason == "lost":
            self.stopped = reason
        if self.task is not None:
            self.task.cancel()

    def let_go(self) -> bool:
        """Have it end because it only waits, to be begun again when that is over; False when it does more."""
        if self.resting is None:
            return False
        self.left = rest_of(self._waits)
        self.stop("let_go")
        return True

    def tell(self, topic: str) -> None:
        """There is a message on a topic."""
        if (event := self._topics.get(topic)) is not None:
            event.set()

    # What kinds call

    async def step(
        self,
        name: str,
        work: Callable[[], Awaitable[T]],
        *,
        retries: int = 0,
        backoff: float = 1.0,
        timeout_seconds: float | None = None,
    ) -> T:
        """The result of `work`, which is done once; see `JobContext`."""
        self._begin(name)
        if (kept := self._kept.get(name)) is not None:
            return msgspec.json.decode(await self._journal.value(kept))
        return await self._tried(name, work, retries, backoff, timeout_seconds)

    def idempotency_key(self, step: str) -> str:
        """A key for what a step does outside."""
        return f"{self.job.id}:{step}"

    async def sleep(self, name: str, seconds: float) -> None:
        """Wait; of a repeated run only for what is left."""
        until = await self.step(name, self._in(seconds))
        left = until - self._clock.now()
        if left <= 0:
            return
        if left < _SHORT:
            await self._pause(left)
            return
        self._waits[name] = Wait(WaitingFor("sleep", f"sleeps until {_time(until)}"), until)
        try:
            await asyncio.sleep(left)
        finally:
            del self._waits[name]

    async def wait_for(
        self, name: str, topic: str, *, code: str, message: str, timeout_seconds: float | None = None
    ) -> Mapping[str, Any] | None:
        """The next message to this job on a topic, None after `timeout_seconds`."""
        until = None if timeout_seconds is None else await self.step(f"{name}:until", self._in(timeout_seconds))
        self._begin(name)
        if (kept := self._kept.get(name)) is not None:
            return _first(msgspec.json.decode(await self._journal.value(kept)))
        wait = Wait(WaitingFor(storable(code)[:32], storable(message)[:300]), until, topic)
        return _first(await self._kept_now(name, lambda: self._receive(name, topic, wait), None))

    def occupied(self, change: int) -> None:
        """So many more things go on outside of steps and waits, or fewer."""
        self._occupied += change

    def progress(self, done: float, total: float | None = None, unit: str = "", note: str = "") -> None:
        """Say how far it is."""
        self.notes.say(done, total, unit, note)

    def log(self, level: Level, text: str) -> None:
        """Add a line to the job's log."""
        self.notes.log(level, text)

    # Within

    async def _tried(
        self, name: str, work: Callable[[], Awaitable[T]], retries: int, backoff: float, timeout_seconds: float | None
    ) -> T:
        tries = 0
        while True:
            self._busy += 1
            try:
                return await self._kept_now(name, work, timeout_seconds)
            except Exception as error:
                tries += 1
                if tries > retries or not _is_worth_it(error):
                    raise
                pause = min(backoff * 2 ** (tries - 1), _LONGEST_PAUSE) * random.uniform(0.8, 1.2)
                self.log("warning", f"the step {name!r} failed and is tried again in {pause:.1f} s: {_told(error)}")
            finally:
                self._busy -= 1
            await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        """A wait that nobody else could take over: how often a step was tried is known here alone."""
        self.occupied(1)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.occupied(-1)

    async def _kept_now(self, name: str, work: Callable[[], Awaitable[T]], timeout_seconds: float | None) -> T:
        self._check_may_go_on()
        self._under_way.add(name)
        try:
            return msgspec.json.decode(await self._journal.step(name, lambda: _done(name, work, timeout_seconds)))
        except Fenced:
            self.stop("lost")
            raise asyncio.CancelledError from None
        finally:
            self._under_way.discard(name)

    async def _receive(self, name: str, topic: str, wait: Wait) -> list[Any]:
        """The message in a list, which is empty when none came in time."""
        event, until = self._topics.setdefault(topic, asyncio.Event()), wait.until
        self._waits[name] = wait
        try:
            while True:
                event.clear()
                found = await self._desk.take_message(self.claim, topic, name)
                if found is not None:
                    return [msgspec.json.decode(found)]
                left = _LONGEST_PAUSE if until is None else until - self._clock.now()
                if left <= 0:
                    return []
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, _LONGEST_PAUSE)):
                        await event.wait()
        finally:
            del self._waits[name]

    def _in(self, seconds: float) -> Callable[[], Awaitable[float]]:
        async def moment() -> float:
            return self._clock.now() + seconds

        return moment

    def _begin(self, name: str) -> None:
        """Invalid for a name that a step cannot have."""
        if (outer := _inside.get()) is not None:
            raise Invalid(f"the step {name!r} begins within the step {outer!r}; steps cannot hold others")
        if not 0 < len(name) <= MAX_STEP_NAME:
            raise Invalid(f"the name of a step must have 1 to {MAX_STEP_NAME} characters, unlike {name[:200]!r}")
        if name in self._names:
            raise Invalid(f"there are two steps {name!r}; give each a name of its own")
        if len(self._names) >= MAX_STEPS:
            raise Invalid(f"a job has {MAX_STEPS} steps at most; do more in each")
        self._names.add(name)

    def _check_may_go_on(self) -> None:
        if self.stopped is None and (reason := self._desk.refusal()) is not None:
            self.stop(reason)
        if self.stopped is not None:
            raise asyncio.CancelledError


async def _done(name: str, work: Callable[[], Awaitable[object]], timeout_seconds: float | None) -> bytes:
    """Do the work of a step once; the JSON of what it gives."""
    token, limit = _inside.set(name), asyncio.timeout(timeout_seconds)
    try:
        async with limit:
            result = await work()
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise TimedOut(f"the step {name!r} took longer than {timeout_seconds:g} s") from error
    finally:
        _inside.reset(token)
    return _json_of(name, result)


def _json_of(name: str, result: object) -> bytes:
    try:
        data = _encode(result)
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid(f"what the step {name!r} gives is no JSON: {error}") from error
    if len(data) > MAX_STEP_BYTES:
        raise Invalid(
            f"what the step {name!r} gives has {len(data)} bytes, and {MAX_STEP_BYTES} at most are kept;"
            " put it into the object store and give its name"
        )
    return data


def _is_worth_it(error: Exception) -> bool:
    return error.retryable if isinstance(error, PolyforgeError) else True


def _told(error: Exception) -> str:
    """What people may read of it: the words of our own errors, and of others only the kind."""
    return error.message if isinstance(error, PolyforgeError) else type(error).__name__


def _first(found: list[Any]) -> Mapping[str, Any] | None:
    return found[0] if found else None


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
