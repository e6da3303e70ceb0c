"""Secrets in files of their own: written whole or not at all, for their owner only."""

import os
import stat
from pathlib import Path

from polyforge.kernel.errors import SettingsError
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


def read_private(path: Path) -> str:
    """What the file holds; SettingsError when others may read or change it, OSError when it cannot be read."""
    with path.open() as file:
        facts = os.fstat(file.fileno())
        if _is_open_to_others(facts):
            mode = stat.S_IMODE(facts.st_mode)
            raise SettingsError(f"{path} is open to others (mode {mode:04o}); run `chmod 600 {path}`")
        return file.read()


def _is_open_to_others(facts: os.stat_result) -> bool:
    # A file of somebody else, such as a mounted Kubernetes secret, can only be given to us through its group.
    through_group = facts.st_mode & stat.S_IRWXG and facts.st_uid == os.geteuid()
    return bool(facts.st_mode & stat.S_IRWXO or through_group)
