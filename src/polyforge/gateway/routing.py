"""Routing, a pure function: from a model, what a request needs and how deployments do, to the attempts, in order."""

import math
from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol

import msgspec

from polyforge.kernel.tasks import InferenceRequest
from polyforge.kernel.usage import Usage
from polyforge.registry.catalog import Deployment, Model
from polyforge.registry.settings import Hardware, Strategy

MOST_BYTES_PER_TOKEN: Final = 6
"""More than hardly any prompt has, so that one that seems too long is too long."""
EXPECTED_BYTES_PER_TOKEN: Final = 4
EXPECTED_OUTPUT: Final = 500
"""Output tokens where the caller sets no limit, to compare what deployments would cost."""

Misfit = Literal["provider", "region", "hardware", "tag", "images", "tools", "structured_output", "context"]
"""What stands between a request and a deployment."""
Random = Callable[[], float]
"""Uniform in [0, 1)."""


class Wish(msgspec.Struct, frozen=True, gc=False):
    """What a caller wants of the deployment that answers; None and empty: whatever the model says."""

    provider: str | None = None
    region: str | None = None
    hardware: Hardware | None = None
    tags: frozenset[str] = frozenset()
    strategy: Strategy | None = None


NO_WISH: Final = Wish()


class Needs(msgspec.Struct, frozen=True, gc=False):
    """What a request asks of a deployment."""

    least_input: int = 0
    """Tokens that the prompt surely has."""
    images: bool = False
    tools: bool = False
    structured: bool = False
    stream: bool = False
    expected: Usage = Usage()
    """What it will probably use."""
    wish: Wish = NO_WISH


NO_NEEDS: Final = Needs()


class Standing(Protocol):
    """How deployments do."""

    def cooling_until(self, deployment: int, /) -> float:
        """When it may be tried again, in wall time."""
        ...

    def latency(self, deployment: int, stream: bool, /) -> float | None:
        """Seconds to the first token of a stream, or to a whole answer, lately; None: not known."""
        ...


class Plan(msgspec.Struct, frozen=True, gc=False):
    """Where to try, in order. When nothing can be tried, `waiting` would fit and cool down, or nothing fits at all."""

    attempts: tuple[Deployment, ...]
    beyond: tuple[Deployment, ...] = ()
    """What would come after the most attempts that one request has."""
    waiting: tuple[Deployment, ...] = ()
    recovers_at: float = 0.0
    """When the first of those may be tried again, in wall time."""


def needs_of(request: InferenceRequest, wish: Wish | None) -> Needs:
    """What can be told of a request without reading all of it."""
    size = len(request.body) - request.binary
    expected = request.output_limit or EXPECTED_OUTPUT
    return Needs(
        # The bytes of images and files tell nothing of tokens.
        0 if request.images else size // MOST_BYTES_PER_TOKEN,
        request.images > 0,
        request.tools,
        request.structured,
        request.stream,
        Usage(input=size // EXPECTED_BYTES_PER_TOKEN, output=expected * request.choices),
        wish or NO_WISH,
    )


def plan(model: Model, needs: Needs, standing: Standing, now: float, random: Random, most: int) -> Plan:
    """The attempts for one request: of what fits and does not cool down, by priority, within one by the strategy."""
    deployments = model.deployments
    if not model.simple or needs is not NO_NEEDS:
        deployments = _fitting(deployments, needs)
    if len(deployments) == 1:
        until = standing.cooling_until(deployments[0].index)
        return Plan(deployments) if until <= now else Plan((), (), deployments, until)
    ready = [place for place in deployments if standing.cooling_until(place.index) <= now]
    if not ready:
        soonest = min((standing.cooling_until(place.index) for place in deployments), default=0.0)
        return Plan((), (), deployments, soonest)
    order: list[Deployment] = []
    for priority in sorted({place.priority for place in ready}):
        order += _ordered(model, [place for place in ready if place.priority == priority], needs, standing, random)
    return Plan(tuple(order[:most]), tuple(order[most:]))


def misfit(place: Deployment, needs: Needs) -> Misfit | None:
    """What keeps a deployment from answering; None when nothing is known to."""
    wish = needs.wish
    if wish is not NO_WISH and (unwanted := _unwanted(place, wish)) is not None:
        return unwanted
    if needs.images and place.vision is False:
        return "images"
    if needs.tools and place.tools is False:
        return "tools"
    if needs.structured and place.structured_output is False:
        return "structured_output"
    if place.context is not None and needs.least_input > place.context:
        return "context"
    return None


def _fitting(places: tuple[Deployment, ...], needs: Needs) -> tuple[Deployment, ...]:
    """Those that nothing speaks against; or those with the largest context, when only their contexts are too small.

    Our count of tokens is an estimate, so it chooses among deployments but refuses nothing: the provider counts.
    """
    judged = [(place, misfit(place, needs)) for place in places]
    if fitting := [place for place, found in judged if found is None]:
        return tuple(fitting)
    short = [place for place, found in judged if found == "context"]
    most = max((place.context or 0 for place in short), default=0)
    return tuple([place for place in short if place.context == most])


def larger(found: Plan, than: Deployment) -> tuple[Deployment, ...]:
    """Those of a plan that declare a larger context than a deployment does, in its order."""
    return tuple(place for place in found.attempts + found.beyond if (place.context or 0) > (than.context or 0))


def _unwanted(place: Deployment, wish: Wish) -> Misfit | None:
    if wish.provider is not None and place.provider != wish.provider:
        return "provider"
    if wish.region is not None and place.region != wish.region:
        return "region"
    if wish.hardware is not None and place.hardware != wish.hardware:
        return "hardware"
    return None if wish.tags <= place.tags else "tag"


def _ordered(
    model: Model, places: Sequence[Deployment], needs: Needs, standing: Standing, random: Random
) -> list[Deployment]:
    """Deployments of one priority, by the strategy."""
    if len(places) == 1:
        return list(places)
    strategy = needs.wish.strategy or model.strategy
    shuffled = _shuffled(places, random)
    if strategy == "least_cost":
        return sorted(shuffled, key=lambda place: expected_cost(place, needs))
    if strategy == "least_latency" and random() >= model.exploration:
        # Those that nobody knows come first, so that somebody does.
        return sorted(shuffled, key=lambda place: standing.latency(place.index, needs.stream) or 0.0)
    return shuffled


def expected_cost(place: Deployment, needs: Needs) -> float:
    """Micro-USD that a deployment will probably charge for a request; infinite where its cost is unknown."""
    return math.inf if place.cost is None else place.cost.price(needs.expected)


def _shuffled(deployments: Sequence[Deployment], random: Random) -> list[Deployment]:
    """A weighted random order: exponential keys, smallest first (Efraimidis and Spirakis, 2006)."""
    return sorted(deployments, key=lambda deployment: _exponential(random()) / deployment.weight)


def _exponential(uniform: float) -> float:
    return -math.log(1.0 - uniform)
