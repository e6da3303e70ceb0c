"""Who computes what next: a bounded queue in front of a few threads.

Greedy: while a thread is idle, a request starts at once and alone. Only when all are busy do requests wait, and then
the next free thread takes as many waiting ones of a model as that model says are worth one run.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from polyforge.kernel.errors import Cancelled, PolyforgeError, TimedOut, Unavailable
from polyforge.ports.model_backend import ModelBackend, ModelRequest, Outputs
from polyforge.serving.repository import RETRY_SECONDS, HostedModel


class BackendBroke(Exception):
    """A backend raised what it should not; the cause says what."""


_Answer = Outputs | PolyforgeError | BackendBroke


class _Work:
    """One request on its way. Its future is set on the event loop, also when nobody waits for it any more."""

    __slots__ = (
        "deadline",
        "future",
        "model",
        "queued_ns",
        "request",
        "rows",
        "started_ns",
    )

    def __init__(
        self,
        model: HostedModel,
        request: ModelRequest,
        rows: int,
        deadline: float,
        future: asyncio.Future[Outputs],
    ) -> None:
        self.model = model
        self.request = request
        self.rows = rows
        self.deadline = deadline
        self.future = future
        self.queued_ns = time.monotonic_ns()
        self.started_ns = 0


class Scheduler:
    """Runs requests on `threads` threads; at most `max_queue` more wait. All but the runs is on one event loop."""

    def __init__(self, *, threads: int, max_queue: int) -> None:
        self._threads = threads
        self._max_queue = max_queue
        self._pool: ThreadPoolExecutor | None = None
        self._running = 0
        self._waiting: dict[HostedModel, deque[_Work]] = {}
        self._queued = 0
        self._runs: Counter[HostedModel] = Counter()
        self._finished = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def open(self) -> None:
        """Get the threads ready; each starts with its first run."""
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="compute")

    async def close(self) -> None:
        """Refuse what waits, and wait for what runs."""
        pool, self._pool = self._pool, None
        for queue in self._waiting.values():
            while queue:
                self._fail(
                    queue.popleft(),
                    Unavailable("the model host is stopping", retry_after=RETRY_SECONDS),
                )
        self._queued = 0
        await self._idle.wait()
        if pool:
            pool.shutdown()

    def waiting(self, model: HostedModel) -> int:
        """How many requests for a model wait for a thread."""
        return len(self._waiting.get(model, ()))

    async def load(self, model: HostedModel) -> None:
        """Load a model in a thread; RuntimeError is what nobody foresaw."""
        await asyncio.get_running_loop().run_in_executor(self._pool, model.load)

    async def unload(self, model: HostedModel) -> None:
        """Let go of a model that takes no new requests, in a thread, once those that it has are answered."""
        while self._waiting.get(model) or self._runs[model]:
            await self._finished.wait()
        self._waiting.pop(model, None)
        del self._runs[model]
        await asyncio.get_running_loop().run_in_executor(self._pool, model.backend.close)

    async def infer(
        self,
        model: HostedModel,
        request: ModelRequest,
        *,
        rows: int,
        within: float,
        gone: Callable[[], Awaitable[None]],
    ) -> Outputs:
        """What the model answers. `gone` returns when the caller hangs up; what still waits then is not computed.

        Unavailable when the queue is full, TimedOut when it still waits after `within` seconds, Cancelled when the
        caller is gone, BackendBroke when the backend failed in a way that it does not foresee.
        """
        work = self._submit(model, request, rows, within)
        try:
            if work.started_ns:
                outputs = await work.future
            else:
                outputs = await self._patiently(work, gone)
        except PolyforgeError as error:
            self._count_failure(work, error)
            raise
        except BackendBroke:
            self._count_failure(work, None)
            raise
        counters = model.statistics
        counters.succeeded += 1
        counters.success_ns += time.monotonic_ns() - work.queued_ns
        counters.last_ms = time.time_ns() // 1_000_000
        return outputs

    def _submit(self, model: HostedModel, request: ModelRequest, rows: int, within: float) -> _Work:
        if self._pool is None:
            raise Unavailable("the model host is stopping", retry_after=RETRY_SECONDS)
        if self._running >= self._threads and self._queued >= self._max_queue:
            model.statistics.rejected += 1
            raise Unavailable(
                f"model '{model.name}': the queue is full, {self._queued} requests wait",
                retry_after=RETRY_SECONDS,
            )
        future: asyncio.Future[Outputs] = asyncio.get_running_loop().create_future()
        work = _Work(model, request, rows, time.monotonic() + within, future)
        if request.size <= model.signature.brief_bytes:
            self._run_in_place(work)
        elif self._running < self._threads:
            self._start([work])
        else:
            self._waiting.setdefault(model, deque()).append(work)
            self._queued += 1
        return work

    async def _patiently(self, work: _Work, gone: Callable[[], Awaitable[None]]) -> Outputs:
        watcher = asyncio.ensure_future(gone())
        try:
            remaining = work.deadline - time.monotonic()
            await asyncio.wait(
                (work.future, watcher),
                timeout=remaining,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if work.future.done():
                return work.future.result()
            if watcher.done():
                raise Cancelled("the caller closed the connection")
            raise TimedOut("Request timeout expired")
        finally:
            watcher.cancel()
            self._forget(work)

    def _forget(self, work: _Work) -> None:
        if work.future.done():
            return
        work.future.cancel()
        if not work.started_ns:
            self._waiting[work.model].remove(work)
            self._queued -= 1

    def _run_in_place(self, work: _Work) -> None:
        work.started_ns = time.monotonic_ns()
        self._settle([work], _run(work.model.backend, [work.request]))

    def _start(self, batch: list[_Work]) -> None:
        now = time.monotonic_ns()
        for work in batch:
            work.started_ns = now
        self._running += 1
        self._runs[batch[0].model] += 1
        self._idle.clear()
        requests = [work.request for work in batch]
        run = asyncio.get_running_loop().run_in_executor(self._pool, _run, batch[0].model.backend, requests)
        run.add_done_callback(lambda done: self._finish(batch, done.result()))

    def _finish(self, batch: list[_Work], answers: list[_Answer]) -> None:
        self._running -= 1
        self._runs[batch[0].model] -= 1
        self._settle(batch, answers)
        self._fill()
        self._finished.set()
        self._finished = asyncio.Event()
        if not self._running:
            self._idle.set()

    def _settle(self, batch: list[_Work], answers: list[_Answer]) -> None:
        now = time.monotonic_ns()
        counters = batch[0].model.statistics
        counters.runs += 1
        for work, answer in zip(batch, answers, strict=True):
            counters.queue_ns += work.started_ns - work.queued_ns
            counters.compute_ns += now - work.started_ns
            if isinstance(answer, BaseException):
                self._fail(work, answer)
            else:
                counters.rows += work.rows
                if not work.future.done():
                    work.future.set_result(answer)

    def _fill(self) -> None:
        while self._queued and self._running < self._threads and self._pool is not None:
            queue = min(
                (queue for queue in self._waiting.values() if queue),
                key=lambda queue: queue[0].queued_ns,
            )
            batch = self._take(queue)
            if batch:
                self._start(batch)

    def _take(self, queue: deque[_Work]) -> list[_Work]:
        """The oldest work of a model that is still in time, and what may run with it."""
        limit = queue[0].model.batch_rows
        now = time.monotonic()
        batch: list[_Work] = []
        rows = 0
        while queue and (not batch or rows + queue[0].rows <= limit):
            work = queue.popleft()
            self._queued -= 1
            if work.deadline <= now:
                self._fail(work, TimedOut("Request timeout expired"))
            else:
                batch.append(work)
                rows += work.rows
        return batch

    def _fail(self, work: _Work, error: BaseException) -> None:
        if not work.future.done():
            work.future.set_exception(error)

    def _count_failure(self, work: _Work, error: PolyforgeError | None) -> None:
        counters = work.model.statistics
        if isinstance(error, Cancelled):
            counters.cancelled += 1
            return
        counters.failed += 1
        counters.fail_ns += time.monotonic_ns() - work.queued_ns


def _run(backend: ModelBackend, batch: list[ModelRequest]) -> list[_Answer]:
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
