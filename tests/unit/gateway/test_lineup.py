"""Lineups that are swapped while requests run."""

from pathlib import Path
from typing import Any, cast

import pytest

from polyforge.gateway.health import Health
from polyforge.gateway.lineup import Lineup, Lineups
from polyforge.gateway.service import Gateway
from polyforge.kernel.clock import FakeClock
from polyforge.ports.provider import Provider
from polyforge.ports.secret_source import SecretSource
from polyforge.registry.catalog import Catalog, Deployment, Model
from tests.support.waiting import eventually_async

SECRETS = cast(SecretSource, None)
"""No provider here asks for one."""


class Watched:
    """A provider that says when it was opened and closed."""

    def __init__(self, broken: bool = False) -> None:
        self.open_ = False
        self.closed = False
        self._broken = broken

    async def open(self, secrets: SecretSource) -> None:
        if self._broken:
            raise OSError("no file descriptors left")
        self.open_ = True

    async def close(self) -> None:
        self.closed = True


class Stage:
    """Lineups, each with one deployment at one provider, that share a folder as the workers of a machine do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.prepared: list[Lineup] = []
        self.lineups: Lineups

    def lineup(self, name: str, provider: Watched) -> tuple[Lineup, Health]:
        place: dict[str, Any] = {"weight": 1.0, "priority": 0, "context": None, "output": None, "cost": None}
        deployment = Deployment(index=0, provider="lab", model=name, price=None, **place)
        health = Health(self.folder / f"health-{name}", 1, self.clock)
        catalog = Catalog({name: Model(name, "chat", (deployment,))})
        providers = cast(dict[str, Provider], {"lab": provider})
        return Lineup(catalog, providers, health, cast(Gateway, None)), health

    async def prepare(self, lineup: Lineup) -> None:
        self.prepared.append(lineup)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def test_a_lineup_is_closed_when_its_last_request_has_ended(stage: Stage) -> None:
    before, after = Watched(), Watched()
    first, _ = stage.lineup("a", before)
    second, _ = stage.lineup("b", after)
    lineups = Lineups(first, SECRETS, stage.prepare)
    await lineups.open()
    first.calls += 2
    await lineups.swap(second)
    assert (lineups.current, stage.prepared, after.open_) == (second, [second], True)
    first.calls -= 1
    second.calls += 1
    assert not before.closed
    first.calls -= 1
    await eventually_async(lambda: before.closed, "the end of the first")
    assert not after.closed
    await lineups.close()
    assert after.closed


async def test_a_lineup_that_cannot_be_opened_changes_nothing(stage: Stage) -> None:
    good, bad = Watched(), Watched(broken=True)
    first, _ = stage.lineup("a", good)
    second, _ = stage.lineup("b", bad)
    lineups = Lineups(first, SECRETS, stage.prepare)
    await lineups.open()
    with pytest.raises(OSError, match="descriptors"):
        await lineups.swap(second)
    assert lineups.current is first
    assert not good.closed
    assert bad.closed
    await lineups.close()


async def test_closing_waits_for_nobody(stage: Stage) -> None:
    watched = [Watched() for _ in range(3)]
    first, second, third = (stage.lineup(name, each)[0] for name, each in zip("abc", watched, strict=True))
    lineups = Lineups(first, SECRETS, stage.prepare)
    await lineups.open()
    for lineup in (second, third):
        lineups.current.calls += 1
        await lineups.swap(lineup)
    await lineups.close()
    assert all(each.closed for each in watched)


async def test_deployments_of_different_lineups_with_the_same_number_do_not_meet(stage: Stage) -> None:
    first, health = stage.lineup("a", Watched())
    second, _ = stage.lineup("b", Watched())
    lineups = Lineups(first, SECRETS, stage.prepare)
    await lineups.open()
    health.cool(0, 60)
    assert first.cooling(stage.clock.now()) == {("lab", "a")}
    await lineups.swap(second)
    assert second.cooling(stage.clock.now()) == set()
    again, _ = stage.lineup("a", Watched())
    await again.open(SECRETS)
    assert again.cooling(stage.clock.now()) == {("lab", "a")}
    await again.close()
    await lineups.close()
