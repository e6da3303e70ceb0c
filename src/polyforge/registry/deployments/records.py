"""What a machine is to serve, and how it does."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from polyforge.kernel.hosted_names import deployed_name
from polyforge.registry.versions.records import RegisteredModel, Version

ServingState = Literal["pending", "loading", "ready", "failed"]
_WORST_FIRST: Final[tuple[ServingState, ...]] = ("failed", "pending", "loading", "ready")
PRODUCTION: Final = "production"
"""The alias that the name of a model alone stands for."""
SEEN_SECONDS: Final = 180.0
"""How long a machine is believed to serve that says nothing."""


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """How one version does on one machine."""

    version_id: str
    machine: str
    organization_id: str
    project_id: str
    model_id: str
    number: int
    state: ServingState
    reason: str
    changed_at: float
    seen_at: float


class FailedServing(msgspec.Struct, frozen=True):
    """A version that a machine cannot serve."""

    model: str
    number: int
    machine: str
    reason: str


class WantedModel(msgspec.Struct, frozen=True):
    """A model with the versions of it that are to answer; `default` is what its name alone stands for."""

    model: RegisteredModel
    aliases: Mapping[str, int]
    versions: Mapping[int, Version]
    default: int | None

    def name_of(self, number: int) -> str:
        """What a version is called in a host."""
        return deployed_name(self.model.project_id, self.model.name, number)


class Published(msgspec.Struct, frozen=True):
    """One version as a host is to serve it."""

    project_id: str
    model: str
    number: int
    folder: str
    digest: str
    configuration: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What it is called there."""
        return deployed_name(self.project_id, self.model, self.number)


class HostState(msgspec.Struct, frozen=True):
    """How a host says that a version does."""

    state: ServingState
    reason: str = ""


def wanted_of(model: RegisteredModel, aliases: Mapping[str, int], newest: int | None) -> tuple[set[int], int | None]:
    """The numbers of the versions that are to answer, and the one that the name alone stands for.

    What aliases point at answers, and so does the newest version. Where some alias needs approval to move, only what
    aliases point at: a version that nobody approved answers to no name.
    """
    numbers = set(aliases.values())
    approved = newest if newest is not None and not model.protected else None
    if approved is not None:
        numbers.add(approved)
    return numbers, aliases.get(PRODUCTION, approved)


def summed_up(states: Sequence[ServingState], *, wanted: bool) -> ServingState | Literal["idle"]:
    """How a version does on its machines together: as on the one where it does worst."""
    if not wanted:
        return "idle"
    found: Sequence[ServingState] = [state for state in _WORST_FIRST if state in states]
    return found[0] if found else "pending"
