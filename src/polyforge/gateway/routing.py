"""Routing, a pure function: from a model and the health of its deployments to the attempts to make, in order."""

import math
from collections.abc import Callable, Sequence

import msgspec

from polyforge.registry.catalog import Deployment, Model


class Plan(msgspec.Struct, frozen=True, gc=False):
    """Where to try, in order; when nothing can be tried, `recovers_at` says when something can, in wall time."""

    attempts: tuple[Deployment, ...]
    recovers_at: float = 0.0


def plan(
    model: Model, cooling_until: Callable[[int], float], now: float, random: Callable[[], float], most: int
) -> Plan:
    """The attempts for one request: by priority, within one in a weighted random order, cooling deployments left out.

    `cooling_until(index)` is when a deployment may be tried again; `random()` is uniform in [0, 1).
    """
    deployments = model.deployments
    if len(deployments) == 1:
        until = cooling_until(deployments[0].index)
        return Plan(deployments) if until <= now else Plan((), until)
    ready = [deployment for deployment in deployments if cooling_until(deployment.index) <= now]
    if not ready:
        return Plan((), min(cooling_until(deployment.index) for deployment in deployments))
    attempts: list[Deployment] = []
    for priority in sorted({deployment.priority for deployment in ready}):
        attempts += _shuffled([deployment for deployment in ready if deployment.priority == priority], random)
    return Plan(tuple(attempts[:most]))


def _shuffled(deployments: Sequence[Deployment], random: Callable[[], float]) -> list[Deployment]:
    """A weighted random order: exponential keys, smallest first (Efraimidis and Spirakis, 2006)."""
    if len(deployments) == 1:
        return list(deployments)
    return sorted(deployments, key=lambda deployment: _exponential(random()) / deployment.weight)


def _exponential(uniform: float) -> float:
    return -math.log(1.0 - uniform)
