"""The supervisor and its processes under `kill -9`, with stand-ins for the gateway and the model host."""

import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.supervised import Supervised, is_alive, supervised
from tests.support.waiting import eventually


def ready_again(one: Supervised, role: str, restarts: int) -> dict[str, Any]:
    """A process after that many restarts, once it serves."""

    def look() -> dict[str, Any] | None:
        child = one.child(role)
        return child if child["ready"] and child["restarts"] == restarts else None

    return eventually(look, f"{role} after restart {restarts}") or {}


@pytest.mark.parametrize("role", ["gateway", "models"])
def test_a_killed_process_runs_again(tmp_path: Path, role: str) -> None:
    with supervised(tmp_path) as one:
        one.up()
        pid = one.child(role)["pid"]
        os.kill(pid, signal.SIGKILL)
        again = ready_again(one, role, 1)
        assert again["pid"] != pid
        assert not is_alive(pid)
        (event,) = [event for event in one.events if event["event"] == "process restarted"]
        assert (event["role"], event["index"], event["pid"]) == (role, 0, again["pid"])
        assert event["exit"] == "killed by SIGKILL"
        assert one.stdout.count("ready ") == 1
        assert one.stop() == 0


def test_a_process_that_is_killed_again_and_again_keeps_coming_back(tmp_path: Path) -> None:
    with supervised(tmp_path, roles=["models"]) as one:
        one.up()
        for turn in range(8):
            os.kill(one.child("models")["pid"], signal.SIGKILL)
            ready_again(one, "models", turn + 1)
        assert one.stop() == 0


def test_connections_wait_while_the_only_gateway_is_down(tmp_path: Path) -> None:
    with supervised(tmp_path, roles=["gateway"]) as one:
        one.up()
        os.kill(one.child("gateway")["pid"], signal.SIGKILL)
        with socket.create_connection(("127.0.0.1", int(one.facts["url"].rpartition(":")[2]))):
            ready_again(one, "gateway", 1)
        assert one.stop() == 0


def test_a_process_that_crashes_when_it_serves_does_not_end_the_others(tmp_path: Path) -> None:
    with supervised(tmp_path, environ={"DUMMY_MODELS": "crashes"}) as one:
        one.start()
        eventually(lambda: one.restarts.get("models", 0) >= 3, "three starts of what crashes")
        assert is_alive(one.child("gateway")["pid"])
        assert one.stop() == 0


def test_a_killed_supervisor_takes_all_with_it_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    with supervised(tmp_path, workers=2) as one:
        one.up()
        facts = one.facts
        one.send(signal.SIGKILL)
        one.wait()
        eventually(lambda: not any(is_alive(child["pid"]) for child in facts["children"]), "the end of all processes")
        assert os.path.exists(facts["socket_folder"])
        one.up()
        assert one.facts["session"] != facts["session"]
        assert not os.path.exists(facts["socket_folder"])
        assert one.stop() == 0


def test_up_may_follow_a_killed_supervisor_at_once(tmp_path: Path) -> None:
    with supervised(tmp_path) as one:
        one.up()
        one.send(signal.SIGKILL)
        one.wait()
        one.up()
        assert one.stop() == 0


def test_a_stop_during_the_start_is_a_clean_one(tmp_path: Path) -> None:
    with supervised(tmp_path, environ={"DUMMY_MODELS": "hangs"}, drain_seconds=0.5) as one:
        one.start()
        eventually(lambda: list(one.data.glob("run/*/children.json")))
        eventually(lambda: one.facts.get("children") and one.child("gateway")["ready"])
        assert one.stop() == 0
        assert one.stdout == ""
