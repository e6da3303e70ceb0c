"""What Polyforge promises of the model host's speed, held against a result."""

from collections.abc import Callable, Iterable
from statistics import median

from benchmarks.checks import Promise, Verdict
from benchmarks.results import Window, middle, ratio
from benchmarks.serving.results import ServingResult

HOST, GATEWAY, GATEWAY_OIP = "host", "gateway", "gateway-oip"
BARE, FASTAPI = "bare-1", "fastapi"
BARE_SCENARIO = "bare"
TEXT_1, TEXT_16, TEXT_64, JSON, BINARY = "text-1", "text-16", "text-64", "json-32", "binary-32"
OURS = frozenset({HOST, GATEWAY, GATEWAY_OIP})
Figure = Callable[[ServingResult], float | None]


def rate(window: Window) -> float:
    """Requests per second."""
    return window.requests_per_second


def slowest(window: Window) -> float:
    """The 99th percentile of the latency, in microseconds."""
    return window.p99_micros


def over_bare(server: str, scenario: str) -> Figure:
    """Requests per second over those of the bare loop that computes one by one, in the same rounds."""

    def figure(result: ServingResult) -> float | None:
        return ratio(result.of(scenario, server), result.of(BARE_SCENARIO, BARE), rate)

    return figure


def over_peer(
    scenario: str, value: Callable[[Window], float], best: Callable[[Iterable[float]], float], *, tuned: bool = False
) -> Figure:
    """A figure of the host over the best peer's, each the median of its rounds; of peers as documented, or tuned."""

    def figure(result: ServingResult) -> float | None:
        names = [server.name for server in result.servers if server.peer and server.tuned == tuned]
        peers = [middle(result.of(scenario, name), value) for name in names]
        known = [each for each in peers if each is not None]
        ours = middle(result.of(scenario, HOST), value)
        return ours / best(known) if known and ours is not None else None

    return figure


def over_fastapi(ours: str, theirs: str, value: Callable[[Window], float]) -> Figure:
    """A figure of the host over FastAPI's, in the same rounds."""

    def figure(result: ServingResult) -> float | None:
        return ratio(result.of(ours, HOST), result.of(theirs, FASTAPI), value)

    return figure


def least_cosine(result: ServingResult) -> float | None:
    """The least cosine between one of our answers and the same text computed alone, whatever was asked beside it."""
    starts = [start for start in result.starts if start.server in OURS]
    return min((min(start.alone, start.together) for start in starts), default=None)


def errors(result: ServingResult) -> float | None:
    """Answers outside 2xx and broken connections in all our windows."""
    windows = [window for window in result.windows if window.target in OURS]
    return float(sum(window.refused + window.broken for window in windows)) if windows else None


def first_answer(result: ServingResult) -> float | None:
    """Seconds from the start of the process to the first embedding."""
    starts = result.starts_of(HOST, "text")
    return median(start.ready_seconds for start in starts) if starts else None


def _least(name: str, figure: Figure, limit: float) -> Promise[ServingResult]:
    return Promise(name, figure, limit, True, "x", 2)


def _most(name: str, figure: Figure, limit: float) -> Promise[ServingResult]:
    return Promise(name, figure, limit, False, "x", 2)


def _over_tuned(scenario: str) -> Figure:
    return over_peer(scenario, rate, max, tuned=True)


PROMISES = (
    _least("MiniLM at 16 callers, requests/s over the bare loop's", over_bare(HOST, TEXT_16), 0.9),
    _least("MiniLM at 64 callers, requests/s over the bare loop's", over_bare(HOST, TEXT_64), 0.9),
    _least("MiniLM at 1 caller, requests/s over the best peer's", over_peer(TEXT_1, rate, max), 0.95),
    _least("MiniLM at 16 callers, requests/s over the best peer's", over_peer(TEXT_16, rate, max), 1.25),
    _least("MiniLM at 64 callers, requests/s over the best peer's", over_peer(TEXT_64, rate, max), 1.25),
    _least("MiniLM at 16 callers, requests/s over the best peer tuned by hand", _over_tuned(TEXT_16), 0.95),
    _least("MiniLM at 64 callers, requests/s over the best peer tuned by hand", _over_tuned(TEXT_64), 0.95),
    _most("MiniLM at 16 callers, p99 over the best peer's", over_peer(TEXT_16, slowest, min), 1),
    _most("MiniLM at 64 callers, p99 over the best peer's", over_peer(TEXT_64, slowest, min), 1),
    _least("MiniLM at 16 callers through the gateway, over the bare loop", over_bare(GATEWAY, TEXT_16), 0.8),
    _least("MiniLM at 64 callers through the gateway, over the bare loop", over_bare(GATEWAY, TEXT_64), 0.8),
    Promise("least cosine to the same request alone", least_cosine, 0.9999, True, "", 5),
    _least("y = x + 1 in JSON at 32 callers, requests/s over FastAPI's", over_fastapi(JSON, JSON, rate), 1),
    _most("y = x + 1 in JSON at 32 callers, p99 over FastAPI's", over_fastapi(JSON, JSON, slowest), 1),
    _least("y = x + 1 in binary at 32 callers, over FastAPI's in JSON", over_fastapi(BINARY, JSON, rate), 1.5),
    Promise("errors in all our windows", errors, 0, False, "", 0),
)


def verdicts(result: ServingResult) -> list[Verdict]:
    """Every promise against a result."""
    return [Verdict(promise, promise.figure(result)) for promise in PROMISES]
