"""What a run leaves behind: every window with its conditions, as a JSON file."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TypeVar

import msgspec

from benchmarks.scenarios import PACED, PASSED, Pair

FORMAT = 1
FOLDER = Path(__file__).parent / "results"


class Conditions(msgspec.Struct, frozen=True):
    """How much of the machine a window really had."""

    spin_seconds: float
    """CPU time of a fixed piece of work just before the window: the speed of the machine at that moment."""
    foreign: float | None
    """Share of the server's core that went to anything but the target; None when load and server share a core."""
    stolen: float
    """Share of the server's core that the hypervisor took."""
    load_core: float
    """Share of time that the core of load and upstream was busy; near 1 the load was the limit, not the target."""


class Window(msgspec.Struct, frozen=True):
    """One target under wrk for some seconds."""

    scenario: str
    target: str
    round: int
    requests: int
    requests_per_second: float
    p50_micros: int
    p99_micros: int
    refused: int
    broken: int
    cpu_micros: float | None
    """CPU of the whole process tree per request."""
    memory_bytes: int | None
    conditions: Conditions


class PacedWindow(msgspec.Struct, frozen=True):
    """One target under paced streams; of short ones only the first chunk is timed, since there is no other."""

    target: str
    round: int
    streams: int
    chunks: int
    lost: int
    broken: int
    p50_micros: int
    p99_micros: int
    cpu_micros: float | None
    """CPU of the whole process tree per chunk."""
    memory_bytes: int | None
    conditions: Conditions
    scenario: str = PACED
    pair: str = PASSED.name


AnyWindow = TypeVar("AnyWindow", Window, PacedWindow)


class TargetInfo(msgspec.Struct, frozen=True):
    """A target of the run, or why it is not in it."""

    name: str
    title: str
    version: str | None = None
    absent: str | None = None
    ready_seconds: float | None = None
    idle_bytes: int | None = None
    answered: int | None = None
    """Calls that got their whole answer, warm-ups included."""
    recorded: int | None = None
    """Calls that the target wrote down; those cut off at the end of a window are among them."""


class ScenarioInfo(msgspec.Struct, frozen=True):
    """A scenario of the run."""

    name: str
    title: str
    kind: str
    callers: int
    payload_bytes: int
    targets: tuple[str, ...] = ()
    distinct: bool = False
    in_turns: bool = False


class Options(msgspec.Struct, frozen=True):
    """How the run was made."""

    seconds: float
    rounds: int
    pace_millis: int
    paced_streams: int
    paced_chunks: int
    stream_chunks: int
    server_core: int
    load_core: int
    settled: bool = False
    """Whether memory when idle was looked at once a target had no more to do, and not when it first answered."""


class Machine(msgspec.Struct, frozen=True):
    """The machine of a run and its state before it."""

    cpu: str
    cores: int
    memory_bytes: int
    system: str
    kernel: str
    python: str
    load_before: tuple[float, float, float]


class Result(msgspec.Struct, frozen=True):
    """One run."""

    format: int
    date: str
    machine: Machine
    tools: dict[str, str]
    options: Options
    targets: list[TargetInfo]
    scenarios: list[ScenarioInfo]
    windows: list[Window]
    paced: list[PacedWindow]
    """Of long streams and of short ones."""

    def of(self, scenario: str, target: str) -> list[Window]:
        """The windows of one cell of the table, by round."""
        return [window for window in self.windows if (window.scenario, window.target) == (scenario, target)]

    def paced_of(self, target: str, pair: Pair = PASSED, scenario: str = PACED) -> list[PacedWindow]:
        """The windows of one target under paced streams of a pair, by round."""
        wanted = (target, pair.name, scenario)
        return [window for window in self.paced if (window.target, window.pair, window.scenario) == wanted]


def middle(windows: Sequence[AnyWindow], figure: Callable[[AnyWindow], float | None]) -> float | None:
    """The median of a figure over windows; None when no window has it."""
    values = [value for window in windows if (value := figure(window)) is not None]
    return median(values) if values else None


def ratio(
    over: Sequence[AnyWindow], under: Sequence[AnyWindow], figure: Callable[[AnyWindow], float | None]
) -> float | None:
    """The median over rounds of one target's figure divided by the other's figure in the same round."""
    below = {window.round: figure(window) for window in under}
    pairs = [(figure(window), below.get(window.round)) for window in over]
    values = [top / bottom for top, bottom in pairs if top is not None and bottom]
    return median(values) if values else None


def difference(
    over: Sequence[AnyWindow], under: Sequence[AnyWindow], figure: Callable[[AnyWindow], float | None]
) -> float | None:
    """The median over rounds of one target's figure minus the other's figure in the same round."""
    below = {window.round: figure(window) for window in under}
    pairs = [(figure(window), below.get(window.round)) for window in over]
    values = [top - bottom for top, bottom in pairs if top is not None and bottom is not None]
    return median(values) if values else None


def save(result: Result, path: Path | None = None) -> Path:
    """Write a result; by default under the day and the machine's processor."""
    path = path or FOLDER / f"{result.date[:10]}-{short_cpu(result.machine.cpu)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    return path


def newest() -> Result | None:
    """The result with the latest date, if there is any."""
    results = [msgspec.json.decode(path.read_bytes(), type=Result) for path in FOLDER.glob("[0-9]*.json")]
    return max(results, key=lambda result: result.date, default=None)


def short_cpu(model: str) -> str:
    """A processor's name as part of a file name."""
    plain = re.sub(r"\((r|tm)\)|\b(processor|cpu|core)\b|@", " ", model.lower())
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "unknown"
