"""What a pool of children does when its own side fails."""

import sys
import threading
from pathlib import Path

import pytest

from polyforge.isolation.limits import ChildProgram, Ended, Limits
from polyforge.isolation.pool import Pool
from polyforge.kernel.errors import Unavailable

LIMITS = Limits(memory_bytes=2**30, run_seconds=5, start_seconds=20)


class Told:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def said(self, pid: int, line: str) -> None:
        self.lines.append(line)

    def ended(self, pid: int, ended: Ended, delay: float) -> None:
        self.lines.append(str(ended))

    def refused(self, reason: str, delay: float) -> None:
        self.lines.append(reason)


def pool(folder: Path, *command: str, told: Told | None = None, arguments: object = None) -> Pool:
    program = ChildProgram(command, str(folder), {"given": arguments})
    return Pool(program, LIMITS, size=2, subject="model 'x'", listener=told or Told())


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be started: No such file"):
        pool(tmp_path, "/nowhere/python").open()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be started: No such file"):
        pool(tmp_path / "gone", sys.executable).open()


def test_arguments_that_cannot_be_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="was lost: TypeError"):
        pool(tmp_path, sys.executable, arguments=object()).open()


def test_a_program_that_knows_nothing_of_frames(tmp_path: Path) -> None:
    told = Told()
    with pytest.raises(Unavailable, match="did not start: its process ended, crashed exit status 3"):
        pool(tmp_path, sys.executable, "-c", "print('hello'); raise SystemExit(3)", told=told).open()
    assert "hello" in told.lines


def test_one_that_says_something_else_than_hello(tmp_path: Path) -> None:
    code = "import json, os, sys; os.write(json.loads(sys.argv[1])['channel'], b'x' * 100); sys.stdin.read()"
    with pytest.raises(Unavailable, match="protocol it sent something that is no frame"):
        pool(tmp_path, sys.executable, "-c", code).open()


def test_it_is_closed_twice_and_unopened_without_harm(tmp_path: Path) -> None:
    closed = pool(tmp_path, sys.executable)
    closed.close()
    closed.close()
    with pytest.raises(Unavailable, match="is being unloaded"), closed.child():
        pass


def test_closing_it_ends_the_wait_for_children_that_do_not_get_ready(tmp_path: Path) -> None:
    slow = pool(tmp_path, sys.executable, "-c", "import sys; sys.stdin.read()")
    closing = threading.Timer(0.2, slow.close)
    closing.start()
    with pytest.raises(Unavailable, match="is being unloaded"):
        slow.open()
    closing.join()
