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


def test_gateways_are_as_many_as_workers_and_there_is_one_model_host() -> None:
    spec = SupervisorSpec(data="/data", started=0.0, workers=2)
    assert spec.processes() == [("gateway", 0), ("gateway", 1), ("models", 0)]
    assert spec._replace(roles=["models"]).processes() == [("models", 0)]


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
