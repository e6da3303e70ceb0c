"""Settings as a flat list of what is in force, each with its origin, and without secrets."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

from polyforge.telemetry.masking import MASK, mask_text, names_secret

DEFAULT = "default"
REFERENCES = ("env:", "file:", "secret:")
OPEN_SECTIONS = (
    "providers.",
    "audit.exports.",
    "logs.exports.",
    "people.notifier.",
    "model_sources.",
    "objects.",
    "batches.stores.",
)
"""Below these, settings are not typed until an adapter reads them, so that a secret is known only by its name."""


class Setting(NamedTuple):
    """One value in force."""

    path: str
    value: Any
    origin: str


def effective(tree: Mapping[str, Any], origins: Mapping[str, str]) -> list[Setting]:
    """Every leaf of `tree` in its order; what no source has set comes from the defaults."""
    return [Setting(path, _masked(path, value), _origin(path, origins)) for path, value in _leaves("", tree)]


def to_text(value: Any) -> str:
    """A value as one would write it in polyforge.yaml."""
    return value if isinstance(value, str) else json.dumps(value)


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    children: list[tuple[str, Any]] = []
    if isinstance(value, Mapping):
        children = [(str(name), inner) for name, inner in cast(Mapping[Any, Any], value).items()]
    elif isinstance(value, list):
        children = [(str(index), inner) for index, inner in enumerate(cast(list[Any], value))]
    if not children:
        yield path, value
    for name, inner in children:
        yield from _leaves(f"{path}.{name}" if path else name, inner)


def _origin(path: str, origins: Mapping[str, str]) -> str:
    """The origin of the setting, or of the list or section that was set as a whole."""
    while path:
        if path in origins:
            return origins[path]
        path = path.rpartition(".")[0]
    return DEFAULT


def _masked(path: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.startswith(REFERENCES):
        return value
    name = path.rpartition(".")[2]
    if path.startswith(OPEN_SECTIONS) and names_secret(name):
        return MASK
    return mask_text(value.encode()).decode()
