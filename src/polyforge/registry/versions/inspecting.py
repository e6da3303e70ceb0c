"""Looking at a fetched model before it becomes a version: what it takes and gives, or why it cannot be run."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from polyforge.registry.artifacts.folder import Artifact
from polyforge.registry.artifacts.manifest import Manifest


class Inspection(msgspec.Struct, frozen=True):
    """What was found: the signature as JSON, None when nobody could tell, and what goes into the card."""

    signature: Mapping[str, Any] | None
    card: Mapping[str, Any]


class Inspector(Protocol):
    """Looks at artifacts."""

    async def __call__(self, artifact: Artifact, configuration: Mapping[str, Any], *, trusted: bool) -> Inspection:
        """What it is; Invalid with the reason when it cannot be served. `trusted`: who asked runs the installation."""
        ...


def layout_of(manifest: Manifest) -> str:
    """The kind of model that files of such names make up; `unknown` for others."""
    names = {file.path for file in manifest.files}
    if "config.pbtxt" in names or any(name.partition("/")[0].isdigit() for name in names):
        return "triton"
    if {"config.json", "tokenizer.json", "model.safetensors"} <= names and not _any(names, ".onnx"):
        return "safetensors"
    if {"model.bin", "config.json"} <= names:
        return "ctranslate2"
    kinds = {".onnx": "onnx", ".skops": "skops", ".ubj": "xgboost", ".safetensors": "safetensors", ".py": "python"}
    return next((kind for suffix, kind in kinds.items() if _any(names, suffix)), "unknown")


def _any(names: set[str], suffix: str) -> bool:
    return any(name.endswith(suffix) for name in names)
