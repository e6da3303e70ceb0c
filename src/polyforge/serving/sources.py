"""Which models the host serves: the built-in one, those that the settings name a folder for, and registered ones."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, get_args
from urllib.parse import unquote, urlsplit

import msgspec

from polyforge.kernel.errors import SettingsError
from polyforge.kernel.hosted_names import is_hosted
from polyforge.kernel.tasks import Task
from polyforge.registry.settings import PRIORITIES, USUAL_PRIORITY, ModelSettings
from polyforge.secrets.references import SecretRef
from polyforge.serving.hints import EngineHints
from polyforge.serving.repository import VERSION
from polyforge.serving.served import ServedModel

BUILT_IN = "static-minilm"
BUILT_IN_FOLDER = Path(__file__).parent / "models" / BUILT_IN


REMOTE: Final = frozenset({"remote_oip", "tensorflow_serving"})
"""Engines whose models are on other servers."""
NO_FOLDER: Final = Path(os.devnull)
TASKS: Final = frozenset(get_args(Task)) - {"chat", "completion"}
"""What the host's engines can do: what is not a dialogue."""


class ModelSource(msgspec.Struct, frozen=True):
    """A model by the name that the host serves it under, the folder that it lies in, and how it is to be served.

    `digest` names the content of the folder, where somebody vouches for it. `idle_seconds`: None stands for the
    default.
    """

    name: str
    folder: Path
    hints: EngineHints = EngineHints()
    version: str = VERSION
    digest: str = ""
    plan: Mapping[str, Any] = {}
    keep_warm: bool = False
    idle_seconds: float | None = None


def model_sources(models: Mapping[str, ModelSettings]) -> tuple[ModelSource, ...]:
    """The built-in model and every declared local one; SettingsError names the setting that cannot be served.

    Looks at the settings alone: whether a folder holds a good model shows when the host loads it.
    """
    declared = [_declared(name, model, model.source) for name, model in models.items() if model.source is not None]
    built_in = ModelSource(BUILT_IN, BUILT_IN_FOLDER, EngineHints(task="embedding", backend="static_embedding"))
    return (built_in, *declared)


def secret_names(sources: Iterable[ModelSource]) -> frozenset[str]:
    """The secrets of the database that models of other servers are asked with. What is no good name is left out."""
    found = (
        _secret_name(value)
        for source in sources
        if source.hints.backend in REMOTE
        for value in source.hints.settings.values()
        if isinstance(value, str)
    )
    return frozenset(name for name in found if name is not None)


def _secret_name(value: str) -> str | None:
    try:
        return SecretRef(value).name
    except ValueError:
        return None


def registered_sources(models: Iterable[ServedModel]) -> tuple[ModelSource, ...]:
    """Those of the file that tells which registered models are served."""
    return tuple(
        ModelSource(
            model.name,
            Path(model.folder),
            model.hints,
            version=model.version,
            digest=model.digest,
            plan=model.plan,
            keep_warm=model.keep_warm,
        )
        for model in models
    )


def _declared(name: str, model: ModelSettings, source: str) -> ModelSource:
    path = f"models.{name}"
    if name == BUILT_IN:
        raise SettingsError(f"{path}: this is the name of the built-in model; choose another")
    if is_hosted(name):
        raise SettingsError(f"{path}: only registered models have names of this kind; choose another")
    if "*" in name:
        raise SettingsError(f"{path}.source: a wildcard stands for a provider's models, it has no folder")
    if model.task not in TASKS:
        known = ", ".join(sorted(TASKS))
        raise SettingsError(f"{path}.task: local models can be of task {known}, not {model.task}")
    parts = urlsplit(source)
    if parts.scheme in ("http", "https"):
        return _remote(name, model, source)
    if parts.scheme != "file" or parts.netloc or not parts.path.startswith("/") or parts.query or parts.fragment:
        raise SettingsError(
            f"{path}.source: {source} is not supported; a declared model lies in a folder, as in file:///folder, or on"
            " another server, as in https://triton.example:8000."
            " `polyforge model add` fetches models from elsewhere"
        )
    return _source(name, model, Path(unquote(parts.path)), model.options)


def _remote(name: str, model: ModelSettings, url: str) -> ModelSource:
    """A model of another server, which is asked by this name unless the settings say another."""
    if model.backend not in REMOTE:
        known = ", ".join(sorted(REMOTE))
        raise SettingsError(f"models.{name}.backend: a model on another server needs {known}, to tell what it speaks")
    if model.isolated:
        raise SettingsError(f"models.{name}.isolated: a model on another server is in no process of ours")
    return _source(name, model, NO_FOLDER, {"url": url, "model": name, **model.options})


def _source(name: str, model: ModelSettings, folder: Path, options: Mapping[str, Any]) -> ModelSource:
    return ModelSource(
        name,
        folder,
        EngineHints(
            task=model.task,
            backend=model.backend,
            settings=options,
            threads=model.threads,
            batch_rows=model.batch_rows,
            instances=model.instances,
            isolated=model.isolated,
        ),
        plan=_levels(model.priority),
        keep_warm=model.keep_warm,
        idle_seconds=model.idle_unload,
    )


def _levels(priority: int | None) -> dict[str, int]:
    """The part of a plan that a model's priority decides: its callers may be less urgent, and not more."""
    if priority is None:
        return {}
    return {
        "levels": PRIORITIES,
        "default_level": priority,
        "top_level": priority,
        "rank": priority - USUAL_PRIORITY,
    }
