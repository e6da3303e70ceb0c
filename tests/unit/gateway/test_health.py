"""How deployments do, in a file that the workers of a machine share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from polyforge.gateway.health import Health
from polyforge.kernel.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def health(tmp_path: Path, clock: FakeClock) -> Iterator[Health]:
    file = Health(tmp_path / "health", 3, clock, half_life=60)
    file.open()
    yield file
    file.close()


def test_a_cooldown_is_the_longest_that_was_asked_for_and_says_why(health: Health, clock: FakeClock) -> None:
    health.cool(1, 60, "quota")
    health.cool(1, 5, "failure")
    assert (health.cooling_until(1), health.cause(1)) == (clock.now() + 60, "quota")
    health.cool(1, 90, "rate")
    assert (health.cooling_until(1), health.cause(1)) == (clock.now() + 90, "rate")
    assert (health.cooling_until(0), health.cooling_until(2)) == (0.0, 0.0)


def test_a_latency_is_a_mean_in_which_the_past_fades(health: Health, clock: FakeClock) -> None:
    assert health.latency(1, True) is None
    health.observe(1, True, 1.0)
    health.observe(1, True, 3.0)
    assert health.latency(1, True) == pytest.approx(2.0)
    clock.advance(60)
    health.observe(1, True, 8.0)
    assert health.latency(1, True) == pytest.approx((1.0 + 3.0 + 2 * 8.0) / 4)
    assert (health.latency(1, False), health.latency(0, True), health.latency(2, True)) == (None, None, None)


def test_what_nobody_has_measured_for_long_is_unknown(health: Health, clock: FakeClock) -> None:
    health.observe(0, False, 1.0)
    clock.advance(60 * 6)
    assert health.latency(0, False) == pytest.approx(1.0)
    clock.advance(60)
    assert health.latency(0, False) is None


def test_a_clock_that_was_set_back_does_no_harm(health: Health, clock: FakeClock) -> None:
    clock.advance(100_000)
    health.observe(0, False, 1.0)
    clock.advance(-90_000)
    health.observe(0, False, 3.0)
    assert health.latency(0, False) == pytest.approx(2.0)


def test_workers_see_what_each_other_found(health: Health, tmp_path: Path, clock: FakeClock) -> None:
    other = Health(tmp_path / "health", 3, clock, half_life=60)
    other.open()
    health.observe(2, True, 4.0)
    health.cool(2, 10, "rate")
    assert other.latency(2, True) == pytest.approx(4.0)
    assert (other.cooling_until(2), other.cause(2)) == (clock.now() + 10, "rate")
    other.close()


def test_before_it_is_open_everything_is_well(tmp_path: Path, clock: FakeClock) -> None:
    closed = Health(tmp_path / "health", 1, clock)
    closed.observe(0, True, 1.0)
    closed.cool(0, 9)
    assert (closed.cooling_until(0), closed.cause(0), closed.latency(0, True)) == (0.0, "failure", None)
