"""A model in a process of its own that crashes, leaks, hangs or talks nonsense hurts nobody else."""

import logging
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from polyforge.adapters.model_backends.python import Python
from polyforge.kernel.errors import BrokenOff, Invalid, PolyforgeError, TimedOut, Unavailable
from polyforge.ports.model_backend import Outputs
from tests.support.python_models import (
    ASK,
    BUG,
    DUMB,
    EXIT,
    FINE,
    GARBAGE,
    HANG,
    LEAK,
    ORPHAN,
    PRINT,
    QUIT,
    REFUSE,
    SEGFAULT,
    SLOW,
    ask,
    in_threads,
    is_running,
    numbers,
    order,
    python_model,
    wait_for,
    write_model,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc, which only Linux has")

MEMORY = 150 * 1024**2
CALLERS = 50


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Python]:
    """A model with three processes and little patience."""
    backend = python_model(write_model(tmp_path / "m"), instances=3, memory_bytes=MEMORY, run_seconds=5)
    backend.load()
    yield backend
    backend.close()


@pytest.mark.parametrize(
    ("what", "ending", "told", "words"),
    [
        (SEGFAULT, "crashed", BrokenOff, "SIGSEGV"),
        (LEAK, "memory", BrokenOff, "memory"),
        (HANG, "time", TimedOut, "took longer than 5 seconds"),
        (GARBAGE, "protocol", BrokenOff, "did not answer as it must"),
        (EXIT, "crashed", BrokenOff, "exit status 7"),
        (QUIT, "crashed", BrokenOff, "exit status 1"),
    ],
)
def test_its_callers_are_told_the_others_answered_and_it_comes_back(
    model: Python, what: int, ending: str, told: type[PolyforgeError], words: str
) -> None:
    others: list[Outputs | PolyforgeError] = []
    over = threading.Event()

    def call() -> None:
        while not over.is_set():
            others.append(ask(model, FINE))
            time.sleep(0.01)

    callers = in_threads(CALLERS, call)
    answer = ask(model, what)
    facts = wait_for(model, lambda facts: facts.living == 3)
    over.set()
    for caller in callers:
        caller.join()
    assert isinstance(answer, told)
    assert words in answer.message
    if told is BrokenOff:
        assert answer.retry_after is not None
    assert facts.endings == {ending: 1}
    assert facts.restarts == 1
    assert len(others) >= CALLERS
    assert [numbers(other) for other in others] == [[FINE + 1]] * len(others)


def test_one_that_is_killed_in_the_middle_of_a_request(model: Python) -> None:
    answers: list[Outputs | PolyforgeError] = []
    asking = in_threads(1, lambda: answers.append(ask(model, HANG)))
    others: set[int] = set()
    while len(others) < 2:
        for caller in in_threads(2, lambda: others.update(numbers(ask(model, SLOW), 1))):
            caller.join()
    (busy,) = models_of(os.getpid()) - others
    os.kill(busy, signal.SIGKILL)
    asking[0].join()
    assert isinstance(answers[0], Unavailable)
    assert "SIGKILL" in answers[0].message
    assert wait_for(model, lambda facts: facts.living == 3).endings == {"crashed": 1}


def models_of(pid: int) -> set[int]:
    """The processes of models that a process has started."""
    found: set[int] = set()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"python_program" in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
        except OSError:
            continue
    return found


def test_idle_ones_that_are_killed_cost_no_answer_while_another_lives(model: Python) -> None:
    first = numbers(ask(model, FINE), 1)[0]
    for pid in models_of(os.getpid()) - {first}:
        os.kill(pid, signal.SIGKILL)
    assert [numbers(ask(model, FINE)) for _ in range(20)] == [[FINE + 1]] * 20
    wait_for(model, lambda facts: facts.living == 3 and facts.restarts == 2)


def test_what_it_writes_reaches_the_log_in_measure(model: Python, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert numbers(ask(model, PRINT)) == [PRINT + 1]
        eventually(lambda: written(caplog), "a line in the log")
        assert numbers(ask(model, FINE)) == [FINE + 1]
    assert written(caplog) <= 250


def written(caplog: pytest.LogCaptureFixture) -> int:
    """How many lines of the model are in the log."""
    return [record.getMessage() for record in caplog.records].count("a model wrote")


@pytest.mark.parametrize("what", [DUMB, ASK])
def test_it_may_close_its_output_and_has_no_input(model: Python, what: int) -> None:
    answer = ask(model, what)
    if what == ASK:
        assert isinstance(answer, PolyforgeError)
        assert answer.status == 500
    assert [numbers(ask(model, FINE)) for _ in range(5)] == [[FINE + 1]] * 5
    assert model.processes.endings == {}


def test_its_own_bug_is_opaque_to_the_caller_and_whole_in_the_log(
    model: Python, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        bug, refused, fine = model.run([order(BUG), order(REFUSE), order(FINE)])
        told = eventually(lambda: told_of("KeyError: 'a bug'", caplog), "the bug in the log")
    assert isinstance(bug, PolyforgeError)
    assert (bug.status, "KeyError" in bug.message) == (500, False)
    assert isinstance(refused, Invalid)
    assert (refused.message, refused.param) == ("x must not be 8", "x")
    assert numbers(fine) == [FINE + 1]
    assert "x must not be 8" not in told
    assert model.processes.endings == {}


def told_of(words: str, caplog: pytest.LogCaptureFixture) -> str:
    """The whole log, once these words stand in it."""
    told = "\n".join(str(vars(record)) for record in list(caplog.records))
    return told if words in told else ""


def test_what_it_started_goes_with_it(model: Python) -> None:
    assert isinstance(ask(model, ORPHAN), Unavailable)
    wait_for(model, lambda facts: facts.living == 3)
    left = subprocess.run(["pgrep", "-fx", "sleep 3600"], capture_output=True, text=True, check=False)
    assert left.stdout == ""


def test_while_all_are_down_callers_are_told_at_once_and_when_to_come_back(tmp_path: Path) -> None:
    backend = python_model(write_model(tmp_path / "m"), instances=1, run_seconds=30)
    backend.load()
    try:
        for _ in range(3):
            wait_for(backend, lambda facts: facts.living == 1)
            assert isinstance(ask(backend, SEGFAULT), Unavailable)
        answers: list[Outputs | PolyforgeError] = []
        for caller in in_threads(CALLERS, lambda: answers.append(ask(backend, FINE))):
            caller.join()
        assert len(answers) == CALLERS
        for answer in answers:
            assert isinstance(answer, Unavailable)
            assert "being restarted" in answer.message
            assert answer.retry_after is not None
            assert answer.retry_after > 0
        assert wait_for(backend, lambda facts: facts.living == 1).restarts == 3
        assert numbers(ask(backend, FINE)) == [FINE + 1]
    finally:
        backend.close()


def test_one_that_does_not_come_back_is_tried_less_and_less_often(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_model(tmp_path / "m")
    backend = python_model(folder, instances=1)
    backend.load()
    try:
        (folder / "model.py").write_text("syntax error\n")
        with caplog.at_level(logging.ERROR):
            assert isinstance(ask(backend, SEGFAULT), Unavailable)
            deadline = time.monotonic() + 60
            while len(delays := [delay_of(record) for record in caplog.records]) < 3:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert delays[:3] == [0.25, 0.5, 1.0]
        write_model(folder)
        assert wait_for(backend, lambda facts: facts.living == 1).restarts == 1
        assert numbers(ask(backend, FINE)) == [FINE + 1]
    finally:
        backend.close()


def delay_of(record: logging.LogRecord) -> float:
    return vars(record)["polyforge_fields"]["restart_seconds"]


def test_a_stream_ends_with_its_process_and_with_its_reader(model: Python) -> None:
    stream = model.stream(order(1000, SEGFAULT))
    told = [next(stream) for _ in range(900)]
    assert numbers(told[-1]) == [1000 + 899, SEGFAULT + 899]
    with pytest.raises(Unavailable, match="SIGSEGV"):
        next(stream)
    wait_for(model, lambda facts: facts.living == 3)
    for _ in range(10):
        left = model.stream(order(10_000_000, FINE))
        assert numbers(next(left)) == [10_000_000, FINE]
        left.close()
    assert [numbers(ask(model, FINE)) for _ in range(10)] == [[FINE + 1]] * 10
    assert model.processes.endings == {"crashed": 1}


def test_closing_leaves_no_process_behind(tmp_path: Path) -> None:
    backend = python_model(write_model(tmp_path / "m"), instances=2)
    backend.load()
    before = {numbers(ask(backend, FINE), 1)[0] for _ in range(10)}
    backend.close()
    assert not [pid for pid in before if is_running(pid)]
    assert isinstance(ask(backend, FINE), Unavailable)


def test_a_host_with_thousands_of_open_files_has_them_too(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1200)]
    backend = python_model(write_model(tmp_path / "m"))
    try:
        backend.load()
        assert numbers(ask(backend, FINE)) == [FINE + 1]
        stream = backend.stream(order(5, FINE))
        assert len(list(stream)) == 5
    finally:
        backend.close()
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_stream_that_ends_in_an_error_leaves_its_process_fit(model: Python) -> None:
    for _ in range(6):
        stream = model.stream(order(1000, BUG))
        told = [next(stream) for _ in range(900)]
        assert len(told) == 900
        with pytest.raises(PolyforgeError, match="the model failed"):
            next(stream)
    assert [numbers(ask(model, FINE)) for _ in range(6)] == [[FINE + 1]] * 6
    assert model.processes.endings == {}


def test_loading_and_losing_it_again_and_again_leaves_nothing_open(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    counts: list[tuple[int, int]] = []
    for _ in range(6):
        backend = python_model(folder, instances=2)
        backend.load()
        assert isinstance(ask(backend, SEGFAULT), Unavailable)
        wait_for(backend, lambda facts: facts.living == 2)
        backend.close()
        counts.append((len(os.listdir("/proc/self/fd")), threading.active_count()))
    assert counts[-1] == counts[0]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_they_die_with_the_host_even_while_they_compute(tmp_path: Path, how: signal.Signals) -> None:
    write_model(tmp_path / "m")
    program = f"""
        import threading
        from pathlib import Path
        from tests.support.python_models import *
        backend = python_model(Path({str(tmp_path / "m")!r}), instances=2)
        backend.load()
        print(numbers(ask(backend, FINE), 1)[0], flush=True)
        ask(backend, HANG)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as host:
        assert host.stdout is not None
        pid = int(host.stdout.readline())
        time.sleep(0.2)
        children = models_of(host.pid)
        host.send_signal(how)
    assert pid in children
    eventually(lambda: not any(is_running(child) for child in children), "the children being gone")
