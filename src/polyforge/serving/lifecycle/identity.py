"""What tells one model from another, for what is kept of them in files."""

import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from polyforge.serving.lifecycle.memory import MAX_FILES
from polyforge.serving.sources import ModelSource


def content_of(folder: Path) -> str:
    """Another one when a file of a folder is another: its names, sizes and times, as hashing gigabytes takes long."""
    found: list[tuple[str, int, int]] = []
    for place, _, names in os.walk(folder):
        for name in names[: MAX_FILES - len(found)]:
            path = Path(place) / name
            state = path.stat()
            found.append((path.relative_to(folder).as_posix(), state.st_size, state.st_mtime_ns))
    return sha256(msgspec.json.encode(sorted(found))).hexdigest()


def hints_of(source: ModelSource) -> str:
    """Another one when a model is computed otherwise, by however many instances."""
    said: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(source.hints, instances=None))
    return sha256(msgspec.json.encode(said, order="deterministic")).hexdigest()[:16]
