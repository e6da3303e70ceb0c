import json

import msgspec
import pytest

from polyforge.kernel.errors import SettingsError
from polyforge.supervisor.child import PROCESS_VARIABLE
from polyforge.supervisor.spec import MODULES, VARIABLE, SupervisorSpec
from polyforge.wiring import process
from polyforge.wiring.process import ProcessSpec


def test_it_survives_the_environment_and_leaves_it() -> None:
    spec = SupervisorSpec(data="/data", started=1.5, roles=["gateway"], workers=3, overrides={"server": {"port": 1}})
    environ = {VARIABLE: spec.to_json(), "OTHER": "stays"}
    assert SupervisorSpec.take(environ) == spec
    assert environ == {"OTHER": "stays"}


def test_gateways_are_as_many_as_asked_for_and_there_is_one_model_host_and_one_worker() -> None:
    spec = SupervisorSpec(data="/data", started=0.0, workers=2)
    assert spec.processes() == [("gateway", 0), ("gateway", 1), ("models", 0), ("worker", 0)]
    assert spec._replace(roles=["models"]).processes() == [("models", 0)]
    assert spec._replace(roles=["worker"]).processes() == [("worker", 0)]


@pytest.mark.parametrize(
    ("roles", "front", "late"),
    [
        (["gateway", "models", "worker"], "gateway", True),
        (["gateway", "worker"], "gateway", True),
        (["models", "worker"], None, False),
        (["worker"], None, False),
    ],
)
def test_nobody_waits_for_a_worker_but_who_runs_nothing_that_listens(
    roles: list[str], front: str | None, late: bool
) -> None:
    spec = SupervisorSpec(data="/data", started=0.0, roles=roles)
    assert (spec.front, spec.is_late("worker")) == (front, late)
    assert not any(spec.is_late(role) for role in ("gateway", "models"))
    assert spec._replace(roles=["models"]).front == "models"


def test_workers_count_calls_after_the_gateways() -> None:
    fields = {"ready_fd": 0, "life_fd": 0, "session": "s", "runtime": "/run", "job_workers": 1}
    beside = msgspec.convert({**fields, "index": 0, "workers": 2, "role": "worker"}, ProcessSpec)
    assert (beside.name, beside.slot, beside.slots) == ("worker-0", 2, 3)
    alone = msgspec.convert({**fields, "index": 0, "workers": 0, "role": "worker"}, ProcessSpec)
    assert (alone.slot, alone.slots) == (0, 1)
    gateway = msgspec.convert({**fields, "index": 1, "workers": 2}, ProcessSpec)
    assert (gateway.name, gateway.slot, gateway.slots) == ("gateway-1", 1, 3)


def test_processes_run_the_modules_of_their_roles_and_never_files_of_the_current_folder() -> None:
    spec = SupervisorSpec(data="/data", started=0.0)
    for role, module in MODULES.items():
        assert spec.command(role)[-3:] == ["-m", "polyforge.supervisor.role", module]
        assert "-P" in spec.command(role)


def test_both_sides_mean_the_same_variable() -> None:
    assert PROCESS_VARIABLE == process.VARIABLE


def test_a_process_says_what_it_misses() -> None:
    with pytest.raises(SettingsError, match="polyforge up"):
        ProcessSpec.from_environment({})
    with pytest.raises(SettingsError, match="POLYFORGE_PROCESS"):
        ProcessSpec.from_environment({process.VARIABLE: json.dumps({"index": "first"})})


def test_a_process_without_a_listening_socket_says_so() -> None:
    fields = {"index": 0, "workers": 1, "ready_fd": 0, "life_fd": 0, "session": "s", "runtime": "/run"}
    with pytest.raises(SettingsError, match="no listening socket"):
        msgspec.convert(fields, ProcessSpec).listening_socket()
