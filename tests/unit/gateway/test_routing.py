"""Routing is a pure function: the same inputs give the same attempts."""

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyforge.gateway.routing import NO_NEEDS, Needs, Plan, Wish, larger, misfit, needs_of, plan
from polyforge.kernel.tasks import InferenceRequest
from polyforge.kernel.usage import Usage
from polyforge.registry.catalog import Deployment, Model
from polyforge.registry.settings import Strategy
from polyforge.registry.tariffs import Tariff

NOW = 100.0


class Doing:
    """How deployments do, as a test says."""

    def __init__(self, cooling: dict[int, float] | None = None, latencies: dict[int, float] | None = None) -> None:
        self._cooling = cooling or {}
        self._latencies = latencies or {}

    def cooling_until(self, deployment: int) -> float:
        return self._cooling.get(deployment, 0.0)

    def latency(self, deployment: int, stream: bool) -> float | None:
        del stream
        return self._latencies.get(deployment)


WELL = Doing()


def deployment(index: int, weight: float = 1, priority: int = 0, provider: str = "lab", **more: Any) -> Deployment:
    fields: dict[str, Any] = {"context": None, "output": None, "cost": None, "price": None, **more}
    return Deployment(index, provider, f"m{index}", weight, priority, **fields)


def model(*deployments: Deployment, strategy: Strategy = "weighted", exploration: float = 0.0) -> Model:
    simple = len(deployments) == 1 and deployments[0].takes_all
    return Model("m", "chat", deployments, strategy=strategy, exploration=exploration, simple=simple)


def planned(of: Model, needs: Needs = NO_NEEDS, doing: Doing = WELL, most: int = 9, seed: int = 1) -> Plan:
    return plan(of, needs, doing, NOW, random.Random(seed).random, most)


def order(of: Model, needs: Needs = NO_NEEDS, doing: Doing = WELL, most: int = 9) -> list[int]:
    return [attempt.index for attempt in planned(of, needs, doing, most).attempts]


def first_share(of: Model, index: int, doing: Doing = WELL, needs: Needs = NO_NEEDS, times: int = 4_000) -> float:
    chance = random.Random(7)
    first = Counter(plan(of, needs, doing, NOW, chance.random, 3).attempts[0].index for _ in range(times))
    return first[index] / times


def test_lower_priorities_come_first_and_the_next_only_after_them() -> None:
    several = model(deployment(0, priority=2), deployment(1, priority=0), deployment(2, priority=1))
    assert order(several) == [1, 2, 0]


def test_weights_are_shares() -> None:
    several = model(deployment(0, weight=90), deployment(1, weight=10))
    assert first_share(several, 0) == pytest.approx(0.9, abs=0.03)


def test_cooling_deployments_are_left_out_and_the_soonest_recovery_is_told() -> None:
    several = model(deployment(0), deployment(1, priority=1))
    assert order(several, doing=Doing({0: 150.0})) == [1]
    assert order(several, doing=Doing({0: 50.0})) == [0, 1]
    nothing = planned(several, doing=Doing({0: 150.0, 1: 130.0}))
    assert (nothing.attempts, nothing.recovers_at) == ((), 130.0)
    assert [place.index for place in nothing.waiting] == [0, 1]
    single = planned(model(deployment(0)), doing=Doing({0: 101.0}))
    assert (single.attempts, single.recovers_at) == ((), 101.0)


def test_no_more_attempts_than_allowed_and_the_others_are_told() -> None:
    found = planned(model(*(deployment(index) for index in range(5))), most=2)
    assert len(found.attempts) == 2
    assert {place.index for place in found.attempts + found.beyond} == set(range(5))


def test_the_quickest_is_first_and_whom_nobody_knows_before_it() -> None:
    three = model(*(deployment(index) for index in range(3)), strategy="least_latency")
    assert order(three, doing=Doing(latencies={0: 0.5, 1: 0.1, 2: 0.3})) == [1, 2, 0]
    assert order(three, doing=Doing(latencies={0: 0.5, 1: 0.1})) == [2, 1, 0]
    assert first_share(three, 0) == pytest.approx(1 / 3, abs=0.03)


@pytest.mark.parametrize("exploration", [0.0, 0.1, 0.5])
def test_a_share_of_requests_explores(exploration: float) -> None:
    two = model(deployment(0, weight=1), deployment(1, weight=3), strategy="least_latency", exploration=exploration)
    share = first_share(two, 1, Doing(latencies={0: 0.1, 1: 5.0}))
    assert share == pytest.approx(exploration * 0.75, abs=0.03)


def test_the_cheapest_for_the_tokens_of_the_request_is_first_and_of_unknown_cost_last() -> None:
    three = model(
        deployment(0),
        deployment(1, cost=Tariff(input=1_000_000, output=10_000_000)),
        deployment(2, cost=Tariff(input=2_000_000, output=1_000_000)),
        strategy="least_cost",
    )
    assert order(three, Needs(expected=Usage(input=100, output=100))) == [2, 1, 0]
    assert order(three, Needs(expected=Usage(input=10_000, output=1))) == [1, 2, 0]


def test_equally_dear_deployments_share_by_weight() -> None:
    cost = Tariff(input=1)
    two = model(deployment(0, weight=3, cost=cost), deployment(1, weight=1, cost=cost), strategy="least_cost")
    assert first_share(two, 0) == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize(
    ("needs", "place", "why"),
    [
        (Needs(images=True), {"vision": False}, "images"),
        (Needs(images=True), {"vision": None}, None),
        (Needs(tools=True), {"tools": False}, "tools"),
        (Needs(structured=True), {"structured_output": False}, "structured_output"),
        (Needs(least_input=1_001), {"context": 1_000}, "context"),
        (Needs(least_input=1_000), {"context": 1_000}, None),
        (Needs(wish=Wish(region="eu")), {"region": "us"}, "region"),
        (Needs(wish=Wish(region="eu")), {}, "region"),
        (Needs(wish=Wish(hardware="gpu")), {"hardware": "gpu"}, None),
        (Needs(wish=Wish(tags=frozenset({"a", "b"}))), {"tags": frozenset({"a"})}, "tag"),
        (Needs(wish=Wish(tags=frozenset({"a"}))), {"tags": frozenset({"a", "b"})}, None),
        (Needs(wish=Wish(provider="lab")), {"provider": "lab"}, None),
        (Needs(wish=Wish(provider="lab")), {"provider": "other"}, "provider"),
    ],
)
def test_what_fits(needs: Needs, place: dict[str, Any], why: str | None) -> None:
    assert misfit(deployment(0, **place), needs) == why
    both = model(deployment(0, **place), deployment(1, priority=1, **_everything(needs)))
    assert order(both, needs) == ([1] if why else [0, 1])


def _everything(needs: Needs) -> dict[str, Any]:
    return {"region": needs.wish.region, "hardware": needs.wish.hardware, "tags": needs.wish.tags}


def test_a_single_deployment_that_cannot_is_not_tried() -> None:
    only = model(deployment(0, vision=False))
    assert planned(only, Needs(images=True)) == Plan(())
    assert order(only, Needs(tools=True)) == [0]


def test_an_estimate_of_tokens_chooses_but_does_not_refuse() -> None:
    three = model(deployment(0, context=10), deployment(1, context=30), deployment(2, context=30, vision=False))
    assert order(three, Needs(least_input=20, images=True)) == [1]
    assert order(three, Needs(least_input=100, images=True)) == [1]
    assert sorted(order(three, Needs(least_input=100))) == [1, 2]


def test_larger_ones_are_those_that_declare_more_context_even_beyond_the_attempts() -> None:
    places = [deployment(index, priority=index, context=context) for index, context in enumerate((8, None, 4, 16))]
    found = planned(model(*places), most=2)
    assert [place.index for place in larger(found, places[0])] == [3]
    assert [place.index for place in larger(found, places[1])] == [0, 2, 3]


def test_needs_are_read_off_the_request() -> None:
    request = InferenceRequest("chat", "openai", "m", b"x" * 600, stream=True, output_limit=7, choices=2, tools=True)
    needs = needs_of(request, None)
    assert (needs.least_input, needs.images, needs.tools, needs.structured, needs.stream) == (
        100,
        False,
        True,
        False,
        True,
    )
    assert needs.expected == Usage(input=150, output=14)
    request.images = 1
    assert needs_of(request, None).least_input == 0


places = st.builds(
    lambda weight, priority, vision, tools, context, region, tags, cost: {
        "weight": weight,
        "priority": priority,
        "vision": vision,
        "tools": tools,
        "context": context,
        "region": region,
        "tags": frozenset(tags),
        "cost": cost,
    },
    st.floats(0.001, 1000),
    st.integers(0, 3),
    st.none() | st.booleans(),
    st.none() | st.booleans(),
    st.none() | st.integers(1, 1000),
    st.sampled_from([None, "eu", "us"]),
    st.sets(st.sampled_from("abc")),
    st.none() | st.builds(Tariff, input=st.integers(0, 10**6), output=st.integers(0, 10**6)),
)
wishes = st.builds(Wish, region=st.sampled_from([None, "eu"]), tags=st.frozensets(st.sampled_from("ab"), max_size=1))
needs = st.builds(
    Needs, st.integers(0, 2000), st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.just(Usage(1)), wishes
)
strategies = st.sampled_from(["weighted", "least_latency", "least_cost"])
doings = st.builds(
    Doing,
    st.dictionaries(st.integers(0, 5), st.floats(0, 200)),
    st.dictionaries(st.integers(0, 5), st.floats(0, 60)),
)


@given(st.lists(places, min_size=1, max_size=6), needs, strategies, doings, st.integers(1, 6), st.integers())
def test_whatever_is_planned_fits_is_ready_and_goes_by_priority(
    settings: list[dict[str, Any]], needs: Needs, strategy: Strategy, doing: Doing, most: int, seed: int
) -> None:
    of = model(*(deployment(index, **each) for index, each in enumerate(settings)), strategy=strategy, exploration=0.2)
    found = planned(of, needs, doing, most, seed)
    everything = found.attempts + found.beyond
    assert len(found.attempts) <= most
    assert len({place.index for place in everything}) == len(everything)
    assert [place.priority for place in everything] == sorted(place.priority for place in everything)
    assert all(doing.cooling_until(place.index) <= NOW for place in everything)
    assert all(misfit(place, needs) in (None, "context") for place in everything + found.waiting)
    fitting = [place for place in of.deployments if misfit(place, needs) is None]
    if fitting:
        ready = {place.index for place in fitting if doing.cooling_until(place.index) <= NOW}
        assert {place.index for place in everything} == ready
        assert bool(found.waiting) == (not ready)


@given(st.lists(places, min_size=1, max_size=6), needs, strategies, doings, st.integers())
def test_the_same_inputs_give_the_same_plan(
    settings: list[dict[str, Any]], needs: Needs, strategy: Strategy, doing: Doing, seed: int
) -> None:
    of = model(*(deployment(index, **each) for index, each in enumerate(settings)), strategy=strategy, exploration=0.2)
    assert planned(of, needs, doing, 3, seed) == planned(of, needs, doing, 3, seed)
