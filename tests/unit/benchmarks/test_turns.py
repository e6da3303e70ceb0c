"""Targets whose load comes in turns: each gets its own, and a tree's memory is looked at once it rests."""

import os
import subprocess
import sys
import threading
from collections.abc import Generator
from http.server import ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from benchmarks.load import Call, LoadFailed
from benchmarks.measure import memory_bytes, settled_memory_bytes
from benchmarks.results import ScenarioInfo
from benchmarks.scenarios import LIMITED, LIMITED_SCENARIOS, body
from benchmarks.turns import run_in_turns
from tests.unit.benchmarks.listening import Listener

CORE = min(os.sched_getaffinity(0))
LATE = """
import sys, time
end = time.monotonic() + 1
while time.monotonic() < end:
    pass
kept = b"x" * 100_000_000
sys.stdin.read()
"""


@pytest.fixture
def ports() -> Generator[list[int]]:
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Listener) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever).start()
    yield [server.server_port for server in servers]
    for server in servers:
        server.shutdown()
        server.server_close()


def calls(folder: Path, ports: list[int]) -> list[tuple[Call, Path]]:
    made: list[tuple[Call, Path]] = []
    for port in ports:
        (folder / str(port)).mkdir()
        call = Call(f"http://127.0.0.1:{port}/", {"content-type": "application/json"}, body("whole", 1_000))
        made.append((call, folder / str(port)))
    return made


def test_each_target_gets_its_own_load_and_no_request_twice(tmp_path: Path, ports: list[int]) -> None:
    Listener.heard.clear()
    asked = calls(tmp_path, ports)
    for _ in range(2):
        loads = run_in_turns(asked, 2, 0.5, CORE, distinct=True)
        assert [load.errors for load in loads] == [0, 0]
        assert all(load.requests for load in loads)
    assert {url for url, _ in Listener.heard} == {f"127.0.0.1:{port}" for port in ports}
    assert set(Listener.heard.values()) == {1}


def test_nobody_is_left_behind_by_one_that_gives_no_figures(tmp_path: Path, ports: list[int]) -> None:
    asked = calls(tmp_path, ports)
    asked[1] = Call("http://localhost:no-port/", {}, b""), asked[1][1]
    with pytest.raises(LoadFailed, match="no-port"):
        run_in_turns(asked, 2, 0.5, CORE)
    assert not [child for child in psutil.Process().children(recursive=True) if child.name() in ("wrk", "taskset")]


def test_what_limits_cost_is_measured_in_turns() -> None:
    (limited,) = [each for each in LIMITED_SCENARIOS if each.name == LIMITED]
    assert limited.in_turns
    assert not ScenarioInfo("of an older result", "", "whole", 1, 1).in_turns


def test_memory_is_that_of_a_tree_that_rests() -> None:
    with subprocess.Popen([sys.executable, "-c", LATE], stdin=subprocess.PIPE) as program:
        before = memory_bytes(program.pid)
        settled = settled_memory_bytes(program.pid, look_seconds=0.4)
        program.communicate()
    assert settled - before > 80_000_000
