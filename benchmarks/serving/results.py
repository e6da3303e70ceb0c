"""What a run of the serving benchmark leaves behind, as a JSON file."""

from pathlib import Path

import msgspec

from benchmarks.results import FOLDER, Machine, Window, short_cpu

FORMAT = 1


class ServerInfo(msgspec.Struct, frozen=True):
    """A server of the run, or why it is not in it."""

    name: str
    title: str
    peer: bool
    tuned: bool = False
    """A peer run otherwise than its documentation suggests, because that is better for it."""
    version: str | None = None
    absent: str | None = None


class Start(msgspec.Struct, frozen=True):
    """One start of a server with one model: how long until its first answer, and whether its answers were right."""

    server: str
    form: str
    round: int
    ready_seconds: float
    idle_bytes: int
    alone: float
    """Least cosine to the right answer of requests sent one by one."""
    together: float
    """The same of requests sent 20 at a time."""


class ScenarioInfo(msgspec.Struct, frozen=True):
    """A scenario of the run."""

    name: str
    title: str
    form: str
    callers: int


class Options(msgspec.Struct, frozen=True):
    """How the run was made."""

    seconds: float
    rounds: int
    texts: int
    compared: int
    """Answers compared with the right ones in each start, of those sent 20 at a time."""


class ServingResult(msgspec.Struct, frozen=True):
    """One run."""

    format: int
    date: str
    machine: Machine
    tools: dict[str, str]
    options: Options
    servers: list[ServerInfo]
    scenarios: list[ScenarioInfo]
    starts: list[Start]
    windows: list[Window]
    """Of servers under wrk, and of the bare loop, whose callers are its threads."""

    def of(self, scenario: str, server: str) -> list[Window]:
        """The windows of one cell of the table, by round."""
        return [window for window in self.windows if (window.scenario, window.target) == (scenario, server)]

    def starts_of(self, server: str, form: str) -> list[Start]:
        """The starts of one server with one kind of request, by round."""
        return [start for start in self.starts if (start.server, start.form) == (server, form)]


def save(result: ServingResult, path: Path | None = None) -> Path:
    """Write a result; by default under the day and the machine's processor."""
    path = path or FOLDER / f"serving-{result.date[:10]}-{short_cpu(result.machine.cpu)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    return path


def newest() -> ServingResult | None:
    """The result with the latest date, if there is any."""
    results = [msgspec.json.decode(path.read_bytes(), type=ServingResult) for path in FOLDER.glob("serving-*.json")]
    return max(results, key=lambda result: result.date, default=None)
