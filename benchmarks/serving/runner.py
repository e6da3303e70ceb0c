"""Runs the servers one after the other, each alone on the machine, in rounds of another order each time.

The machine has all its cores for the server and for wrk, which takes little of them: a model server is there to use
every core. A server that does nothing is not left running, since some use a core for it.
"""

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.load import Load, LoadFailed
from benchmarks.measure import CoreTimes, cpu_seconds, machine, memory_bytes, spin_seconds, version_of
from benchmarks.processes import StartFailed
from benchmarks.results import Conditions, Machine, Window
from benchmarks.runner import Cost, say
from benchmarks.serving.checking import COMPANY, WrongAnswer, check
from benchmarks.serving.checks import BARE_SCENARIO
from benchmarks.serving.engine import MAX_TOKENS, Vectors
from benchmarks.serving.load import run_wrk
from benchmarks.serving.report import BARE_TITLES
from benchmarks.serving.results import FORMAT, Options, ScenarioInfo, ServerInfo, ServingResult, Start
from benchmarks.serving.servers import Server, Site
from benchmarks.serving.shapes import Item
from benchmarks.serving.workloads import Form, Scenario, rows, texts, write_tiny
from benchmarks.targets import ROOT, Absent

WARM_UP_SHARE = 0.3
STEP = 331
"""Texts by which each round begins later; all servers of a round begin with the same."""
FILES = ("config.json", "model.onnx", "tokenizer.json")


@dataclass(frozen=True)
class Plan:
    """What to run and for how long."""

    encoder: Path
    servers: Sequence[Server]
    scenarios: Sequence[Scenario]
    seconds: float
    rounds: int
    compared: int


class Runner:
    """One run of a plan, in a folder of its own."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._site = Site(folder / "minilm", folder / "repository" / "tiny", folder / "site")
        self._items: dict[Form, Sequence[Item]] = {}
        self._right: dict[Form, Vectors] = {}
        self._infos: dict[str, ServerInfo] = {}
        self._starts: list[Start] = []
        self._windows: list[Window] = []

    def run(self) -> ServingResult:
        """Install everything, measure round by round."""
        about = machine()
        self._prepare()
        for server in self._plan.servers:
            self._install(server)
        for number in range(self._plan.rounds):
            for form in _forms(self._plan.scenarios):
                self._round(form, number)
        return self._result(about)

    def _prepare(self) -> None:
        self._site.data.mkdir(parents=True, mode=0o700)
        (self._site.tiny / "1").mkdir(parents=True)
        write_tiny(self._site.tiny / "1" / "model.onnx")
        self._site.encoder.mkdir()
        for name in FILES:
            shutil.copy(self._plan.encoder / name, self._site.encoder / name)
        # As the model's authors publish it; the folder has only the files that differ from model to model.
        described = {"max_seq_length": MAX_TOKENS, "do_lower_case": False}
        (self._site.encoder / "sentence_bert_config.json").write_text(json.dumps(described))
        table = rows()
        every: dict[Form, Sequence[Item]] = {"text": texts(), "json": _lists(table), "binary": _lists(table)}
        self._items = every
        self._right = {"json": table + 1, "binary": table + 1}
        if any(scenario.form == "text" for scenario in self._plan.scenarios):
            self._right["text"] = self._reference()

    def _reference(self) -> Vectors:
        path = self._folder / "reference.npy"
        _bare(self._site.encoder, "--reference", str(path), "--count", str(self._plan.compared))
        return np.load(path)

    def _install(self, server: Server) -> None:
        try:
            server.install()
            version = server.version()
        except (Absent, OSError, subprocess.SubprocessError) as error:
            self._give_up(server, str(error))
            return
        self._infos[server.name] = ServerInfo(server.name, server.title, server.peer, server.tuned, version)

    def _give_up(self, server: Server, reason: str) -> None:
        say(f"{server.title}: ABSENT: {reason}")
        told = reason[-1000:]
        self._infos[server.name] = ServerInfo(server.name, server.title, server.peer, server.tuned, absent=told)

    def _round(self, form: Form, number: int) -> None:
        scenarios = [scenario for scenario in self._plan.scenarios if scenario.form == form]
        say(f"\nround {number}, {form}")
        if form == "text":
            for name in BARE_TITLES:
                self._bare_window(name, number)
        fit = [server for server in self._plan.servers if form in server.shapes and self._is_there(server)]
        for server in random.sample(fit, len(fit)):
            try:
                self._serve(server, form, scenarios, number)
            except (StartFailed, LoadFailed, WrongAnswer, OSError) as error:
                self._give_up(server, f"failed in round {number} with {form}: {error}")
            finally:
                server.stop()

    def _is_there(self, server: Server) -> bool:
        return self._infos[server.name].absent is None

    def _serve(self, server: Server, form: Form, scenarios: Sequence[Scenario], number: int) -> None:
        items, right = self._items[form], self._right[form][: self._plan.compared]
        server.start(self._site, form, items[0])
        assert server.program
        idle = memory_bytes(server.program.pid)
        server.settle(self._site, form)
        calls = server.calls(form, items)
        likeness = check(calls, server.shapes[form], right)
        start = Start(server.name, form, number, server.ready_seconds, idle, likeness.alone, likeness.together)
        self._starts.append(start)
        say(
            f"  {server.title}: first answer after {start.ready_seconds:.1f} s, {idle / 1e6:.0f} MB, "
            f"least cosine {likeness.alone:.5f} alone, {likeness.together:.5f} of {COMPANY} at a time"
        )
        for scenario in scenarios:
            first = number * STEP
            run_wrk(calls, scenario.callers, self._plan.seconds * WARM_UP_SHARE, self._folder, first)
            with _costs(server.program.pid) as cost:
                load = run_wrk(calls, scenario.callers, self._plan.seconds, self._folder, first)
            self._keep(scenario.name, server, number, load, cost)

    def _keep(self, scenario: str, server: Server, number: int, load: Load, cost: Cost) -> None:
        if not load.requests:
            raise LoadFailed(f"{server.title} answered nothing in {load.seconds:.1f} s")
        assert cost.conditions
        assert cost.cpu_seconds is not None
        window = Window(
            scenario=scenario,
            target=server.name,
            round=number,
            requests=load.requests,
            requests_per_second=load.requests / load.seconds,
            p50_micros=load.p50_micros,
            p99_micros=load.p99_micros,
            refused=load.refused,
            broken=load.broken,
            cpu_micros=cost.cpu_seconds * 1e6 / load.requests,
            memory_bytes=cost.memory_bytes,
            conditions=cost.conditions,
        )
        self._windows.append(window)
        _say_window(window, scenario)

    def _bare_window(self, name: str, number: int) -> None:
        rows_of_run = name.removeprefix("bare-")
        with _costs(None) as cost:
            printed = _bare(
                self._site.encoder,
                *("--rows", rows_of_run, "--start", str(number * STEP), "--seconds", str(self._plan.seconds)),
            )
        seen: dict[str, float] = msgspec.json.decode(printed)
        assert cost.conditions
        window = Window(
            scenario=BARE_SCENARIO,
            target=name,
            round=number,
            requests=int(seen["texts"]),
            requests_per_second=seen["texts"] / seen["seconds"],
            p50_micros=round(seen["p50_micros"]),
            p99_micros=round(seen["p99_micros"]),
            refused=0,
            broken=0,
            cpu_micros=seen["cpu_seconds"] * 1e6 / seen["texts"],
            memory_bytes=int(seen["memory_bytes"]),
            conditions=cost.conditions,
        )
        self._windows.append(window)
        _say_window(window, BARE_TITLES[name])

    def _result(self, about: Machine) -> ServingResult:
        plan = self._plan
        return ServingResult(
            format=FORMAT,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=about,
            tools={"wrk": version_of("wrk", "-v")},
            options=Options(plan.seconds, plan.rounds, len(self._items["text"]), plan.compared),
            servers=list(self._infos.values()),
            scenarios=[ScenarioInfo(each.name, each.title, each.form, each.callers) for each in plan.scenarios],
            starts=self._starts,
            windows=self._windows,
        )


@contextmanager
def _costs(root: int | None) -> Generator[Cost]:
    """What happens meanwhile costs; without a root all of it is the harness's children's."""
    spin = spin_seconds(min(os.sched_getaffinity(0)))
    cost = Cost()
    before, ours, own = _times(), cpu_seconds(root) if root else 0.0, _children_seconds()
    started = time.monotonic()
    yield cost
    wall = (time.monotonic() - started) * len(os.sched_getaffinity(0))
    after, spent, load = _times(), (cpu_seconds(root) if root else 0.0) - ours, _children_seconds() - own
    cost.cpu_seconds = spent if root else None
    cost.memory_bytes = memory_bytes(root) if root else None
    cost.conditions = Conditions(
        spin_seconds=spin,
        foreign=max(0.0, after.busy - before.busy - spent - load) / wall,
        stolen=(after.stolen - before.stolen) / wall,
        load_core=load / wall,
    )


def _times() -> CoreTimes:
    every = [CoreTimes.of(core) for core in os.sched_getaffinity(0)]
    return CoreTimes(sum(each.busy for each in every), sum(each.stolen for each in every))


def _children_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _bare(encoder: Path, *options: str) -> bytes:
    command = [sys.executable, "-m", "benchmarks.serving.bare", str(encoder), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=600, check=False)
    if done.returncode:
        raise StartFailed(f"the bare loop: {done.stderr.decode(errors='replace')[-2000:]}")
    return done.stdout


def _say_window(window: Window, title: str) -> None:
    errors = f", {window.refused + window.broken} ERRORS" if window.refused + window.broken else ""
    say(
        f"    {title:24} {window.requests_per_second:8.0f}/s, p50 {window.p50_micros / 1000:.2f} ms, "
        f"p99 {window.p99_micros / 1000:.2f} ms, {window.cpu_micros or 0:.0f} us of CPU{errors}"
    )


def _forms(scenarios: Sequence[Scenario]) -> list[Form]:
    return list(dict.fromkeys(scenario.form for scenario in scenarios))


def _lists(table: Vectors) -> list[list[float]]:
    return [[round(float(value), 3) for value in row] for row in table]


def run(plan: Plan) -> ServingResult:
    """Run a plan in a folder of its own, which is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="pf-serving-"))
    try:
        return Runner(plan, folder).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
