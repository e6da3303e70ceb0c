"""polyforge.yaml as tests need it, as plain data."""

from collections.abc import Mapping
from typing import Any

from tests.support.upstream import Upstream

PER_CALL_USD = 1.0
PER_CALL: Mapping[str, Any] = {"per_call": PER_CALL_USD}
WELL = "well"
"""A model of every pool that no test ever harms."""
UPSTREAM_KEY = "sk-upstream-secret-1234567890"


def settings(upstream: Upstream, models: Mapping[str, Any], **sections: Any) -> dict[str, Any]:
    """Settings with `upstream` as the provider `lab`, and those models."""
    lab = {"use": "openai", "base_url": upstream.url, "api_key": UPSTREAM_KEY}
    providers = {"lab": lab, **sections.pop("providers", {})}
    return {"providers": providers, "models": dict(models), **sections}


def solo(name: str, *, provider: str = "lab", **more: Any) -> dict[str, Any]:
    """A model with one deployment, which the upstream knows by the same name. A call costs one dollar."""
    return {name: {"deployments": [{"provider": provider, "model": name}], "price": dict(PER_CALL), **more}}


def pair(name: str, *, first_provider: str = "lab", **more: Any) -> dict[str, Any]:
    """A model with two deployments, `<name>.first` and, when that cannot answer, `<name>.second`."""
    first = {"provider": first_provider, "model": f"{name}.first"}
    second = {"provider": "lab", "model": f"{name}.second", "priority": 1}
    return {name: {"deployments": [first, second], "price": dict(PER_CALL), **more}}


class Pool:
    """Models that nobody used yet, so that no test sees the health that another left behind.

    Pools that share an upstream need different prefixes.
    """

    def __init__(self, solos: int, pairs: int = 0, prefix: str = "") -> None:
        self._solos = [f"{prefix}solo-{number}" for number in range(solos)]
        self._pairs = [f"{prefix}pair-{number}" for number in range(pairs)]

    def settings(self) -> dict[str, Any]:
        """The models that are left, as settings."""
        described = [*map(solo, [WELL, *self._solos]), *map(pair, self._pairs)]
        return {name: model for models in described for name, model in models.items()}

    def solo(self) -> str:
        """A fresh model with one deployment."""
        assert self._solos, "every model of the pool is used: make it larger"
        return self._solos.pop()

    def pair(self) -> str:
        """A fresh model with two deployments."""
        assert self._pairs, "every model of the pool is used: make it larger"
        return self._pairs.pop()
