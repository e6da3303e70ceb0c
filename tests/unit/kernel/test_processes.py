"""Whether another process is there."""

import os
import subprocess
import sys

import pytest

from polyforge.kernel.processes import is_running


def test_this_process_and_that_of_somebody_else_run() -> None:
    assert is_running(os.getpid())
    assert is_running(1)


def test_a_process_that_ended_does_not_run() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert not is_running(process.pid)


@pytest.mark.parametrize("nobody", [0, -1])
def test_groups_of_processes_are_none(nobody: int) -> None:
    assert not is_running(nobody)
