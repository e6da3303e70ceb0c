"""Finds an adapter by the name in `use`: our own file, or what a third party registered as an entry point."""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from typing import Any

from pydantic import BaseModel, ValidationError

from polyforge.kernel.errors import SettingsError
from polyforge.wiring.settings import Chosen, explain

_PACKAGE = "polyforge.adapters"
WIRED = {"providers": frozenset({"local"}), "model_backends": frozenset({"isolated"})}
"""Adapters that wiring builds itself; nobody chooses them."""


def available(port: str) -> list[str]:
    """The names that `use` may take for a port."""
    folder = import_module(f"{_PACKAGE}.{port}")
    # A folder holds what several adapters share.
    own = {module.name for module in iter_modules(folder.__path__) if not module.ispkg} - WIRED.get(port, frozenset())
    return sorted(own | {entry.name for entry in entry_points(group=f"polyforge.{port}")})


def find(port: str, path: str, chosen: Chosen) -> tuple[Any, BaseModel]:
    """The adapter's class and its checked settings; SettingsError begins with `path`, where the choice stands."""
    adapter = load(port, path, chosen.use)
    return adapter, checked(settings_class(adapter), path, chosen.model_extra or {})


def checked(kind: type[BaseModel], path: str, values: Mapping[str, Any]) -> BaseModel:
    """An adapter's settings; SettingsError names the wrong one by its path below `path`."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise SettingsError("\n".join(f"{path}.{line}" for line in explain(error).splitlines())) from error


def settings_class(adapter: Any) -> type[BaseModel]:
    """What an adapter's settings are checked against."""
    return import_module(adapter.__module__).Settings


def about(adapter: Any) -> str:
    """What an adapter is, in the one line that its file begins with."""
    return (import_module(adapter.__module__).__doc__ or adapter.__module__).strip().splitlines()[0]


def load(port: str, path: str, name: str) -> Any:
    """The adapter's class; SettingsError when there is none of this name, or a library that it needs is missing."""
    plugin = next(iter(entry_points(group=f"polyforge.{port}", name=name)), None)
    if plugin is not None:
        return plugin.load()
    if name not in available(port):
        raise SettingsError(f"{path}.use: there is no {name!r}; there are {', '.join(available(port))}")
    try:
        return import_module(f"{_PACKAGE}.{port}.{name}").ADAPTER
    except ModuleNotFoundError as error:
        raise SettingsError(f"{path}.use: {name} needs a library; pip install 'polyforge[{name}]'") from error
    except OSError as error:
        # What Python's package loads at once may itself need one of the system's, as OpenMP.
        raise SettingsError(f"{path}.use: {name} needs a library of the system: {error}") from error
