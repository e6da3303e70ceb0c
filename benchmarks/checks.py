"""What Polyforge promises of its speed, held against a result."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from benchmarks.results import PacedWindow, Result, difference, middle, ratio
from benchmarks.scenarios import (
    CROSSED,
    FIRST_BYTE,
    HIT,
    LATENCY,
    LIMITED,
    PASSED,
    STREAMED_HIT,
    THROUGHPUT,
    WITH_LIMITS,
)

US = "polyforge"
OURS = frozenset({US, WITH_LIMITS})
MEGABYTE = 1_000_000
Figure = Callable[[Result], float | None]
AnyResult = TypeVar("AnyResult")


@dataclass(frozen=True)
class Promise(Generic[AnyResult]):
    """A figure of a result, its limit, and which side of it is good."""

    name: str
    figure: Callable[[AnyResult], float | None]
    limit: float
    at_least: bool
    unit: str
    digits: int


@dataclass(frozen=True)
class Verdict:
    """A promise and what was measured; None where the run does not tell."""

    promise: Promise[Any]
    measured: float | None

    @property
    def kept(self) -> bool | None:
        """True, False, or None where nothing was measured."""
        if self.measured is None:
            return None
        if self.promise.at_least:
            return self.measured >= self.promise.limit
        return self.measured <= self.promise.limit


def rate_over(other: str) -> Figure:
    """Requests per second at 32 callers over another target's in the same rounds."""

    def figure(result: Result) -> float | None:
        ours, theirs = result.of(THROUGHPUT, US), result.of(THROUGHPUT, other)
        return ratio(ours, theirs, lambda window: window.requests_per_second)

    return figure


def cpu_per_request(result: Result) -> float | None:
    """CPU microseconds per request at 32 callers."""
    return middle(result.of(THROUGHPUT, US), lambda window: window.cpu_micros)


def limits_cost(result: Result) -> float | None:
    """CPU per request with limits, a budget and a cache that never knows the answer, over that without them."""
    return ratio(result.of(LIMITED, WITH_LIMITS), result.of(LIMITED, US), lambda window: window.cpu_micros)


def cpu_per_hit(scenario: str) -> Figure:
    """CPU microseconds per answer from the cache."""

    def figure(result: Result) -> float | None:
        return middle(result.of(scenario, WITH_LIMITS), lambda window: window.cpu_micros)

    return figure


def hit_over_bare(scenario: str) -> Figure:
    """CPU per answer from the cache over that of a whole one through the bare proxy, in rounds of the same number."""

    def figure(result: Result) -> float | None:
        return ratio(result.of(scenario, WITH_LIMITS), result.of(HIT, "bare-plain"), lambda window: window.cpu_micros)

    return figure


def added_millis(result: Result) -> float | None:
    """Median latency at one caller over the bare proxy's, in milliseconds."""
    ours, bare = result.of(LATENCY, US), result.of(LATENCY, "bare-plain")
    added = difference(ours, bare, lambda window: window.p50_micros)
    return None if added is None else added / 1000


def chunk_cost(result: Result) -> float | None:
    """CPU per paced chunk over the bare streaming proxy's."""
    return ratio(result.paced_of(US), result.paced_of("bare-stream"), lambda window: window.cpu_micros)


def crossing_cost(result: Result) -> float | None:
    """CPU per paced chunk of the dearest pair of dialects over that of a stream passed through."""
    passed = result.paced_of(US)
    found = [ratio(result.paced_of(US, pair), passed, lambda window: window.cpu_micros) for pair in CROSSED]
    return max((cost for cost in found if cost is not None), default=None)


def first_byte_millis(other: str, figure: Callable[[PacedWindow], float | None]) -> Figure:
    """What the slowest pair adds to the first chunk of a stream over another target, in milliseconds."""

    def added(result: Result) -> float | None:
        theirs = result.paced_of(other, scenario=FIRST_BYTE)
        pairs = (PASSED, *CROSSED)
        found = [difference(result.paced_of(US, pair, FIRST_BYTE), theirs, figure) for pair in pairs]
        return max((micros / 1000 for micros in found if micros is not None), default=None)

    return added


def frames_lost(result: Result) -> float | None:
    """Chunks that did not arrive, or arrived out of order, in all paced windows, and streams that broke."""
    windows = [window for window in result.paced if window.target == US]
    return float(sum(window.lost + window.broken for window in windows)) if windows else None


def errors(result: Result) -> float | None:
    """Answers outside 2xx and broken connections in all windows."""
    windows = [window for window in result.windows if window.target in OURS]
    return float(sum(window.refused + window.broken for window in windows)) if windows else None


def unrecorded(result: Result) -> float | None:
    """Calls that were answered and are in no usage record."""
    counts = [(target.answered, target.recorded) for target in result.targets if target.name in OURS]
    missing = [max(0, wanted - found) for wanted, found in counts if wanted is not None and found is not None]
    return float(sum(missing)) if missing else None


def idle_megabytes(result: Result) -> float | None:
    """Memory of the whole process group before the first call."""
    idle = next((target.idle_bytes for target in result.targets if target.name == US), None)
    return None if idle is None else idle / MEGABYTE


_FIRST_P50 = first_byte_millis("direct", lambda window: window.p50_micros)
_FIRST_P99 = first_byte_millis("bare-stream", lambda window: window.p99_micros)
"""Over the bare proxy, because at that percentile most of it is the machine's and its scheduler's."""
PROMISES = (
    Promise("requests/s at 32 callers, over the bare proxy's", rate_over("bare-plain"), 0.4, True, "x", 2),
    Promise("requests/s at 32 callers, over Portkey's", rate_over("portkey"), 4, True, "x", 1),
    Promise("requests/s at 32 callers, over LiteLLM's", rate_over("litellm"), 40, True, "x", 1),
    Promise("CPU per request at 32 callers", cpu_per_request, 150, False, "us", 0),
    Promise("CPU per request with limits, a budget and a cache, over that without", limits_cost, 1.1, False, "x", 3),
    Promise("CPU per answer from the cache", cpu_per_hit(HIT), 200, False, "us", 0),
    Promise("CPU per answer from the cache, over the bare proxy's per request", hit_over_bare(HIT), 3.4, False, "x", 2),
    Promise("CPU per stream from the cache", cpu_per_hit(STREAMED_HIT), 200, False, "us", 0),
    Promise(
        "CPU per stream from the cache, over the bare proxy's per request",
        hit_over_bare(STREAMED_HIT),
        3.4,
        False,
        "x",
        2,
    ),
    Promise("median latency at 1 caller, added to the bare proxy's", added_millis, 0.3, False, "ms", 3),
    Promise("CPU per streamed chunk, over the bare streaming proxy's", chunk_cost, 1.5, False, "x", 2),
    Promise("CPU per chunk of the dearest pair of dialects, over passing through", crossing_cost, 3, False, "x", 2),
    Promise(
        "first byte of a stream, median added by the slowest pair to the upstream's", _FIRST_P50, 2, False, "ms", 2
    ),
    Promise("first byte of a stream, 99th percentile added to the bare proxy's", _FIRST_P99, 2, False, "ms", 2),
    Promise("frames lost or streams broken in paced streams", frames_lost, 0, False, "", 0),
    Promise("errors in all windows", errors, 0, False, "", 0),
    Promise("answered calls without a usage record", unrecorded, 0, False, "", 0),
    Promise("memory of all processes when idle (PSS)", idle_megabytes, 220, False, "MB", 0),
)


def verdicts(result: Result) -> list[Verdict]:
    """Every promise against a result."""
    return [Verdict(promise, promise.figure(result)) for promise in PROMISES]
