"""Routing is a pure function: the same inputs give the same attempts."""

import random
from collections import Counter

from polyforge.gateway.routing import plan
from polyforge.registry.catalog import Deployment, Model


def deployment(index: int, weight: float = 1, priority: int = 0) -> Deployment:
    return Deployment(index, "lab", f"m{index}", weight, priority, None, None, None, None)


def model(*deployments: Deployment) -> Model:
    return Model("m", "chat", deployments)


def warm(index: int) -> float:
    del index
    return 0.0


def order(of: Model, cooling: dict[int, float], most: int = 9) -> list[int]:
    found = plan(of, lambda index: cooling.get(index, 0.0), 100.0, random.Random(1).random, most)
    return [attempt.index for attempt in found.attempts]


def test_lower_priorities_come_first_and_the_next_only_after_them() -> None:
    assert order(model(deployment(0, priority=2), deployment(1, priority=0), deployment(2, priority=1)), {}) == [
        1,
        2,
        0,
    ]


def test_weights_are_shares() -> None:
    chance = random.Random(7)
    several = model(deployment(0, weight=90), deployment(1, weight=10))
    first = Counter(plan(several, warm, 0.0, chance.random, 3).attempts[0].index for _ in range(4_000))
    assert 3_480 < first[0] < 3_720


def test_cooling_deployments_are_left_out_and_the_soonest_recovery_is_told() -> None:
    several = model(deployment(0), deployment(1, priority=1))
    assert order(several, {0: 150.0}) == [1]
    assert order(several, {0: 50.0}) == [0, 1]
    nothing = plan(several, lambda index: 150.0 - index * 20, 100.0, random.random, 3)
    assert (nothing.attempts, nothing.recovers_at) == ((), 130.0)
    assert plan(model(deployment(0)), lambda _: 101.0, 100.0, random.random, 3).recovers_at == 101.0


def test_no_more_attempts_than_allowed() -> None:
    assert len(order(model(*(deployment(index) for index in range(5))), {}, most=2)) == 2
