"""Which adapters there are, and what the chosen ones make of their settings."""

import pkgutil
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import NamedTuple, cast

from pydantic import BaseModel

from polyforge.kernel.errors import SettingsError
from polyforge.secrets.references import SecretRef
from polyforge.wiring import adapters
from polyforge.wiring.settings import Chosen

PACKAGE = "polyforge.adapters"


class Adapter(NamedTuple):
    """One adapter, and why it cannot be used if it cannot."""

    port: str
    name: str
    problem: str | None


def all_adapters() -> list[Adapter]:
    """Every adapter of the package and of installed plug-ins, tried out by loading it."""
    ports = sorted(module.name for module in pkgutil.iter_modules(import_module(PACKAGE).__path__) if module.ispkg)
    return [Adapter(port, name, _problem(port, name)) for port in ports for name in adapters.available(port)]


def settings_of(port: str, path: str, chosen: Chosen) -> BaseModel:
    """The adapter's own settings, defaults included; SettingsError names the wrong one by its path below `path`."""
    _, settings = adapters.find(port, path, chosen)
    reveal_all(path, settings)
    return settings


def reveal_all(path: str, settings: BaseModel) -> None:
    """Read every secret of settings that stand below `path` once; SettingsError names one that is not there."""
    for name, value in settings:
        for where, secret in _secrets(f"{path}.{name}", value):
            reveal(where, secret)


def _secrets(path: str, value: object) -> Iterator[tuple[str, SecretRef]]:
    """The secrets in a setting, alone or by name, each with its path; not those that are kept in the database."""
    if isinstance(value, SecretRef) and value.name is None:
        yield path, value
    if isinstance(value, Mapping):
        for name, inner in cast(Mapping[str, object], value).items():
            yield from _secrets(f"{path}.{name}", inner)


def reveal(path: str, secret: SecretRef) -> None:
    """Read a secret once, because a reference to nothing would end the start; SettingsError names the setting."""
    try:
        secret.reveal()
    except SettingsError as error:
        raise SettingsError(f"{path}: {error.message}") from error


def _problem(port: str, name: str) -> str | None:
    plugin = next(iter(entry_points(group=f"polyforge.{port}", name=name)), None)
    try:
        plugin.load() if plugin else import_module(f"{PACKAGE}.{port}.{name}")
    except ImportError as error:
        return f"{error.name or error} is missing; pip install 'polyforge[{name}]'"
    return None
