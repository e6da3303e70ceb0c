"""The supervisor as a process, with stand-ins for the gateway and the model host."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from polyforge.supervisor.spec import VARIABLE
from tests.support.supervised import is_alive, supervised
from tests.support.waiting import eventually


def test_it_says_when_and_where_it_is_ready_and_nothing_else(tmp_path: Path) -> None:
    with supervised(tmp_path, workers=2) as one:
        one.up()
        assert re.fullmatch(r"ready http://127\.0\.0\.1:[1-9]\d* in \d+\.\d s\n", one.stdout)
        facts = one.facts
        assert facts["ready"] is True
        assert facts["supervisor"] == one.pid
        assert facts["url"] in one.stdout
        assert [(child["role"], child["index"]) for child in facts["children"]] == [
            ("gateway", 0),
            ("gateway", 1),
            ("models", 0),
        ]
        assert all(child["ready"] and is_alive(child["pid"]) for child in facts["children"])
        assert one.stop() == 0
        assert not any(is_alive(child["pid"]) for child in facts["children"])
        assert not os.path.exists(facts["socket_folder"])
        assert os.listdir(one.data / "run") == []


def test_the_model_host_ends_after_the_gateways(tmp_path: Path) -> None:
    with supervised(tmp_path, workers=2) as one:
        assert one.up().stop() == 0
        ends = re.findall(r"(gateway|models) \d ends", one.stderr)
        assert ends == ["gateway", "gateway", "models"]


ALL = ("gateway", "models", "worker")


def test_it_is_ready_before_its_worker_which_then_starts(tmp_path: Path) -> None:
    with supervised(tmp_path, roles=ALL, environ={"DUMMY_WORKER": "waits"}) as one:
        one.up()
        assert not one.child("worker")["ready"]
        (one.runtime / "worker-may-go").touch()
        eventually(lambda: one.child("worker")["ready"], "the worker")
        told = one.told("worker")
        assert (told["slot"], told["slots"], told["listen_fd"]) == (1, 2, None)
        assert told["model_socket"] == one.told("gateway")["model_socket"]
        assert one.stdout.count("ready ") == 1
        assert one.stop() == 0


def test_workers_end_before_the_model_host(tmp_path: Path) -> None:
    with supervised(tmp_path, roles=ALL) as one:
        one.up()
        eventually(lambda: one.child("worker")["ready"], "the worker")
        assert one.stop() == 0
        ends = re.findall(r"(gateway|models|worker) \d ends", one.stderr)
        assert (sorted(ends[:2]), ends[2:]) == (["gateway", "worker"], ["models"])


def test_a_worker_that_does_not_start_ends_nothing_else(tmp_path: Path) -> None:
    with supervised(tmp_path, roles=ALL, environ={"DUMMY_WORKER": "fails"}) as one:
        one.up()
        eventually(lambda: one.restarts["worker"] >= 3, "more starts than end a gateway's")
        assert is_alive(one.child("gateway")["pid"])
        assert one.stop() == 0


def test_a_worker_alone_is_waited_for_and_listens_nowhere(tmp_path: Path) -> None:
    with supervised(tmp_path, roles=("worker",)) as one:
        one.up()
        assert re.fullmatch(r"ready worker in \d+\.\d s\n", one.stdout)
        told = one.told("worker")
        assert (told["workers"], told["slot"], told["slots"], told["listen_fd"]) == (0, 0, 1, None)
        assert one.stop() == 0


def test_a_model_host_beside_a_worker_alone_is_reached_by_its_socket(tmp_path: Path) -> None:
    with supervised(tmp_path, roles=("models", "worker")) as one:
        one.up()
        assert one.told("models")["model_socket"] == one.told("worker")["model_socket"] is not None
        assert one.told("models")["listen_fd"] is None
        assert one.stop() == 0


def test_sighup_is_for_the_gateways(tmp_path: Path) -> None:
    with supervised(tmp_path, workers=2) as one:
        one.up().send(signal.SIGHUP)
        eventually(lambda: one.stderr.count("reloads") == 2, "both gateways to hear of it")
        assert sorted(re.findall(r"(\w+ \d) reloads", one.stderr)) == ["gateway 0", "gateway 1"]
        assert [event["event"] for event in one.events if event["event"] == "reloading"] == ["reloading"]
        assert one.stop() == 0


def test_a_terminal_that_is_closed_ends_what_was_started_on_it(tmp_path: Path) -> None:
    controller, terminal = os.openpty()
    with supervised(tmp_path, stdin=terminal) as one:
        one.up()
        os.close(terminal)
        one.send(signal.SIGHUP)
        eventually(lambda: "gateway 0 reloads" in one.stderr, "a reload while the terminal stands")
        os.close(controller)
        one.send(signal.SIGHUP)
        assert one.wait() == 0


def test_processes_get_what_they_need_and_no_other_files(tmp_path: Path) -> None:
    stray, kept = os.pipe()
    os.set_inheritable(stray, True)
    with supervised(tmp_path, overrides={"server": {"workers": 1}}) as one:
        one.up()
        gateway, models = one.told("gateway"), one.told("models")
        assert gateway["overrides"] == {"server": {"workers": 1}}
        assert gateway["model_socket"] == models["model_socket"]
        assert gateway["listen_fd"] in gateway["opened"]
        assert models["listen_fd"] is None
        # standard streams, readiness, life, log, lock; the gateway has the listening socket besides
        assert len(models["opened"]) == 3 + 4
        assert len(gateway["opened"]) == 3 + 5
        assert not {"POLYFORGE_PROCESS", "POLYFORGE_SUPERVISOR"} & set(gateway["environment"])
        assert one.stop() == 0
    os.close(stray)
    os.close(kept)


def test_output_of_a_start_is_passed_on_once_it_is_ready(tmp_path: Path) -> None:
    with supervised(tmp_path) as one:
        one.up()
        assert one.stderr.count("gateway 0 starts") == one.stderr.count("models 0 starts") == 1
        assert one.stop() == 0


@pytest.mark.parametrize("roles", [["gateway"], ["models"]])
def test_a_role_runs_alone(tmp_path: Path, roles: list[str]) -> None:
    with supervised(tmp_path, roles=roles) as one:
        one.up()
        assert [child["role"] for child in one.facts["children"]] == roles
        # Nobody is beside a model host that runs alone: it listens where the gateways would.
        assert (one.told(roles[0])["model_socket"], one.told(roles[0])["listen_fd"] is None) == (None, False)
        assert one.stdout.startswith("ready http://")
        assert one.stop() == 0


def test_ipv6_is_printed_in_brackets(tmp_path: Path) -> None:
    with supervised(tmp_path, host="::1", roles=["gateway"]) as one:
        one.up()
        assert "ready http://[::1]:" in one.stdout
        with socket.create_connection(("::1", int(one.facts["url"].rpartition(":")[2]))):
            pass
        assert one.stop() == 0


def test_a_second_up_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with supervised(tmp_path) as one, supervised(tmp_path / "second") as second:
        one.up()
        second.data = one.data
        assert second.start().wait() == 1
        assert f"is in use by process {one.pid}" in second.stderr
        assert len(second.stderr.splitlines()) == 1
        assert one.stop() == 0


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with supervised(tmp_path, port=port) as one:
            assert one.start().wait() == 1
            assert one.stderr == (
                f"polyforge: port {port} on 127.0.0.1 is in use; "
                "stop the program that listens there, or pass another --port\n"
            )


def test_a_host_that_is_not_here_is_named(tmp_path: Path) -> None:
    with supervised(tmp_path, host="192.0.2.1") as one:
        assert one.start().wait() == 1
        assert "this machine has no address 192.0.2.1" in one.stderr


def test_wrong_settings_end_it_at_once_with_status_2(tmp_path: Path) -> None:
    with supervised(tmp_path, environ={"DUMMY_GATEWAY": "settings"}) as one:
        assert one.start().wait() == 2
        assert "server.port: must be a number" in one.stderr
        assert "polyforge: gateway 0 did not start: exit status 2" in one.stderr
        assert one.stdout == ""


def test_a_start_that_fails_three_times_ends_it_with_the_last_lines(tmp_path: Path) -> None:
    with supervised(tmp_path, environ={"DUMMY_MODELS": "fails"}) as one:
        assert one.start().wait() == 1
        assert "polyforge: models 0 did not start: exit status 1, 3 times in a row" in one.stderr
        assert "\n  cannot find the thing\n" in one.stderr
        failures = [event for event in one.events if event["event"] == "process failed to start"]
        assert ["cannot find the thing" in event["output"] for event in failures] == [True, True]
        assert os.listdir(one.data / "run") == []


def test_a_start_that_fails_once_is_repeated(tmp_path: Path) -> None:
    with supervised(tmp_path, environ={"DUMMY_MODELS": "fails-once"}) as one:
        one.up()
        assert one.child("models")["restarts"] == 1
        assert one.stop() == 0


def test_a_command_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with supervised(tmp_path, commands={"gateway": ["/nowhere/python"]}) as one:
        assert one.start().wait() == 1
        assert "cannot start gateway 0" in one.stderr


def test_a_start_that_hangs_is_ended_with_the_place_where_it_hangs(tmp_path: Path) -> None:
    with supervised(tmp_path, start_seconds=1, environ={"DUMMY_GATEWAY": "hangs"}) as one:
        assert one.start().wait() == 1
        assert "gateway 0 did not start: not ready within 1 s" in one.stderr
        assert "(most recent call first)" in one.stderr


def test_a_start_may_ask_for_more_time(tmp_path: Path) -> None:
    with supervised(tmp_path, roles=["gateway"], start_seconds=2.5, environ={"DUMMY_GATEWAY": "slow"}) as one:
        one.up()
        assert one.child("gateway")["restarts"] == 0
        assert one.stop() == 0


def test_work_that_never_ends_is_killed_after_the_drain_time(tmp_path: Path) -> None:
    with supervised(tmp_path, drain_seconds=0.3, environ={"DUMMY_GATEWAY": "stubborn"}) as one:
        one.up()
        pid = one.child("gateway")["pid"]
        assert one.stop() == 0
        assert not is_alive(pid)
        assert [event["event"] for event in one.events][:2] == ["draining", "process killed"]


def test_a_second_interrupt_does_not_wait(tmp_path: Path) -> None:
    with supervised(tmp_path, drain_seconds=600, environ={"DUMMY_GATEWAY": "stubborn"}) as one:
        one.up()
        one.send(signal.SIGINT)
        eventually(lambda: one.events)
        one.send(signal.SIGINT)
        assert one.wait() == 130


def test_nobody_accepts_once_it_drains(tmp_path: Path) -> None:
    with supervised(tmp_path, environ={"DUMMY_GATEWAY": "stubborn"}) as one:
        one.up()
        port = int(one.facts["url"].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)):
            pass
        one.send(signal.SIGTERM)
        eventually(lambda: one.events)
        assert is_alive(one.pid)


def test_started_by_hand_it_says_what_to_run() -> None:
    environ = {name: value for name, value in os.environ.items() if name != VARIABLE}
    command = [sys.executable, "-m", "polyforge.supervisor"]
    result = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "run `polyforge up`" in result.stderr
