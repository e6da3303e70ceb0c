"""What the host is to serve beside the declared models: a file that the gateway's side writes and the host follows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from polyforge.kernel.errors import Invalid
from polyforge.registry.state_files import read_state, write_state
from polyforge.serving.hints import EngineHints

FORMAT: Final = 1
MAX_BYTES: Final = 64 * 1024 * 1024


class ServedModel(msgspec.Struct, frozen=True):
    """One version of a registered model, named as `kernel.hosted_names` says; `folder` holds the artifact's files.

    `plan` holds what somebody wants to run otherwise than was measured. A model to be kept warm is not unloaded while
    it is idle.
    """

    name: str
    version: str
    folder: str
    digest: str
    hints: EngineHints = EngineHints()
    plan: Mapping[str, Any] = {}
    keep_warm: bool = False


class _File(msgspec.Struct, frozen=True):
    models: tuple[ServedModel, ...]
    format: int = FORMAT


def served_path(data: Path) -> Path:
    """Where the file is in a data folder."""
    return data / "models" / "served.json"


def read_served(path: Path) -> tuple[ServedModel, ...]:
    """What is to be served, nothing while there is no file; Invalid when the file cannot be read."""
    found = read_state(path, _File, MAX_BYTES)
    if found is None:
        return ()
    if found.format != FORMAT:
        raise Invalid(f"{path.name} has format {found.format}; this version reads {FORMAT}")
    return found.models


def write_served(path: Path, models: Sequence[ServedModel]) -> None:
    """Replace the file, for readers at once and whole."""
    write_state(path, _File(tuple(models)))
