"""What makes machines serve what the registry wants, with a host that does what tests tell it to."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest

from polyforge.database.database import Database
from polyforge.kernel.errors import Unavailable
from polyforge.registry.answering import AnsweringModel, read_answering
from polyforge.registry.artifacts.fetching import Fetcher
from polyforge.registry.artifacts.folder import ArtifactFolder
from polyforge.registry.deployments.reconciling import Reconciler
from polyforge.registry.deployments.records import HostState, Published
from polyforge.registry.deployments.saying import Sayings
from polyforge.registry.deployments.tuning import TuningFolder
from tests.integration.test_registered_models import House
from tests.support.recording import recorder

FAR = 1e12
"""A time by which everything is old."""


class FakeHost:
    """Serves what it is told to, each version as `kinds` says, by default ready."""

    def __init__(self) -> None:
        self.told: list[Published] = []
        self.kinds: dict[str, HostState] = {}
        self.down = False

    async def published(self) -> Sequence[Published]:
        return self.told

    async def publish(self, models: Sequence[Published]) -> None:
        self.told = list(models)

    async def states(self) -> Mapping[str, HostState]:
        if self.down:
            raise Unavailable("the model server is not running")
        return {each.name: self.kinds.get(each.name, HostState("ready")) for each in self.told}

    @property
    def numbers(self) -> list[int]:
        return [each.number for each in self.told]


class Machine:
    """One machine over the database of a house, with a host and files of its own."""

    def __init__(self, house: House, folder: Path, artifacts: ArtifactFolder | None = None) -> None:
        self.house = house
        self.folder = folder
        self.host = FakeHost()
        self.artifacts = artifacts or ArtifactFolder(folder / "artifacts")
        fetcher = Fetcher(self.artifacts, house.sources, house.settings, house.clock)
        self.sayings = Sayings(house.database, house.clock, recorder(house.clock), folder / "machine")
        self.path = folder / "answering.json"
        tunings = TuningFolder(folder / "tuning")
        self.reconciler = Reconciler(house.database, house.clock, fetcher, self.host, tunings, self.sayings, self.path)

    async def settle(self, rounds: int = 3) -> None:
        """Some rounds, to the end of what they fetch."""
        for _ in range(rounds):
            await self.reconciler.round()
            await asyncio.gather(*self.reconciler._fetches.values())

    @property
    def answering(self) -> tuple[AnsweringModel, ...]:
        return read_answering(self.path)

    @property
    def default(self) -> int | None:
        return self.answering[0].default


@pytest.fixture
async def house(database: Database, tmp_path: Path) -> AsyncIterator[House]:
    made = House(database, tmp_path)
    yield made
    await made.client.aclose()


@pytest.fixture
def machine(house: House, tmp_path: Path) -> Machine:
    """The one on which versions are made."""
    return Machine(house, tmp_path / "first", house.folder)


async def states(house: House, name: str = "m") -> dict[int, tuple[str, list[str]]]:
    found = (await house("GET", f"/{name}/versions", 200))["data"]
    return {each["number"]: (each["state"], [place["reason"] for place in each["deployments"]]) for each in found}


async def test_a_version_goes_through_its_states_and_names_move_when_it_is_ready(
    house: House, machine: Machine
) -> None:
    await house.add("m", "one", promote_to="production")
    assert (await states(house))[1] == ("pending", [])
    await machine.settle()
    assert (await states(house))[1] == ("ready", [""])
    await house.add("m", "two", promote_to="production")
    second = machine.answering[0].project_id + ".m@2"
    machine.host.kinds[second] = HostState("loading")
    await machine.settle()
    assert (await states(house))[2] == ("loading", [""])
    assert (machine.default, machine.host.numbers) == (1, [1, 2])
    machine.host.kinds[second] = HostState("failed", "out of memory")
    await machine.settle()
    assert (await states(house))[2] == ("failed", ["out of memory"])
    assert machine.default == 1
    del machine.host.kinds[second]
    await machine.settle()
    assert (machine.default, machine.host.numbers) == (2, [1, 2])
    assert (await states(house)) == {1: ("idle", []), 2: ("ready", [""])}
    house.clock.advance(6)
    await machine.settle()
    assert machine.host.numbers == [2]
    told = await house.told()
    assert [each for each in told if each.startswith("model_version.")] == [
        "model_version.added",
        "model_version.ready",
        "model_version.added",
        "model_version.failed",
        "model_version.ready",
    ]


async def test_another_machine_fetches_the_same_and_says_how_it_does(
    house: House, machine: Machine, tmp_path: Path
) -> None:
    await house.add("m", "one")
    other = Machine(house, tmp_path / "second")
    await machine.settle()
    await other.settle()
    assert other.host.told[0].digest == machine.host.told[0].digest
    assert other.host.told[0].folder != machine.host.told[0].folder
    assert (await states(house))[1] == ("ready", ["", ""])
    other.host.kinds[other.host.told[0].name] = HostState("failed", "no such device")
    await other.settle()
    assert (await states(house))[1][0] == "failed"
    house.clock.advance(200)
    await machine.sayings.say([])
    assert (await states(house))[1] == ("pending", []), "machines that say nothing are gone"


async def test_content_that_changed_at_its_source_is_not_served_as_the_version(
    house: House, machine: Machine, tmp_path: Path
) -> None:
    await house.add("m", "one")
    house.source("something else")
    other = Machine(house, tmp_path / "second")
    await other.settle()
    state, reasons = (await states(house))[1]
    assert (state, other.host.told) == ("failed", [])
    assert "other content by now" in reasons[0]
    house.source("one")
    house.clock.advance(61)
    await other.settle()
    assert (await states(house))[1][0] == "ready"
    await machine.settle()


async def test_while_the_host_is_away_everything_stays_as_it_is(house: House, machine: Machine) -> None:
    await house.add("m", "one", promote_to="production")
    await machine.settle()
    machine.host.down = True
    await house.add("m", "two", promote_to="production")
    await machine.settle()
    assert machine.default == 1
    assert (await states(house))[2] == ("loading", ["the model server is not running"])
    machine.host.down = False
    await machine.settle()
    assert machine.default == 2


async def test_a_process_that_comes_after_goes_on_from_there(house: House, machine: Machine, tmp_path: Path) -> None:
    await house.add("m", "one", promote_to="production")
    await machine.settle()
    name = machine.sayings.machine
    await house.add("m", "two", promote_to="production")
    after = Machine(house, tmp_path / "first", house.folder)
    after.host.told = machine.host.told
    after.host.kinds[machine.host.told[0].name.replace("@1", "@2")] = HostState("loading")
    await after.settle()
    assert (after.default, after.host.numbers, after.sayings.machine) == (1, [1, 2], name)
    after.host.kinds.clear()
    await after.settle()
    house.clock.advance(6)
    await after.settle()
    assert (after.default, after.host.numbers) == (2, [2])


async def test_what_is_served_is_kept_and_what_was_removed_is_let_go(house: House, machine: Machine) -> None:
    await house.add("m", "one")
    digest = (await house("GET", "/m/versions/1", 200))["artifact"]
    await machine.settle()
    await house("DELETE", "/m", 204)
    await machine.settle()
    assert (machine.answering, machine.host.numbers) == ((), [1])
    assert house.folder.unpinned(FAR) == []
    house.clock.advance(6)
    await machine.settle()
    assert machine.host.told == []
    assert house.folder.unpinned(FAR) == [digest]


async def test_an_artifact_that_is_broken_here_stops_no_other_model(house: House, machine: Machine) -> None:
    await house.add("bad", "one")
    await house.add("good", "two")
    digest = (await house("GET", "/bad/versions/1", 200))["artifact"]
    home = house.folder.get(digest).folder.parent
    (home / "manifest.json").write_text('{"files": [], "format": 1}')
    await machine.settle()
    assert (await states(house, "good"))[1][0] == "ready"
    assert (await states(house, "bad"))[1][0] == "failed"
    shutil.rmtree(home)
    house.clock.advance(61)
    house.source("one")
    await machine.settle()
    assert (await states(house, "bad"))[1][0] == "ready"


async def test_what_was_measured_is_kept_with_the_version_for_machines_of_the_kind(
    house: House, machine: Machine, tmp_path: Path
) -> None:
    await house.add("m", "one")
    digest = (await house("GET", "/m/versions/1", 200))["artifact"]
    folder = machine.folder / "tuning"
    folder.mkdir(parents=True)
    (folder / f"{digest}-two-cores.json").write_text('{"instances": 2, "batch_rows": 4}')
    (folder / f"{digest}-broken.json").write_text("{")
    await machine.settle()
    measured = {"two-cores": {"instances": 2, "batch_rows": 4}}
    assert (await house("GET", "/m/versions/1", 200))["tuning"] == measured
    other = Machine(house, tmp_path / "second")
    written = tmp_path / "second" / "tuning" / f"{digest}-two-cores.json"
    await other.settle()
    assert json.loads(written.read_text()) == measured["two-cores"]
    (written.parent / f"{digest}-four-cores.json").write_text('{"instances": 4}')
    await other.settle()
    both = {**measured, "four-cores": {"instances": 4}}
    assert (await house("GET", "/m/versions/1", 200))["tuning"] == both
    await machine.settle()
    assert (folder / f"{digest}-four-cores.json").exists()


async def test_two_machines_of_a_kind_that_measured_apart_settle_on_one_number(
    house: House, machine: Machine, tmp_path: Path
) -> None:
    await house.add("m", "one")
    digest = (await house("GET", "/m/versions/1", 200))["artifact"]
    other = Machine(house, tmp_path / "second")
    for each, rows in ((machine, 4), (other, 8)):
        (each.folder / "tuning").mkdir(parents=True)
        (each.folder / "tuning" / f"{digest}-two-cores.json").write_text(json.dumps({"batch_rows": rows}))
    for _ in range(2):
        await machine.settle()
        await other.settle()
    settled = await house.generation()
    for _ in range(2):
        await machine.settle()
        await other.settle()
    assert await house.generation() == settled
    (machine.folder / "tuning" / f"{digest}-two-cores.json").write_text(json.dumps({"batch_rows": 16}))
    await machine.settle()
    assert (await house("GET", "/m/versions/1", 200))["tuning"] == {"two-cores": {"batch_rows": 16}}


async def test_a_download_that_breaks_as_nobody_foresaw_is_told_and_rests(
    house: House, machine: Machine, tmp_path: Path
) -> None:
    await house.add("m", "one")
    other = Machine(house, tmp_path / "second")
    asked = 0

    async def broken(*_: object) -> object:
        nonlocal asked
        asked += 1
        raise RuntimeError("nobody foresaw it")

    other.reconciler._fetcher.fetch = broken  # pyright: ignore[reportAttributeAccessIssue]
    await other.settle(rounds=5)
    assert asked == 1
    assert (await states(house))[1] == ("failed", ["an unexpected error; the log has it"])
    await machine.settle()
