"""Runs the scenarios: every target pinned to one core, load and upstream on the other, in interleaved rounds."""

import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from benchmarks.load import Load, LoadFailed, run_wrk
from benchmarks.measure import (
    CoreTimes,
    cpu_seconds,
    machine,
    memory_bytes,
    pin_self,
    settled_memory_bytes,
    spin_seconds,
    version_of,
)
from benchmarks.paced import PacedLoad, Pacing, run_paced
from benchmarks.processes import Program, StartFailed, call, cores, free_port
from benchmarks.readers import READERS
from benchmarks.results import (
    FORMAT,
    Conditions,
    Machine,
    Options,
    PacedWindow,
    Result,
    ScenarioInfo,
    TargetInfo,
    Window,
)
from benchmarks.scenarios import FIRST_BYTE, PACED, Kind, Pair, Scenario
from benchmarks.targets import ROOT, Absent, Site, Target
from benchmarks.turns import run_in_turns
from benchmarks.upstream import STREAM_CHUNKS, CannedUpstream, whole_reply

OK = 200
PACED_BODY_BYTES = 1_000
WARM_UP_SHARE = 0.25
SHORT_STREAMS_PER_SECOND = 20
"""Few enough that every stream finds its target idle, or nearly so."""
Measure = Callable[[int], None]
"""Makes one window, in the round of that number."""


@dataclass(frozen=True)
class Plan:
    """What to run and for how long."""

    targets: Sequence[Target]
    scenarios: Sequence[Scenario]
    paced: Sequence[str]
    """Which of the scenarios of paced streams."""
    seconds: float
    rounds: int
    streams: int
    chunks: int
    pace_millis: int


@dataclass
class Cost:
    """What one window cost; filled when the window ends."""

    cpu_seconds: float | None = None
    memory_bytes: int | None = None
    conditions: Conditions | None = None


class Runner:
    """One run of a plan."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._server_core, self._load_core = cores()
        self._upstream = CannedUpstream(self._made("upstream"), self._load_core)
        self._infos: dict[str, TargetInfo] = {}
        self._present: list[Target] = []
        self._answered: Counter[str] = Counter()
        self._windows: list[Window] = []
        self._paced: list[PacedWindow] = []

    def run(self) -> Result:
        """Start everything, measure, stop everything."""
        about = machine()
        pin_self(self._load_core)
        limited = [scenario for scenario in self._plan.scenarios if scenario.targets]
        for target in self._plan.targets:
            if limited or not target.late:
                self._infos[target.name] = TargetInfo(target.name, target.title)
        with ExitStack() as stack:
            stack.callback(self._upstream.stop)
            self._upstream.start()
            site_upstreams = self._site_upstreams(stack)
            for target in self._plan.targets:
                stack.callback(target.stop)
            self._for_everybody(site_upstreams)
            if limited:
                self._for_some(limited, site_upstreams)
            for target in self._present:
                self._count(target)
        return self._result(about)

    def _for_everybody(self, upstreams: dict[Kind, str]) -> None:
        for target in self._plan.targets:
            if not target.late:
                self._bring_up(target, upstreams)
        for scenario in self._plan.scenarios:
            if not scenario.targets:
                self._rounds(scenario.title, self._wrk_windows(scenario))
        if PACED in self._plan.paced:
            pacing = Pacing(self._plan.streams, self._plan.chunks, self._plan.pace_millis / 1000)
            self._rounds("paced streams", self._paced_windows(PACED, pacing))
        if FIRST_BYTE in self._plan.paced:
            count = round(self._plan.seconds * SHORT_STREAMS_PER_SECOND)
            pacing = Pacing(count, 1, self._plan.pace_millis / 1000, self._plan.seconds)
            self._rounds("first byte of a stream", self._paced_windows(FIRST_BYTE, pacing))

    def _for_some(self, scenarios: Sequence[Scenario], upstreams: dict[Kind, str]) -> None:
        for target in self._plan.targets:
            if target.late:
                self._bring_up(target, upstreams)
        for scenario in scenarios:
            if scenario.in_turns:
                self._rounds_in_turns(scenario)
            else:
                self._rounds(scenario.title, self._wrk_windows(scenario))

    def _made(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        return folder

    def _site_upstreams(self, stack: ExitStack) -> dict[Kind, str]:
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.paced_upstream", str(port), str(self._plan.pace_millis)]
        paced = Program(command, self._load_core, self._folder / "paced.log", folder=ROOT)
        stack.callback(paced.stop)
        paced.start()
        paced.wait_listening(port, 20)
        ports = self._upstream.ports
        numbers: dict[Kind, int] = {"whole": ports.whole, "stream": ports.stream, "paced": port}
        return {kind: f"http://127.0.0.1:{number}" for kind, number in numbers.items()}

    def _bring_up(self, target: Target, upstreams: dict[Kind, str]) -> None:
        sink = f"http://127.0.0.1:{self._upstream.ports.sink}"
        site = Site(upstreams, sink, self._made(target.name), self._server_core)
        say(f"{target.title}: starting")
        try:
            target.install()
            version = target.version()
            target.start(site)
            idle = settled_memory_bytes(target.program.pid) if target.program else None
            for check in _checks(target, self._plan.chunks):
                check()
                self._answered[target.name] += 1
        except (Absent, StartFailed, OSError, ValueError) as error:
            self._give_up(target, str(error))
            return
        self._present.append(target)
        ready = target.ready_seconds or None
        self._infos[target.name] = TargetInfo(target.name, target.title, version, None, ready, idle)

    def _fit(self, scenario: Scenario) -> list[Target]:
        return [target for target in self._present if scenario.kind in target.kinds and _takes_part(target, scenario)]

    def _wrk_windows(self, scenario: Scenario) -> list[tuple[Target, Measure]]:
        return [(target, partial(self._wrk, scenario, target)) for target in self._fit(scenario)]

    def _paced_windows(self, scenario: str, pacing: Pacing) -> list[tuple[Target, Measure]]:
        fit = [target for target in self._present if "paced" in target.kinds]
        return [
            (target, partial(self._paced_window, scenario, pacing, target, pair))
            for target in fit
            for pair in target.pairs
        ]

    def _rounds(self, title: str, windows: Sequence[tuple[Target, Measure]]) -> None:
        say(f"\n{title}")
        for number in range(self._plan.rounds):
            for target, measure in random.sample(windows, len(windows)):
                if target not in self._present:
                    continue
                self._upstream.check()
                try:
                    target.check()
                    measure(number)
                except (StartFailed, LoadFailed) as error:
                    self._give_up(target, f"failed in round {number} of {title}: {error}")

    def _rounds_in_turns(self, scenario: Scenario) -> None:
        """All rounds of a scenario whose targets have their load in turns; none where one of them is missing."""
        say(f"\n{scenario.title}")
        for number in range(self._plan.rounds):
            targets = self._fit(scenario)
            if len(targets) < len(scenario.targets):
                return
            self._upstream.check()
            try:
                for target in targets:
                    target.check()
                self._turns(scenario, random.sample(targets, len(targets)), number)
            except (StartFailed, LoadFailed) as error:
                say(f"failed in round {number}: {error}")
                return

    def _give_up(self, target: Target, reason: str) -> None:
        say(f"{target.title}: ABSENT: {reason}")
        self._infos[target.name] = TargetInfo(target.name, target.title, absent=reason)
        self._present = [each for each in self._present if each is not target]
        target.stop()

    def _count(self, target: Target) -> None:
        info = self._infos[target.name]
        recorded = target.recorded()
        self._infos[target.name] = replace(info, answered=self._answered[target.name], recorded=recorded)

    def _wrk(self, scenario: Scenario, target: Target, number: int) -> None:
        request = target.call(scenario.kind, scenario.payload_bytes)
        folder = self._folder / target.name
        seconds = self._plan.seconds
        wrk = partial(
            run_wrk, request, scenario.callers, core=self._load_core, folder=folder, distinct=scenario.distinct
        )
        warm = wrk(seconds=seconds * WARM_UP_SHARE)
        with self._costs(target) as (cost,):
            load = wrk(seconds=seconds)
        self._note(scenario, target, number, [warm, load], cost)

    def _turns(self, scenario: Scenario, targets: Sequence[Target], number: int) -> None:
        """One window of each of these targets, all at once."""
        calls = [(target.call(scenario.kind, scenario.payload_bytes), self._folder / target.name) for target in targets]
        run = partial(run_in_turns, calls, scenario.callers, core=self._load_core, distinct=scenario.distinct)
        warm = run(seconds=self._plan.seconds * WARM_UP_SHARE)
        with self._costs(*targets) as costs:
            loads = run(seconds=self._plan.seconds)
        for target, before, load, cost in zip(targets, warm, loads, costs, strict=True):
            self._note(scenario, target, number, [before, load], cost)

    def _note(self, scenario: Scenario, target: Target, number: int, loads: Sequence[Load], cost: Cost) -> None:
        """Keep the last of these loads as a window; the others warmed up."""
        load = loads[-1]
        self._answered[target.name] += sum(each.requests - each.refused for each in loads)
        if not load.requests:
            raise LoadFailed(f"{target.title} answered nothing in {load.seconds:.1f} s")
        assert cost.conditions
        window = Window(
            scenario=scenario.name,
            target=target.name,
            round=number,
            requests=load.requests,
            requests_per_second=load.requests / load.seconds,
            p50_micros=load.p50_micros,
            p99_micros=load.p99_micros,
            refused=load.refused,
            broken=load.broken,
            cpu_micros=None if cost.cpu_seconds is None else cost.cpu_seconds * 1e6 / load.requests,
            memory_bytes=cost.memory_bytes,
            conditions=cost.conditions,
        )
        self._windows.append(window)
        errors = f", {load.errors} ERRORS" if load.errors else ""
        cpu = "" if window.cpu_micros is None else f", {window.cpu_micros:.0f} us of CPU"
        say(f"  {number} {target.title:20} {window.requests_per_second:9.0f}/s, p50 {load.p50_micros} us{cpu}{errors}")

    def _paced_window(self, scenario: str, pacing: Pacing, target: Target, pair: Pair, number: int) -> None:
        request = target.stream_call(pair, PACED_BODY_BYTES, pacing.chunks)
        with self._costs(target) as (cost,):
            load = run_paced(request, READERS[pair.caller], pacing)
        self._answered[target.name] += load.streams - load.broken
        assert cost.conditions
        window = replace(
            paced_window(target.name, number, load, cost, cost.conditions), scenario=scenario, pair=pair.name
        )
        self._paced.append(window)
        cpu = "" if window.cpu_micros is None else f", {window.cpu_micros:.1f} us of CPU per chunk"
        faults = f", {load.lost} LOST, {load.broken} BROKEN" if load.lost or load.broken else ""
        times = f"p50 {load.p50_micros} us, p99 {load.p99_micros} us"
        say(f"  {number} {target.title:20} {pair.name:16} {times}{cpu}{faults}")

    @contextmanager
    def _costs(self, *targets: Target) -> Generator[list[Cost]]:
        """What a window costs each of the targets that have their load in it."""
        costs = [Cost() for _ in targets]
        spin = spin_seconds(self._server_core)
        roots = [target.program.pid if target.program else None for target in targets]
        started, before = time.monotonic(), [cpu_seconds(root) if root else 0.0 for root in roots]
        server, load = CoreTimes.of(self._server_core), CoreTimes.of(self._load_core)
        yield costs
        wall = time.monotonic() - started
        server_after, load_after = CoreTimes.of(self._server_core), CoreTimes.of(self._load_core)
        spent = [cpu_seconds(root) - cpu if root else 0.0 for root, cpu in zip(roots, before, strict=True)]
        shared = self._server_core == self._load_core
        foreign = None if shared else max(0.0, server_after.busy - server.busy - sum(spent)) / wall
        conditions = Conditions(
            spin_seconds=spin,
            foreign=foreign,
            stolen=(server_after.stolen - server.stolen) / wall,
            load_core=(load_after.busy - load.busy) / wall,
        )
        for cost, root, seconds in zip(costs, roots, spent, strict=True):
            cost.conditions = conditions
            if root:
                cost.cpu_seconds, cost.memory_bytes = seconds, memory_bytes(root)

    def _result(self, about: Machine) -> Result:
        plan = self._plan
        options = Options(
            seconds=plan.seconds,
            rounds=plan.rounds,
            pace_millis=plan.pace_millis,
            paced_streams=plan.streams,
            paced_chunks=plan.chunks,
            stream_chunks=STREAM_CHUNKS,
            server_core=self._server_core,
            load_core=self._load_core,
            settled=True,
        )
        return Result(
            format=FORMAT,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=about,
            tools={"nginx": version_of("nginx", "-v"), "wrk": version_of("wrk", "-v")},
            options=options,
            targets=list(self._infos.values()),
            scenarios=[ScenarioInfo(**asdict(scenario)) for scenario in plan.scenarios],
            windows=self._windows,
            paced=self._paced,
        )


def run(plan: Plan) -> Result:
    """Run a plan in a folder of its own, which is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="polyforge-bench-"))
    try:
        return Runner(plan, folder).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _takes_part(target: Target, scenario: Scenario) -> bool:
    return target.name in scenario.targets if scenario.targets else not target.late


def _checks(target: Target, chunks: int) -> list[Callable[[], None]]:
    """One call of each kind; ValueError when its whole answer is not the canned one."""
    paced = target.pairs if "paced" in target.kinds else ()
    return [
        *(partial(verify, target, kind) for kind in target.kinds if kind != "paced"),
        *(partial(verify_paced, target, pair, chunks) for pair in paced),
    ]


def verify_paced(target: Target, pair: Pair, chunks: int) -> None:
    """One paced stream; ValueError when it is not all there."""
    request = target.stream_call(pair, PACED_BODY_BYTES, chunks)
    load = run_paced(request, READERS[pair.caller], Pacing(1, chunks, 0.0))
    if load.lost or load.broken:
        raise ValueError(f"a paced stream of {pair.name} lost {load.lost} of {chunks} chunks")


def verify(target: Target, kind: Kind) -> None:
    """One call whose whole answer is looked at; ValueError when it is not the canned one."""
    request = target.call(kind, PACED_BODY_BYTES)
    status, answer = call("POST", request.url, request.body, request.headers)
    if status != OK:
        raise ValueError(f"{kind} answered {status}: {answer.decode(errors='replace')[:500]}")
    if kind == "whole":
        wanted = json.loads(whole_reply())["choices"][0]["message"]["content"]
        good = json.loads(answer)["choices"][0]["message"]["content"] == wanted
    else:
        good = _content_frames(answer) == STREAM_CHUNKS and answer.rstrip().endswith(b"[DONE]")
    if not good:
        raise ValueError(f"{kind} did not answer what the upstream says: {answer.decode(errors='replace')[:500]}")


def _content_frames(answer: bytes) -> int:
    frames = [part.removeprefix(b"data:").strip() for part in answer.split(b"\n\n") if part.startswith(b"data:")]
    chunks = [json.loads(frame) for frame in frames if frame != b"[DONE]"]
    return sum(bool(choice["delta"].get("content")) for chunk in chunks for choice in chunk["choices"])


def paced_window(target: str, number: int, load: PacedLoad, cost: Cost, conditions: Conditions) -> PacedWindow:
    """The record of one window of paced streams."""
    total = load.streams * load.chunks
    return PacedWindow(
        target=target,
        round=number,
        streams=load.streams,
        chunks=load.chunks,
        lost=load.lost,
        broken=load.broken,
        p50_micros=load.p50_micros,
        p99_micros=load.p99_micros,
        cpu_micros=None if cost.cpu_seconds is None else cost.cpu_seconds * 1e6 / total,
        memory_bytes=cost.memory_bytes,
        conditions=conditions,
    )


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)
