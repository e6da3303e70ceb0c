"""What plan suits a model on this machine, found by running it: how many runs at once, and how much in one.

Every candidate is given the same made-up requests, sorted by length as under load; rounds of all candidates take turns,
and the median of each counts, so that what else the machine does hits them alike.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import cast

import msgspec

from polyforge.kernel.errors import Cancelled, Invalid, PolyforgeError, Unavailable
from polyforge.ports.model_backend import ModelBackend, ModelRequest, Signature, SpreadingBackend
from polyforge.serving.plan import Plan, default_plan
from polyforge.serving.samples import made_up, mixed_lengths

REQUESTS = 64
ROUNDS = 5
MAX_ROWS = 64
PAYS = 1.1
"""Computing requests together must be so many times as fast to be worth the longer runs."""
SPREADING_PAYS = 1.15
"""A run that is alone must be so many times as fast over all cores to be worth the memory and the cores."""
ALIKE = 1.05
"""Of candidates that are no more apart than this, the one that takes less at once is chosen."""
SHORTEST_PASS = 0.2
"""Seconds; a shorter pass over the requests says nothing."""
FIXED_LENGTHS = (224, 64, 8)
"""Tried when a model refuses mixed lengths."""

Batches = Sequence[Sequence[ModelRequest]]
Timed = Callable[[Batches, int], float]
"""Runs batches, so many at once, and says how many seconds it took; may raise PolyforgeError."""


def measure(
    backend: ModelBackend,
    cores: int,
    *,
    seconds: float = 20.0,
    cancelled: Callable[[], bool] = lambda: False,
    timed: Timed | None = None,
) -> Plan:
    """The plan that is fastest on this machine, found in about so many seconds; the default one where it cannot be.

    Blocks: call it in a thread, while the machine has nothing else to do. Cancelled when `cancelled` says so.
    """
    signature = backend.signature
    default = default_plan(signature, cores)
    passes = _Passes(cancelled, timed or _stopwatch(backend, cancelled))
    try:
        # Made-up requests may break a model in Python, and cost money elsewhere.
        requests = [] if signature.stateful or signature.elsewhere else _requests(backend, signature)
        if not requests or not passes.fit(requests, seconds):
            return default
        plan = passes.best(signature, default, cores, seconds).applied(default)
        may_spread = signature.spreads and cores > 1
        threads = passes.threads_alone(cast(SpreadingBackend, backend), cores, seconds / 4) if may_spread else 1
        return msgspec.structs.replace(plan, threads_alone=threads)
    except Cancelled:
        raise
    except PolyforgeError:
        # It takes some made-up requests and not others.
        return default


class _Candidate(msgspec.Struct, frozen=True):
    """So many runs at once, and at most so much in one."""

    instances: int
    rows: int = 1
    max_bytes: int = 0

    def applied(self, plan: Plan) -> Plan:
        return msgspec.structs.replace(plan, instances=self.instances, batch_rows=self.rows, batch_bytes=self.max_bytes)


class _Passes:
    """Passes of candidates over the same requests."""

    def __init__(self, cancelled: Callable[[], bool], timed: Timed) -> None:
        self._cancelled = cancelled
        self._timed = timed
        self._requests: list[ModelRequest] = []
        self._took: dict[_Candidate, float] = {}

    def fit(self, requests: list[ModelRequest], seconds: float) -> bool:
        """Choose how many requests make a pass; False when there is no time for one of even a few."""
        alone = self._time([[request] for request in requests[: len(requests) // 16 or 1]], 1)
        each = alone / (len(requests) // 16 or 1)
        affordable = seconds / (4 * ROUNDS * max(each, 1e-9))
        count = min(len(requests), int(affordable))
        if count < min(8, len(requests)):
            return False
        chosen = requests[:count]
        while len(chosen) * each < SHORTEST_PASS and len(chosen) < 16 * REQUESTS:
            chosen = chosen * 2
        self._requests = chosen
        return True

    def best(self, signature: Signature, default: Plan, cores: int, seconds: float) -> _Candidate:
        """How many runs at once, found with one request in each; then how many requests, if several are worth it."""
        widths = [_Candidate(instances) for instances in _widths(signature, cores)]
        alone = self._fastest(widths, seconds / 2)
        sizes = [_Candidate(alone.instances, rows, bound) for rows, bound in _sizes(signature, default.batch_bytes)]
        if not sizes:
            return alone
        together = self._fastest([alone, *sizes], seconds / 2)
        return together if self._took[alone] >= self._took[together] * PAYS else alone

    def threads_alone(self, backend: SpreadingBackend, cores: int, seconds: float) -> int:
        """How many threads compute a run that is alone: all cores where that is worth it, else 1. Leaves it at 1."""
        alone = [[request] for request in self._requests]
        times: dict[int, list[float]] = {1: [], cores: []}
        try:
            while sum(map(sum, times.values())) < seconds and len(times[1]) < ROUNDS:
                for threads, took in times.items():
                    backend.spread(threads, lambda: True)
                    took.append(self._time(alone, 1))
        except (Invalid, Unavailable):
            # Memory does not suffice, or the files are gone: what was found so far holds all the same.
            return 1
        finally:
            backend.spread(1, lambda: False)
        return cores if median(times[1]) >= median(times[cores]) * SPREADING_PAYS else 1

    def _fastest(self, candidates: list[_Candidate], seconds: float) -> _Candidate:
        """The one that takes the least at once of those that are about as fast as the fastest."""
        rounds: dict[_Candidate, list[float]] = {candidate: [] for candidate in candidates}
        spent = 0.0
        for done in range(1, ROUNDS + 1):
            for candidate in candidates:
                took = self._time(list(_batches(self._requests, candidate)), candidate.instances)
                rounds[candidate].append(took)
                spent += took
            if spent + spent / done > seconds:
                break
        self._took.update({candidate: median(times) for candidate, times in rounds.items()})
        least = min(self._took[candidate] for candidate in candidates)
        alike = [candidate for candidate in candidates if self._took[candidate] <= least * ALIKE]
        return min(alike, key=lambda candidate: (candidate.instances, candidate.rows, self._took[candidate]))

    def _time(self, batches: Batches, at_once: int) -> float:
        _check_wanted(self._cancelled)
        return self._timed(batches, at_once)


def _stopwatch(backend: ModelBackend, cancelled: Callable[[], bool]) -> Timed:
    def run(batch: Sequence[ModelRequest]) -> None:
        # Whoever asks the model waits for no more than a run.
        _check_wanted(cancelled)
        _check(backend.run(batch))

    def timed(batches: Batches, at_once: int) -> float:
        with ThreadPoolExecutor(at_once, thread_name_prefix="measure") as pool:
            started = time.perf_counter()
            list(pool.map(run, batches))
            return time.perf_counter() - started

    return timed


def _check_wanted(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Cancelled("the model was asked while it was being measured")


def _requests(backend: ModelBackend, signature: Signature) -> list[ModelRequest]:
    """Requests that the model takes: of mixed lengths, or else of one length; none when it refuses all."""
    for lengths in (mixed_lengths(REQUESTS), *([length] * REQUESTS for length in FIXED_LENGTHS)):
        requests = sorted(made_up(signature, lengths), key=lambda request: request.size)
        ends = requests[:1] + requests[-1:]
        if requests and not any(isinstance(backend.run([request])[0], PolyforgeError) for request in ends):
            random.Random(len(requests)).shuffle(requests)
            return requests
    return []


def _check(answers: Sequence[object]) -> None:
    for answer in answers:
        if isinstance(answer, PolyforgeError):
            raise answer


def _widths(signature: Signature, cores: int) -> list[int]:
    most = max(1, min(cores, signature.instances or cores))
    return sorted({*(1 << power for power in range(most.bit_length())), most})


def _sizes(signature: Signature, max_bytes: int) -> list[tuple[int, int]]:
    """Rows in one run, each without and with a bound on padded bytes."""
    most = min(signature.batch_rows, MAX_ROWS)
    rows = sorted({*(1 << power for power in range(1, most.bit_length())), most} - {0, 1})
    return [(size, bound) for size in rows for bound in sorted({0, max_bytes})]


def _batches(requests: list[ModelRequest], candidate: _Candidate) -> Iterator[list[ModelRequest]]:
    """The runs that the scheduler makes of requests when all of them wait."""
    batch: list[ModelRequest] = []
    for request in sorted(requests, key=lambda request: request.size):
        # They come ever longer: this one would be the longest.
        if batch and (len(batch) >= candidate.rows or 0 < candidate.max_bytes < request.size * (len(batch) + 1)):
            yield batch
            batch = []
        batch.append(request)
    if batch:
        yield batch
