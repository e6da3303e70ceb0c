"""Several processes, some of which die: totals never fall and never count twice."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from polyforge.telemetry.aggregation import collect, fold
from polyforge.telemetry.families import IN_FLIGHT, REQUESTS
from polyforge.telemetry.metrics import Metrics
from tests.unit.telemetry.pages import Page, read_page, total, value

WORKER = """
import sys
from pathlib import Path
from polyforge.telemetry.metrics import Metrics
folder, name = sys.argv[1:]
metrics = Metrics(Path(folder), name, models=["assistant"])
metrics.open()
metrics.started()
done = metrics.for_model("assistant", "openai", "chat").done
print("open", flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        done(200, None, 2_000_000_000, 1000)
    print("done", flush=True)
metrics.close()
"""


class Worker:
    """A process that counts as many requests as it is told."""

    def __init__(self, folder: Path, name: str) -> None:
        command = [sys.executable, "-c", WORKER, str(folder), name]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
        )
        self.hear()

    def hear(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline()

    def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()

    def count(self, requests: int) -> None:
        self.say(f"{requests}\n")
        self.hear()

    def end(self, how: signal.Signals | None = None) -> None:
        if how is not None:
            self._process.send_signal(how)
        self._process.communicate()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Worker]]:
    workers: list[Worker] = []

    def start(name: str) -> Worker:
        workers.append(Worker(tmp_path, name))
        return workers[-1]

    yield start
    for worker in workers:
        try:
            worker.end(signal.SIGKILL)
        except ValueError:
            continue


@pytest.fixture
def scraper(tmp_path: Path) -> Iterator[Metrics]:
    metrics = Metrics(tmp_path, "gateway-9", models=["assistant"])
    metrics.open()
    yield metrics
    metrics.close()


def requests(page: Page) -> float:
    return total(page, "polyforge_requests_total")


def test_the_page_of_any_worker_is_the_sum_of_all(start: Callable[[str], Worker], scraper: Metrics) -> None:
    first, second = start("gateway-0"), start("gateway-1")
    first.count(10)
    second.count(5)
    scraper.for_model("assistant", "openai", "chat").done(200, None, 1, 1)
    page = read_page(scraper.render())
    assert requests(page) == 16
    assert value(page, "polyforge_request_duration_seconds_count", model="assistant", task="chat") == 16
    assert value(page, "polyforge_in_flight") == 2
    assert {dict(pairs)["process"] for name, pairs in page if name == "polyforge_process_start_time_seconds"} == {
        "gateway-0",
        "gateway-1",
        "gateway-9",
    }


@pytest.mark.parametrize("how", [signal.SIGKILL, None])
def test_what_the_dead_counted_stays_and_what_they_held_goes(
    how: signal.Signals | None, start: Callable[[str], Worker], scraper: Metrics, tmp_path: Path
) -> None:
    worker, other = start("gateway-0"), start("gateway-1")
    worker.count(10)
    other.count(1)
    worker.end(how)
    page = read_page(scraper.render())
    assert requests(page) == 11
    assert value(page, "polyforge_in_flight") == 1

    for _ in range(3):
        replacement = start("gateway-0")
        replacement.count(2)
        replacement.end(signal.SIGKILL)
    assert requests(read_page(scraper.render())) == 17
    start("gateway-0")
    assert requests(read_page(scraper.render())) == 17
    assert len(list(tmp_path.glob("*.cells"))) == 3


def test_totals_never_fall_while_workers_die_and_return(start: Callable[[str], Worker], scraper: Metrics) -> None:
    seen: list[float] = []
    over = threading.Event()

    def scrape() -> None:
        while not over.is_set():
            seen.append(requests(read_page(scraper.render())))

    watcher = threading.Thread(target=scrape)
    watcher.start()
    for _ in range(4):
        worker = start("gateway-0")
        worker.count(300)
        worker.say("100000\n")
        worker.end(signal.SIGKILL)
    over.set()
    watcher.join()
    seen.append(requests(read_page(scraper.render())))
    assert seen == sorted(seen)
    assert seen[-1] >= 1200


def left_behind(folder: Path, count: int) -> str:
    """The file of a process that counted and ended."""
    before = set(folder.glob("*.cells"))
    metrics = Metrics(folder, "gone", models=["assistant"])
    metrics.open()
    for _ in range(count):
        metrics.for_model("assistant", "openai", "chat").done(200, None, 1, 1)
    metrics.close()
    [file] = set(folder.glob("*.cells")) - before
    return file.name


def counted(folder: Path) -> float:
    return sum(values[0] for (name, _), values in collect(folder).totals.items() if name == REQUESTS.name)


def test_a_crash_in_the_middle_of_folding_neither_loses_nor_doubles(tmp_path: Path) -> None:
    """The folded file is in place and the files it contains are not removed yet."""
    name = left_behind(tmp_path, 7)
    content = (tmp_path / name).read_bytes()
    fold(tmp_path)
    assert not (tmp_path / name).exists()
    (tmp_path / name).write_bytes(content)
    assert counted(tmp_path) == 7
    fold(tmp_path)
    assert not (tmp_path / name).exists()
    assert counted(tmp_path) == 7


def test_readers_of_files_that_are_being_folded_see_every_count_once(tmp_path: Path) -> None:
    def die_and_be_folded() -> None:
        for _ in range(60):
            left_behind(tmp_path, 1)
            fold(tmp_path)

    folder = threading.Thread(target=die_and_be_folded)
    folder.start()
    seen = [counted(tmp_path)]
    while folder.is_alive():
        seen.append(counted(tmp_path))
    assert seen == sorted(seen)
    assert counted(tmp_path) == 60


def test_files_that_are_no_metrics_are_left_out(tmp_path: Path) -> None:
    left_behind(tmp_path, 7)
    (tmp_path / "a.cells").write_bytes(b"")
    (tmp_path / "b.cells").write_bytes(b"x" * 500)
    (tmp_path / "c.cells").write_bytes(b"PFCELLS1" + bytes(500))
    assert counted(tmp_path) == 7


def test_a_gauge_of_a_living_process_is_kept_by_folding(tmp_path: Path) -> None:
    living = Metrics(tmp_path, "alive")
    living.open()
    living.gauge(IN_FLIGHT).set(3)
    left_behind(tmp_path, 1)
    fold(tmp_path)
    assert value(read_page(living.render()), "polyforge_in_flight") == 3
    living.close()
