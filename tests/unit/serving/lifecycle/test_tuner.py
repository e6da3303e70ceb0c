"""Measuring models while nobody asks: what is found is used at once and after a restart, and requests come first."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from polyforge.kernel.errors import Cancelled
from polyforge.ports.model_backend import ModelBackend
from polyforge.serving.hints import EngineHints
from polyforge.serving.lifecycle import tuner
from polyforge.serving.lifecycle.engine import Engine, Runs
from polyforge.serving.lifecycle.tuner import Tuner, machine_is_busy
from polyforge.serving.lifecycle.tunings import Tunings, machine_kind
from polyforge.serving.plan import Plan
from polyforge.serving.repository import HostedModel, Repository
from polyforge.serving.scheduler import Scheduler
from polyforge.serving.sources import ModelSource
from tests.support.waiting import DEADLINE, eventually_async
from tests.unit.serving.backends import Adder

FOUND = Plan(instances=1, batch_rows=4, batch_bytes=99)
CORES = 2
MACHINE = "some-machine-2"


class House:
    """Two models with sources, one without, and a tuner that measures as `measure` says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "tuning"
        self.tunings = Tunings(self.folder, MACHINE)
        self.scheduler = Scheduler(threads=CORES, max_queue=10)
        self.runs = Runs()
        self.busy = False
        self.measured: list[ModelBackend] = []
        self.measure: Callable[[Callable[[], bool]], Plan] = lambda cancelled: FOUND
        self.sources: dict[str, ModelSource] = {}
        for name in ("a", "b"):
            (folder / name).mkdir(exist_ok=True)
            (folder / name / "model.onnx").write_text(name)
            self.sources[name] = ModelSource(name, folder / name)
        self.repository = Repository([self.hosted("a"), self.hosted("b"), HostedModel("of-a-repository", Adder())])
        self.tuner = Tuner(
            lambda: self.repository,
            lambda model: self.sources.get(model.name),
            self.tunings,
            self.scheduler,
            self.runs,
            self._measure,
            lambda: self.busy,
        )

    def hosted(self, name: str) -> HostedModel:
        shape = self.tunings.shape_of(self.sources[name])
        return HostedModel(name, Engine(name, Adder, self.runs), shape=shape, cores=CORES)

    def _measure(self, backend: ModelBackend, cancelled: Callable[[], bool]) -> Plan:
        self.measured.append(backend)
        return self.measure(cancelled)

    def files(self) -> int:
        return len(list(self.folder.glob("*.json")))


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr(tuner, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(tuner, "WATCH_SECONDS", 0.001)
    house = House(tmp_path)
    house.scheduler.open()
    for model in house.repository:
        await house.scheduler.load(model)
    running = asyncio.create_task(house.tuner.run())
    yield house
    running.cancel()
    await house.scheduler.close()


async def test_what_was_measured_is_used_at_once_and_after_a_restart(house: House) -> None:
    await eventually_async(lambda: house.files() == 2)
    a = house.repository.find("a")
    await eventually_async(lambda: a.plan.instances == FOUND.instances)
    assert (a.plan.batch_rows, a.plan.batch_bytes) == (FOUND.batch_rows, FOUND.batch_bytes)
    again = house.hosted("a")
    again.load()
    assert again.plan == a.plan
    house.repository.put(again)
    await asyncio.sleep(0.05)
    assert len(house.measured) == 2
    assert house.repository.find("of-a-repository").plan.batch_rows == 8


async def test_a_machine_that_others_keep_busy_is_not_measured(house: House) -> None:
    house.busy = True
    measured = len(house.measured)
    await asyncio.sleep(0.05)
    assert len(house.measured) <= measured + 1
    house.busy = False
    await eventually_async(lambda: house.files() == 2)


async def test_requests_come_first(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    started = threading.Event()
    attempts: list[bool] = []

    def until_told(cancelled: Callable[[], bool]) -> Plan:
        started.set()
        while not cancelled():
            pass
        attempts.append(True)
        raise Cancelled("somebody asked")

    house.measure = until_told
    assert await asyncio.to_thread(started.wait, DEADLINE)
    house.repository.find("b").used = asyncio.get_running_loop().time()
    await eventually_async(lambda: attempts)
    await asyncio.sleep(0.05)
    # Nobody knows how long it will be quiet now.
    assert len(attempts) == 1
    assert house.files() == 0
    house.measure = lambda cancelled: FOUND
    monkeypatch.setattr(tuner, "IDLE_SECONDS", 0.0)
    await eventually_async(lambda: house.files() == 2)


async def test_a_model_may_go_while_it_is_measured(house: House) -> None:
    started = threading.Event()

    def until_told(cancelled: Callable[[], bool]) -> Plan:
        started.set()
        while not cancelled():
            pass
        raise Cancelled("it has to go")

    house.measure = until_told
    assert await asyncio.to_thread(started.wait, DEADLINE)
    model = next(model for model in house.repository if model.backend is house.measured[0])
    model.state = "UNLOADING"
    async with asyncio.timeout(DEADLINE):
        await house.scheduler.unload(model)


async def test_a_model_that_cannot_be_measured_stays_as_it_is(house: House) -> None:
    def fail(cancelled: Callable[[], bool]) -> Plan:
        raise ValueError("no")

    house.measure = fail
    await eventually_async(lambda: len(house.measured) == 2)
    await asyncio.sleep(0.05)
    assert len(house.measured) == 2
    assert house.files() == 0
    assert house.repository.find("a").plan.batch_rows == 8


def test_another_content_other_hints_or_another_machine_is_measured_anew(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.onnx").write_text("one")
    source = ModelSource("m", tmp_path / "m")
    tunings = Tunings(tmp_path / "tuning", MACHINE)
    tunings.keep(source, FOUND)
    assert tunings.find(source) == FOUND
    # How many instances were asked for says nothing about how many are best.
    assert tunings.find(msgspec.structs.replace(source, hints=EngineHints(instances=3))) == FOUND
    assert tunings.find(msgspec.structs.replace(source, hints=EngineHints(threads=3))) is None
    assert Tunings(tmp_path / "tuning", "other").find(source) is None
    (tmp_path / "m" / "model.onnx").write_text("another")
    assert tunings.find(source) is None
    registered = msgspec.structs.replace(source, digest="d" * 64)
    tunings.keep(registered, FOUND)
    assert (tmp_path / "tuning" / f"{'d' * 64}-{MACHINE}.json").is_file()


def test_settings_win_over_what_was_measured(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    source = ModelSource("m", tmp_path / "m", EngineHints(instances=2))
    tunings = Tunings(tmp_path / "tuning", MACHINE)
    tunings.keep(source, FOUND)
    assert tunings.shape_of(source)(Plan(batch_rows=8)) == Plan(instances=2, batch_rows=4, batch_bytes=99)


def test_a_damaged_file_is_as_none(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    source = ModelSource("m", tmp_path / "m", digest="d")
    tunings = Tunings(tmp_path / "tuning", MACHINE)
    tunings.keep(source, FOUND)
    (tmp_path / "tuning" / f"d-{MACHINE}.json").write_text("{")
    assert tunings.find(source) is None


def test_a_kind_of_machine_makes_a_good_file_name() -> None:
    assert machine_kind(4).endswith("-4")
    assert machine_kind(4).replace("-", "").isalnum()


@pytest.mark.parametrize(("load", "busy"), [(0.9, False), (1.1, True)])
def test_a_machine_is_busy_from_half_a_core_of_each_on(
    monkeypatch: pytest.MonkeyPatch, load: float, busy: bool
) -> None:
    monkeypatch.setattr(tuner.os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(tuner.os, "cpu_count", lambda: 2)
    assert machine_is_busy() is busy
