"""Lineups that are swapped while requests run."""

from pathlib import Path
from typing import Any, cast

import pytest

from polyforge.gateway.health import Health
from polyforge.gateway.lineup import Lineup, Lineups
from polyforge.gateway.service import Gateway
from polyforge.guardrails.rules import Rulebook
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
        return self.over(name, [name], provider)

    def over(self, file: str, models: list[str], provider: Watched, digest: bytes = b"first") -> tuple[Lineup, Health]:
        """A lineup of these models, each at one deployment of the provider, whose settings have that digest."""
        health = Health(self.folder / f"health-{file}", len(models), self.clock)
        catalog = Catalog({name: _model(number, name) for number, name in enumerate(models)})
        providers = cast(dict[str, Provider], {"lab": provider})
        return Lineup(catalog, providers, {"lab": digest}, health, Rulebook(()), cast(Gateway, None)), health

    async def prepare(self, lineup: Lineup) -> None:
        self.prepared.append(lineup)


def _model(number: int, name: str) -> Model:
    place: dict[str, Any] = {"weight": 1.0, "priority": 0, "context": None, "output": None, "cost": None}
    return Model(name, "chat", (Deployment(index=number, provider="lab", model=name, price=None, **place),))


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


async def test_what_cools_down_goes_on_doing_so_where_it_is_the_same(stage: Stage) -> None:
    first, before = stage.over("first", ["a", "b", "c"], Watched())
    second, after = stage.over("second", ["new", "c", "a"], Watched())
    lineups = Lineups(first, SECRETS, stage.prepare)
    await lineups.open()
    before.cool(0, 60)
    before.cool(1, 60)
    await lineups.swap(second)
    assert second.cooling(stage.clock.now()) == {("lab", "a")}
    assert after.cooling_until(2) == stage.clock.now() + 60
    stage.clock.advance(61)
    assert second.cooling(stage.clock.now()) == set()
    await lineups.close()


async def test_other_settings_of_a_provider_begin_anew(stage: Stage) -> None:
    first, before = stage.over("first", ["a"], Watched())
    second, _ = stage.over("second", ["a"], Watched(), digest=b"with another key")
    lineups = Lineups(first, SECRETS, stage.prepare)
    await lineups.open()
    before.cool(0, 60)
    await lineups.swap(second)
    assert second.cooling(stage.clock.now()) == set()
    await lineups.close()


async def test_a_worker_that_swaps_later_shortens_no_cooldown(stage: Stage) -> None:
    early, late = (Lineups(stage.over("first", ["a"], Watched())[0], SECRETS, stage.prepare) for _ in range(2))
    await early.open()
    await late.open()
    late_health = stage.over("first", ["a"], Watched())[1]
    late_health.open()
    late_health.cool(0, 30)
    second, after = stage.over("second", ["a"], Watched())
    await early.swap(second)
    after.cool(0, 60)
    await late.swap(stage.over("second", ["a"], Watched())[0])
    assert after.cooling_until(0) == stage.clock.now() + 60
    late_health.close()
    await early.close()
    await late.close()
