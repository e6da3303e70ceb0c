"""What limits and the cache cost is held to its limit, and a miss is one: every request of its load is another."""

import json
import os
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.checks import PROMISES
from benchmarks.load import Call, run_wrk
from benchmarks.results import Conditions, Machine, Options, Result, Window
from benchmarks.scenarios import HIT, LIMITED, LIMITED_SCENARIOS, STREAMED_HIT, WITH_LIMITS, body
from benchmarks.targets import all_targets
from tests.unit.benchmarks.listening import Listener


def window(scenario: str, target: str, cpu: float) -> Window:
    return Window(scenario, target, 0, 10, 1.0, 1, 1, 0, 0, cpu, None, Conditions(0.02, 0.0, 0.0, 0.5))


def measured(name: str, *windows: Window) -> float | None:
    machine = Machine("cpu", 2, 1, "os", "k", "3.11", (0.0, 0.0, 0.0))
    result = Result(1, "", machine, {}, Options(1, 1, 1, 1, 1, 1, 0, 1), [], [], list(windows), [])
    (promise,) = [promise for promise in PROMISES if promise.name == name]
    return promise.figure(result)


def test_limits_are_held_against_the_same_gateway_without_them() -> None:
    ours, plain = window(LIMITED, WITH_LIMITS, 110.0), window(LIMITED, "polyforge", 100.0)
    name = "CPU per request with limits, a budget and a cache, over that without"
    assert measured(name, ours, plain, window(LIMITED, "bare-plain", 50.0)) == 1.1
    assert measured(name, ours) is None


@pytest.mark.parametrize(("scenario", "what"), [(HIT, "answer"), (STREAMED_HIT, "stream")])
def test_a_hit_is_held_against_a_whole_request_of_the_bare_proxy(scenario: str, what: str) -> None:
    windows = window(scenario, WITH_LIMITS, 150.0), window(HIT, "bare-plain", 60.0)
    assert measured(f"CPU per {what} from the cache", *windows) == 150.0
    assert measured(f"CPU per {what} from the cache, over the bare proxy's per request", *windows) == 2.5


def test_whoever_takes_part_is_there_and_knows_the_kind() -> None:
    kinds = {target.name: target.kinds for target in all_targets()}
    for scenario in LIMITED_SCENARIOS:
        assert all(scenario.kind in kinds[name] for name in scenario.targets)


def test_each_request_of_a_distinct_load_is_another(tmp_path: Path) -> None:
    said = body("whole", 1_000)
    Listener.heard.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Listener) as server:
        threading.Thread(target=server.serve_forever).start()
        request = Call(f"http://127.0.0.1:{server.server_port}/", {"content-type": "application/json"}, said)
        for _ in range(2):
            run_wrk(request, 1, 1, min(os.sched_getaffinity(0)), tmp_path, distinct=True)
        server.shutdown()
    heard = Listener.heard
    assert len(heard) > 2
    assert set(heard.values()) == {1}
    assert {json.loads(each)["messages"][0]["content"] for _, each in heard} == {"You answer in plain words."}
