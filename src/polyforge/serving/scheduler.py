"""Who computes what next: bounded queues in front of a few threads.

Greedy: while a thread is idle and the model has an instance free, a request starts at once and alone. Only when all are
busy do requests wait, and then the next free thread takes as much as the plan of the model says is worth one run.
Among models the one whose next request came first goes first; see `queue` for the order within one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import msgspec

from polyforge.kernel.errors import Cancelled, PolyforgeError, TimedOut, Unavailable
from polyforge.ports.model_backend import ModelBackend, ModelRequest, Outputs
from polyforge.serving.compute import ComputeThreads
from polyforge.serving.deadlines import Deadlines
from polyforge.serving.lane import Lane
from polyforge.serving.repository import RETRY_SECONDS, HostedModel
from polyforge.serving.response_cache import ResponseCache
from polyforge.serving.splitting import split
from polyforge.serving.work import NANOSECONDS, Answer, BackendBroke, Ticket, Work

Gone = Callable[[], Awaitable[None]]
"""Returns when the caller hangs up."""

THREADS_ELSEWHERE = 256
"""Threads for runs that compute in other processes or on other machines: all that they do here is wait."""
MAX_RETRY_SECONDS = 30.0


class Scheduler:
    """Runs requests on `threads` threads; at most `max_queue` wait, and `max_queue_per_model` of one model.

    `loaders` other threads load and unload models. All else is on one event loop.
    """

    def __init__(
        self,
        *,
        threads: int,
        max_queue: int,
        max_queue_per_model: int | None = None,
        cache_bytes: int = 0,
        loaders: int = 2,
    ) -> None:
        self._threads = threads
        self._loader_threads = loaders
        self._max_queue = max_queue
        self._max_queue_per_model = max_queue if max_queue_per_model is None else max_queue_per_model
        self._cache = ResponseCache(cache_bytes)
        self._pool: ComputeThreads | None = None
        self._elsewhere: ComputeThreads | None = None
        self._loaders: ThreadPoolExecutor | None = None
        self._running = 0
        self._queued = 0
        self._lanes: dict[HostedModel, Lane] = {}
        self._waiting: dict[Lane, None] = {}
        self._deadlines = Deadlines(self._expire)
        self._finished = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def open(self) -> None:
        """Get the threads ready; each starts with its first run."""
        self._pool = ComputeThreads(self._threads)
        self._elsewhere = ComputeThreads(THREADS_ELSEWHERE)
        self._loaders = ThreadPoolExecutor(self._loader_threads, thread_name_prefix="load")

    async def close(self) -> None:
        """Refuse what waits, and wait for what runs."""
        pools, self._pool, self._elsewhere = (self._pool, self._elsewhere), None, None
        stopping = Unavailable("the model host is stopping", retry_after=RETRY_SECONDS)
        for lane in list(self._waiting):
            for work in list(lane):
                self._drop(lane, work.ticket, stopping)
        await self._idle.wait()
        self._deadlines.close()
        loaders, self._loaders = self._loaders, None
        for pool in pools:
            if pool:
                pool.close()
        if loaders:
            loaders.shutdown()

    @property
    def idle(self) -> bool:
        """Whether nothing waits or runs, and every request is answered."""
        return not (self._queued or self._running or self._waiting or self._deadlines)

    @property
    def caches(self) -> bool:
        """Whether it keeps answers at all."""
        return self._cache.max_bytes > 0

    def waiting(self, model: HostedModel) -> int:
        """How many requests for a model wait for a thread."""
        lane = self._lanes.get(model)
        return lane.waiting if lane else 0

    def running(self, model: HostedModel) -> int:
        """How many runs of a model are under way."""
        lane = self._lanes.get(model)
        return lane.running if lane else 0

    async def load(self, model: HostedModel) -> None:
        """Load a model in a thread; RuntimeError is what nobody foresaw."""
        await asyncio.get_running_loop().run_in_executor(self._loaders, model.load)

    async def unload(self, model: HostedModel) -> None:
        """Let go of a model that takes no new requests, in a thread, once those that it has are answered."""
        while (lane := self._lanes.get(model)) and lane.busy:
            await self._finished.wait()
        if lane:
            del self._lanes[model]
            self._cache.forget(lane.number)
        await asyncio.get_running_loop().run_in_executor(self._loaders, model.backend.close)

    def occupy(self, model: HostedModel) -> Callable[[], None]:
        """Count a run that takes no thread of the scheduler's, such as a stream, until what this returns is called."""
        lane = self._lane(model)
        lane.running += 1

        def free() -> None:
            lane.running -= 1
            self._fill(time.monotonic())
            self._tell()

        return free

    async def infer(
        self,
        model: HostedModel,
        request: ModelRequest,
        *,
        rows: int,
        within: float,
        gone: Gone,
    ) -> Outputs:
        """What the model answers. `gone` returns when the caller hangs up; what still waits then is not computed.

        The parameters `priority`, `timeout` (microseconds) and those of sequences are followed as the model's plan
        allows. Unavailable when a queue is full, TimedOut when it takes longer than `within` seconds or waits longer
        than it may, Cancelled when the caller is gone, Invalid when a parameter makes no sense, BackendBroke when the
        backend failed in a way that it does not foresee.
        """
        if self._pool is None:
            raise Unavailable("the model host is stopping", retry_after=RETRY_SECONDS)
        if model.plan.cached and self.caches and not model.signature.stateful:
            return await self.cached(model, request, partial(self._infer, model, request, rows, within, gone))
        return await self._infer(model, request, rows, within, gone)

    async def cached(
        self,
        model: HostedModel,
        request: ModelRequest,
        compute: Callable[[], Awaitable[Outputs]],
        made_of: Sequence[HostedModel] = (),
    ) -> Outputs:
        """What was answered to an equal request, else what `compute` gives, which is kept if the host has a cache.

        `made_of` are the models that compute it; once one of them is loaded anew, what was kept is not given again.
        """
        counters = model.statistics
        started = time.monotonic_ns()
        parts = [self._lane(part).number for part in made_of]
        key = self._cache.key(self._lane(model).number, request, parts)
        found = self._cache.get(key)
        spent = time.monotonic_ns() - started
        if found is not None:
            counters.cache_hits += 1
            counters.cache_hit_ns += spent
            counters.answer(spent)
            return found
        outputs = await compute()
        computed = time.monotonic_ns()
        if self._lanes.get(model) is not None:
            self._cache.put(key, outputs)
        counters.cache_misses += 1
        counters.cache_miss_ns += spent + time.monotonic_ns() - computed
        return outputs

    async def _infer(self, model: HostedModel, request: ModelRequest, rows: int, within: float, gone: Gone) -> Outputs:
        brief = model.signature.brief_bytes
        if brief and request.size <= brief and not model.plan.keep_order:
            return _run_in_place(model, request, rows)
        lane = self._lane(model)
        ticket = self._submit(lane, request, rows, within)
        try:
            outputs = await self._answer(lane, ticket, gone)
        except (PolyforgeError, BackendBroke) as error:
            _count_failure(model, ticket, error)
            raise
        finally:
            if lane.sequences is not None:
                lane.sequences.leave(request.parameters, begun=ticket.started_ns > 0)
        model.statistics.compute(ticket.started_ns - ticket.queued_ns, ticket.done_ns - ticket.started_ns)
        model.statistics.answer(time.monotonic_ns() - ticket.queued_ns)
        return outputs

    def _lane(self, model: HostedModel) -> Lane:
        lane = self._lanes.get(model)
        if lane is None:
            lane = self._lanes[model] = Lane(model)
        return lane

    def _submit(self, lane: Lane, request: ModelRequest, rows: int, within: float) -> Ticket:
        model = lane.model
        plan = model.plan
        ticket = Ticket(split(request, rows, model.signature, plan), within)
        if request.parameters or plan.levels or plan.policy.timeout_us:
            ticket.hurry(plan, request.parameters)
        self._check_room(lane, ticket)
        if lane.sequences is not None:
            ticket.slot = lane.sequences.enter(request.parameters, model.name)
        if plan.keep_order:
            ticket.line_up(lane.order)
        if len(ticket.works) == 1 and ticket.slot is None and self._may_start(lane):
            self._start(lane, ticket.works)
            return ticket
        lane.put(ticket)
        self._waiting[lane] = None
        self._queued += 1
        # What can start at once has not waited, however short its time is.
        self._fill(ticket.queued_ns / NANOSECONDS)
        return ticket

    def _may_start(self, lane: Lane) -> bool:
        """Whether a request for a model is the next one, and has a place."""
        return not lane.waiting and self._places(lane) > 0

    def _check_room(self, lane: Lane, ticket: Ticket) -> None:
        """Unavailable when a request cannot start at once and a queue that it would wait in is full."""
        if not self._queued:
            return
        plan = lane.model.plan
        limits = (
            (self._queued, self._max_queue),
            (lane.waiting, plan.max_queue or self._max_queue_per_model),
            (lane.waiting_at(ticket.level), plan.policy_of(ticket.level).max_queue),
        )
        if not any(0 < limit <= waiting for waiting, limit in limits):
            return
        if self._may_start(lane):
            return
        lane.model.statistics.rejected += 1
        raise Unavailable(
            f"model '{lane.model.name}': the queue is full, {self._queued} requests wait",
            retry_after=self._retry_after(lane),
        )

    def _pool_of(self, lane: Lane) -> ComputeThreads | None:
        return self._elsewhere if lane.elsewhere else self._pool

    def _places(self, lane: Lane) -> int:
        """How many runs of a model may begin now."""
        pool = self._pool_of(lane)
        return 0 if pool is None else min(pool.free, lane.places(pool.limit))

    def _retry_after(self, lane: Lane) -> float:
        """Seconds until what waits for the model has been computed, if it goes on as up to now."""
        counters = lane.model.statistics
        each = counters.compute_ns / NANOSECONDS / max(1, counters.computed)
        return min(max(RETRY_SECONDS, each * lane.waiting / self._threads), MAX_RETRY_SECONDS)

    async def _answer(self, lane: Lane, ticket: Ticket, gone: Gone) -> Outputs:
        """Wait for the answer, for the caller to leave, and for the end of its time."""
        self._deadlines.watch(ticket)
        watcher = (
            asyncio.get_running_loop().create_task(self._leave_with(lane, ticket, gone)) if ticket.waiting else None
        )
        try:
            return await ticket.future
        finally:
            self._deadlines.leave(ticket)
            if watcher:
                watcher.cancel()
            self._forget(lane, ticket)
            ticket.release()

    def _expire(self, ticket: Ticket, now: float) -> None:
        if not ticket.expired(now):
            # Its time to wait is over, that to be answered is not.
            ticket.due = ticket.deadline
        elif not ticket.future.done():
            # Whoever waits for it wakes up and takes it out of its queue.
            self._deadlines.leave(ticket)
            ticket.future.set_exception(TimedOut("Request timeout expired"))

    async def _leave_with(self, lane: Lane, ticket: Ticket, gone: Gone) -> None:
        await gone()
        self._drop(lane, ticket, Cancelled("the caller closed the connection"))

    def _drop(self, lane: Lane, ticket: Ticket, error: PolyforgeError) -> None:
        if not ticket.future.done():
            ticket.future.set_exception(error)
        self._forget(lane, ticket)

    def _forget(self, lane: Lane, ticket: Ticket) -> None:
        """Compute nothing more for a request that nobody waits for."""
        if ticket.waiting:
            ticket.future.cancel()
            for work in ticket.works:
                if work.queue is not None:
                    self._leave(lane, work)
        ticket.pass_on()

    def _leave(self, lane: Lane, work: Work) -> None:
        """Take work out of the queue that it waits in."""
        if lane.remove(work):
            self._queued -= 1
            if not lane.waiting:
                del self._waiting[lane]
                self._tell()

    def _fill(self, now: float) -> None:
        """Start what can be started."""
        while lane := self._next_lane():
            batch: list[Work] = []
            for work in lane.choose(now):
                if work.queue is not None and self._wanted(lane, work, now):
                    self._leave(lane, work)
                    batch.append(work)
            if batch:
                self._start(lane, batch)

    def _wanted(self, lane: Lane, work: Work, now: float) -> bool:
        """Whether work is still to be computed; what is not goes, with all else of its request."""
        if work.ticket.expired(now):
            self._drop(lane, work.ticket, TimedOut("Request timeout expired"))
        elif work.ticket.future.done():
            self._forget(lane, work.ticket)
        return work.queue is not None

    def _next_lane(self) -> Lane | None:
        lanes = self._waiting
        if len(lanes) == 1:
            (lane,) = lanes
            return lane if self._places(lane) > 0 and lane.head() else None
        heads = [
            (lane.urgency(head), lane.number, lane)
            for lane in lanes
            if self._places(lane) > 0 and (head := lane.head())
        ]
        return min(heads)[2] if heads else None

    def _start(self, lane: Lane, batch: list[Work]) -> None:
        pool = self._pool_of(lane)
        if pool is None:
            raise RuntimeError("the scheduler is not open")
        now = time.monotonic_ns()
        for work in batch:
            work.ticket.started_ns = work.ticket.started_ns or now
        slot = lane.begin(batch)
        requests = [work.request for work in batch]
        if lane.sequences is not None:
            ended = lane.sequences.take_ended(slot)
            requests = [msgspec.structs.replace(request, instance=slot, ended=ended) for request in requests]
        pool.run(
            partial(_run, lane.model.backend, requests),
            partial(self._finish, lane, batch, slot, now),
        )
        self._running += 1
        self._idle.clear()

    def _finish(self, lane: Lane, batch: list[Work], slot: int, started_ns: int, answers: list[Answer]) -> None:
        self._running -= 1
        lane.end(slot)
        now = time.monotonic_ns()
        counters = lane.model.statistics
        counters.run(sum(work.rows for work in batch), now - started_ns)
        for work, answer in zip(batch, answers, strict=True):
            if not isinstance(answer, BaseException):
                counters.rows += work.rows
            work.ticket.done_ns = now
            work.ticket.settle(work, answer)
        self._fill(now / NANOSECONDS)
        self._tell()
        if not self._running:
            self._idle.set()

    def _tell(self) -> None:
        self._finished.set()
        self._finished = asyncio.Event()


def _run_in_place(model: HostedModel, request: ModelRequest, rows: int) -> Outputs:
    counters = model.statistics
    started = time.monotonic_ns()
    (answer,) = _run(model.backend, (request,))
    spent = time.monotonic_ns() - started
    counters.run(rows, spent)
    if isinstance(answer, BaseException):
        counters.fail(spent, in_backend=True)
        raise answer
    counters.rows += rows
    counters.compute(0, spent)
    counters.answer(spent)
    return answer


def _count_failure(model: HostedModel, ticket: Ticket, error: PolyforgeError | BackendBroke) -> None:
    counters = model.statistics
    if isinstance(error, Cancelled):
        counters.cancelled += 1
        return
    counters.fail(time.monotonic_ns() - ticket.queued_ns, in_backend=ticket.done_ns > 0)
    if isinstance(error, TimedOut) and not ticket.started_ns:
        counters.timed_out += 1


def _run(backend: ModelBackend, batch: Sequence[ModelRequest]) -> list[Answer]:
    """One answer per request; when a batch breaks the backend, each of its requests is tried alone."""
    try:
        answers = backend.run(batch)
        if len(answers) != len(batch):
            raise RuntimeError(f"the backend gave {len(answers)} answers to {len(batch)} requests")
    except BaseException as error:  # noqa: BLE001  a panic in a native library is no Exception
        if len(batch) > 1:
            return [_run(backend, [request])[0] for request in batch]
        broken = BackendBroke(f"{type(error).__name__} in the backend")
        broken.__cause__ = error
        return [broken]
    return list(answers)
