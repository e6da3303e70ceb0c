"""Why a request would go where: the plan of routing, in words. It asks the same functions that route, so they agree."""

import math

import msgspec

from polyforge.gateway.health import Cause, Health
from polyforge.gateway.routing import Misfit, Needs, expected_cost, misfit, plan
from polyforge.kernel.money import to_usd
from polyforge.registry.catalog import Deployment, Model
from polyforge.registry.settings import Strategy

_MISFITS: dict[Misfit, str] = {
    "provider": "is not at the provider that was asked for",
    "region": "is not in the region that was asked for",
    "hardware": "does not run on the hardware that was asked for",
    "tag": "lacks a tag that was asked for",
    "images": "takes no images and files",
    "tools": "cannot be offered tools",
    "structured_output": "cannot follow a JSON schema",
    "context": "has too small a context",
}
_CAUSES: dict[Cause, str] = {
    "failure": "it failed",
    "rate": "it had too many requests",
    "quota": "the account has no credit left",
}
_MIDDLE = 0.5
"""The chance for which the order is the likeliest one, and `least_latency` does not explore."""


class Judgement(msgspec.Struct, frozen=True):
    """What routing makes of one deployment."""

    deployment: Deployment
    attempt: int | None
    """Which attempt it would be, from 1; None: it is left out."""
    why: str


def explain(model: Model, needs: Needs, health: Health, now: float, most: int) -> list[Judgement]:
    """Attempts in their likeliest order, then what is left out."""
    found = plan(model, needs, health, now, lambda: _MIDDLE, most)
    ready = found.attempts + found.beyond
    tried = [
        Judgement(place, number, _why_here(model, place, needs, health, ready))
        for number, place in enumerate(found.attempts, 1)
    ]
    chosen = {place.index for place in found.attempts}
    beyond = {place.index for place in found.beyond}
    left = [place for place in model.deployments if place.index not in chosen]
    return tried + [
        Judgement(place, None, _why_not(place, needs, health, now, most, beyond=place.index in beyond))
        for place in left
    ]


def _why_not(place: Deployment, needs: Needs, health: Health, now: float, most: int, *, beyond: bool) -> str:
    if beyond:
        return f"comes after the {most} attempts that a request has"
    if (unfit := misfit(place, needs)) is not None:
        return _MISFITS[unfit]
    wait = max(0.0, health.cooling_until(place.index) - now)
    return f"is left alone for {wait:.1f} s more, because {_CAUSES[health.cause(place.index)]}"


def _why_here(model: Model, place: Deployment, needs: Needs, health: Health, ready: tuple[Deployment, ...]) -> str:
    strategy: Strategy = needs.wish.strategy or model.strategy
    here = f"priority {place.priority}"
    if misfit(place, needs) == "context":
        here += "; the prompt seems too long, but nothing declares a larger context"
    if strategy == "least_cost":
        return f"{here}; {_cost(expected_cost(place, needs))}"
    if strategy == "least_latency":
        return f"{here}; {_latency(health.latency(place.index, needs.stream), needs.stream)}"
    share = place.weight / sum(other.weight for other in ready if other.priority == place.priority)
    return f"{here}; first of these for {share:.0%} of requests"


def _cost(micros: float) -> str:
    return "its cost is unknown" if math.isinf(micros) else f"about {to_usd(int(micros)):g} USD"


def _latency(seconds: float | None, stream: bool) -> str:
    what = "to the first token" if stream else "for an answer"
    return "not measured lately, so tried first" if seconds is None else f"{seconds:.2f} s {what} lately"
