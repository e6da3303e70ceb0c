"""Who is served: declared and registered models from the start, and what the registry wants from then on."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from polyforge.kernel.errors import Invalid, PolyforgeError, Unavailable
from polyforge.ports.model_backend import ModelBackend
from polyforge.serving.api import OipApp
from polyforge.serving.hints import EngineHints
from polyforge.serving.lifecycle.engine import Engine, Runs
from polyforge.serving.lifecycle.keeping import MEGABYTE, Lifecycle, Limits
from polyforge.serving.lifecycle.known import KnownSignatures
from polyforge.serving.lifecycle.recent import RecentlyUsed
from polyforge.serving.lifecycle.roster import Roster, shape_of
from polyforge.serving.plan import Plan
from polyforge.serving.repository import HostedModel, Repository
from polyforge.serving.scheduler import Scheduler
from polyforge.serving.served import ServedModel, served_path, write_served
from polyforge.serving.sources import ModelSource
from tests.support.waiting import DEADLINE, eventually_async
from tests.unit.serving.backends import Adder, request_of

PROJECT = "01JCTEST0000000000000000AB"


class Folder(Adder):
    """A model whose folder says in `trouble` why it cannot be loaded."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def load(self) -> None:
        trouble = self.folder / "trouble"
        if trouble.exists():
            raise Invalid(trouble.read_text())


class House:
    """A roster over a data folder, with what it needs."""

    def __init__(self, data: Path, *declared: str, memory_bytes: int | None = None, **source: Any) -> None:
        self.data = data
        self.made: list[Folder] = []
        self.known = KnownSignatures(data / "models" / "known")
        self.repository = Repository([])
        self.scheduler = Scheduler(threads=2, max_queue=10)
        self.lifecycle = Lifecycle(
            self.scheduler, Limits(memory_bytes, parallel_loads=1), memory=lambda: 0, trim=lambda: None
        )
        self.roster = Roster(
            [ModelSource(name, self.folder(name), **source) for name in declared],
            served_path(data),
            repository=self.repository,
            lifecycle=self.lifecycle,
            recent=RecentlyUsed(data / "models" / "recent.json"),
            known=self.known,
            make=self._hosted,
            idle_seconds=None,
        )
        self.app = OipApp(
            self.repository,
            self.scheduler,
            version="test",
            max_rows=100,
            timeout=DEADLINE,
            lifecycle=self.lifecycle,
            roster=self.roster,
        )
        self.roster.list_all()

    def folder(self, name: str, trouble: str | None = None) -> Path:
        folder = self.data / name
        folder.mkdir(exist_ok=True)
        if trouble is not None:
            (folder / "trouble").write_text(trouble)
        return folder

    def serve(self, *models: ServedModel) -> None:
        write_served(served_path(self.data), models)
        self.roster.refresh()

    def served(self, name: str, version: str = "1", digest: str = "d", **more: Any) -> ServedModel:
        return ServedModel(f"{PROJECT}.{name}", version, str(self.folder(name)), digest, **more)

    def _hosted(self, source: ModelSource) -> HostedModel:
        def make() -> ModelBackend:
            self.made.append(Folder(source.folder))
            return self.made[-1]

        engine = Engine(source.name, make, Runs(), lambda signature: self.known.keep(source, signature))
        return HostedModel(source.name, engine, source.version, shape=shape_of(source), cores=2)

    def states(self) -> dict[str, str]:
        return {f"{entry.name}@{entry.version}": entry.state for entry in self.app.index(only_ready=False)}

    async def ask(self, name: str) -> None:
        model = await self.app.inference.awake(self.repository.find(name))
        assert model.signature
        await self.scheduler.infer(model, request_of(1), rows=1, within=DEADLINE, gone=never)


async def never() -> None:
    await asyncio.Event().wait()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path, "a", "b")
    house.scheduler.open()
    follower = asyncio.create_task(house.roster.follow())
    yield house
    follower.cancel()
    await house.scheduler.close()


async def until(house: House, states: dict[str, str]) -> None:
    await eventually_async(lambda: house.states() == states, f"{states}, not {house.states()}")


async def test_the_host_is_ready_once_all_are_loaded_and_stays_so(house: House) -> None:
    assert not house.app.ready
    await house.roster.begin(lambda: None)
    assert house.app.ready
    house.serve(house.served("late"))
    await until(house, {"a@1": "READY", "b@1": "READY", f"{PROJECT}.late@1": "READY"})
    house.repository.put(HostedModel("loading", Adder()))
    assert house.app.ready
    house.app.drain()
    assert not house.app.ready


async def test_what_was_registered_is_served_from_the_start(house: House) -> None:
    house.serve(house.served("r"), house.served("r", "2"), ServedModel("a", "9", "/elsewhere", "d"))
    await house.roster.begin(lambda: None)
    # A declared name is nobody else's.
    assert house.states() == {"a@1": "READY", "b@1": "READY", f"{PROJECT}.r@1": "READY", f"{PROJECT}.r@2": "READY"}


async def test_the_registry_is_followed(house: House) -> None:
    await house.roster.begin(lambda: None)
    declared = {"a@1": "READY", "b@1": "READY"}
    broken = house.served("broken")
    house.folder("broken", "it is cut off")
    house.serve(house.served("r"), broken)
    await until(house, {**declared, f"{PROJECT}.r@1": "READY", f"{PROJECT}.broken@1": "UNAVAILABLE"})
    with pytest.raises(Unavailable, match="it is cut off"):
        await house.ask(f"{PROJECT}.broken")

    house.serve(house.served("r", "2"), house.served("r"))
    await until(house, {**declared, f"{PROJECT}.r@1": "READY", f"{PROJECT}.r@2": "READY"})
    house.serve(house.served("r", "2"))
    await until(house, {**declared, f"{PROJECT}.r@2": "READY"})
    await house.ask(f"{PROJECT}.r")
    assert [backend.closed for backend in house.made if backend.folder.name == "r"] == [True, False]


async def test_another_content_takes_a_models_place_and_only_if_it_can_be_loaded(house: House) -> None:
    await house.roster.begin(lambda: None)
    name = f"{PROJECT}.r"
    house.serve(house.served("r"))
    await eventually_async(lambda: f"{name}@1" in house.states() and house.repository.find(name).ready)
    first = house.repository.find(name)
    house.serve(house.served("r", digest="e"))
    await eventually_async(lambda: house.repository.find(name) is not first and first.state == "UNAVAILABLE")
    second = house.repository.find(name)
    await house.ask(name)

    house.folder("r", "worse than before")
    house.serve(house.served("r", digest="f"))
    await eventually_async(lambda: len([each for each in house.made if each.folder.name == "r"]) == 3)
    await house.ask(name)
    assert house.repository.find(name) is second


async def test_a_wish_to_be_kept_warm_loads_nothing(house: House) -> None:
    await house.roster.begin(lambda: None)
    name = f"{PROJECT}.r"
    house.serve(house.served("r"))
    await eventually_async(lambda: f"{name}@1" in house.states() and house.repository.find(name).ready)
    house.serve(house.served("r", keep_warm=True), house.served("s"))
    await eventually_async(lambda: house.states().get(f"{PROJECT}.s@1") == "READY")
    assert len([each for each in house.made if each.folder.name == "r"]) == 1


async def test_a_file_that_cannot_be_read_changes_nothing(house: House) -> None:
    house.serve(house.served("r"))
    await house.roster.begin(lambda: None)
    path = served_path(house.data)
    path.write_bytes(b"{")
    house.roster.refresh()
    house.roster.refresh()
    await asyncio.sleep(0.05)
    assert house.states()[f"{PROJECT}.r@1"] == "READY"


async def test_a_declared_model_is_loaded_anew_while_it_answers(house: House) -> None:
    await house.roster.begin(lambda: None)
    failed: list[BaseException] = []
    stop = asyncio.Event()

    async def ask() -> None:
        while not stop.is_set():
            try:
                await house.ask("a")
            except PolyforgeError as error:
                failed.append(error)

    asking = [asyncio.create_task(ask()) for _ in range(3)]
    for _ in range(10):
        await house.roster.load("a")
    house.folder("a", "no good now")
    with pytest.raises(Invalid, match="failed to load 'a': no good now"):
        await house.roster.load("a")
    stop.set()
    await asyncio.gather(*asking)
    assert not failed
    *before, now, refused = [backend.closed for backend in house.made if backend.folder.name == "a"]
    assert (before, now, refused) == ([True] * 10, False, True)

    await house.roster.unload("a")
    with pytest.raises(Unavailable, match="unloaded"):
        await house.ask("a")
    assert not house.roster.declares("nobody")


async def test_after_a_restart_those_used_last_get_the_memory(tmp_path: Path) -> None:
    before = House(tmp_path, "a", "b", "c")
    before.scheduler.open()
    await before.roster.begin(lambda: None)
    for name in ("c", "a", "b"):
        before.repository.find(name).used = asyncio.get_running_loop().time()
        await asyncio.sleep(0.002)
    recent = RecentlyUsed(tmp_path / "models" / "recent.json")
    recent.save(tuple((model.name, "1") for model in sorted(before.repository, key=lambda model: -model.used)))
    await before.scheduler.close()

    after = House(tmp_path, "a", "b", "c", memory_bytes=2 * MEGABYTE)
    after.scheduler.open()
    await after.roster.begin(lambda: None)
    assert [backend.folder.name for backend in after.made] == ["b", "a"]
    assert after.app.ready
    # It was loaded once, so it is known what it takes.
    assert after.states() == {"a@1": "READY", "b@1": "READY", "c@1": "READY"}
    assert after.repository.find("c").signature.platform == "adder"
    assert [model.resident for model in after.repository] == [True, True, False]
    await after.ask("c")
    assert [model.resident for model in after.repository] == [False, True, True]
    await after.scheduler.close()


@pytest.mark.parametrize(
    ("hints", "said", "plan", "expected"),
    [
        (EngineHints(), {}, Plan(2, 8), Plan(2, 8)),
        (EngineHints(instances=1, batch_rows=4), {}, Plan(2, 8), Plan(1, 4)),
        (EngineHints(instances=1), {"instances": 3, "max_queue": 5}, Plan(2, 8), Plan(3, 8, max_queue=5)),
        # Rows that may not be computed together never are.
        (EngineHints(batch_rows=4), {"batch_rows": 16}, Plan(2, 1), Plan(2, 1)),
    ],
)
def test_settings_have_the_last_word_on_a_plan(
    hints: EngineHints, said: dict[str, Any], plan: Plan, expected: Plan
) -> None:
    assert shape_of(ModelSource("m", Path("/m"), hints, plan=said))(plan) == expected


def test_a_plan_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(Invalid, match=r"the plan of the model is wrong: .*instances"):
        shape_of(ModelSource("m", Path("/m"), plan={"instances": "many"}))(Plan())
