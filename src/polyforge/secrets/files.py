"""Secrets in files of their own: written whole or not at all, for their owner only."""

import os
from pathlib import Path

from polyforge.kernel.ids import new_ulid


def create_private(path: Path, text: str) -> bool:
    """Write the file, mode 0600, as a whole; False when somebody else was first. OSError when it cannot be written."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{new_ulid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True
