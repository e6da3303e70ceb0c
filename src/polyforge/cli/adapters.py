"""Which adapters there are, and what their settings come to."""

import importlib
import importlib.metadata
import pkgutil
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

import polyforge.adapters
from polyforge.kernel.errors import SettingsError
from polyforge.secrets.references import SecretRef
from polyforge.wiring.settings import Chosen

PACKAGE = "polyforge.adapters"


class Adapter(NamedTuple):
    """One adapter, and why it cannot be used if it cannot."""

    port: str
    name: str
    problem: str | None


def all_adapters() -> list[Adapter]:
    """Every adapter of the package and of installed plug-ins, tried out by loading it."""
    return [Adapter(port, name, _problem(port, name)) for port in _ports() for name in _names(port)]


def settings_of(port: str, path: str, chosen: Chosen) -> BaseModel:
    """The adapter's own settings, defaults included; SettingsError names the wrong one by its path below `path`."""
    if chosen.use not in _names(port):
        raise SettingsError(f"{path}.use: there is no adapter {chosen.use!r}; possible: {', '.join(_names(port))}")
    if problem := _problem(port, chosen.use):
        raise SettingsError(f"{path}.use: {problem}")
    model: type[BaseModel] = _load(port, chosen.use).Settings
    try:
        settings = model.model_validate(chosen.model_extra or {})
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(path, error))) from error
    for name, value in settings:
        if isinstance(value, SecretRef):
            reveal(f"{path}.{name}", value)
    return settings


def reveal(path: str, secret: SecretRef) -> None:
    """Read a secret once, because a reference to nothing would end the start; SettingsError names the setting."""
    try:
        secret.reveal()
    except SettingsError as error:
        raise SettingsError(f"{path}: {error.message}") from error


def _explain(path: str, error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False, include_input=False):
        where = ".".join([path, *(str(part) for part in problem["loc"])])
        unknown = problem["type"] == "extra_forbidden"
        yield f"{where}: {'there is no such setting' if unknown else problem['msg'].removeprefix('Value error, ')}"


def _ports() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(polyforge.adapters.__path__) if module.ispkg)


def _names(port: str) -> list[str]:
    package = importlib.import_module(f"{PACKAGE}.{port}")
    own = {module.name for module in pkgutil.iter_modules(package.__path__)}
    return sorted(own | {entry.name for entry in importlib.metadata.entry_points(group=f"polyforge.{port}")})


def _problem(port: str, name: str) -> str | None:
    try:
        _load(port, name)
    except ImportError as error:
        return f"{error.name or error} is missing; pip install 'polyforge[{name}]'"
    return None


def _load(port: str, name: str) -> Any:
    for entry in importlib.metadata.entry_points(group=f"polyforge.{port}", name=name):
        return entry.load()
    return importlib.import_module(f"{PACKAGE}.{port}.{name}")
