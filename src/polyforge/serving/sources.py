"""Which models the host serves: the built-in one, and those that the settings name a folder for."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from polyforge.kernel.errors import SettingsError
from polyforge.registry.settings import ModelSettings

BUILT_IN = "static-minilm"
BUILT_IN_FOLDER = Path(__file__).parent / "models" / BUILT_IN


class ModelSource(msgspec.Struct, frozen=True):
    """A model by the name that the host serves it under, and the folder that it lies in."""

    name: str
    folder: Path


def model_sources(models: Mapping[str, ModelSettings]) -> tuple[ModelSource, ...]:
    """The built-in model and every declared local one; SettingsError names the setting that cannot be served.

    Looks at the settings alone: whether a folder holds a good model shows when the host loads it.
    """
    declared = [_source(name, model, model.source) for name, model in models.items() if model.source is not None]
    return (ModelSource(BUILT_IN, BUILT_IN_FOLDER), *declared)


def _source(name: str, model: ModelSettings, source: str) -> ModelSource:
    path = f"models.{name}"
    if name == BUILT_IN:
        raise SettingsError(f"{path}: this is the name of the built-in model; choose another")
    if "*" in name:
        raise SettingsError(f"{path}.source: a wildcard stands for a provider's models, it has no folder")
    if model.task != "embedding":
        raise SettingsError(f"{path}.task: local models can be of task embedding for now, not {model.task}")
    parts = urlsplit(source)
    if parts.scheme != "file" or parts.netloc or not parts.path.startswith("/") or parts.query or parts.fragment:
        raise SettingsError(
            f"{path}.source: {source} is not supported; "
            "for now a source is file:///folder with a static embedding model in model2vec's format"
        )
    return ModelSource(name, Path(unquote(parts.path)))
