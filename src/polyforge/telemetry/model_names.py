"""Which model names get series of their own: the declared ones, and of the others the first that were answered.

Callers can make up names where a wildcard model takes them all, so the number is bounded for the machine: the workers
share one list, a file with one name per line that only grows.
"""

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

from polyforge.telemetry.families import NONE, OTHER

_LONGEST = 128


class ModelNames:
    """At most `limit` names over all workers; every other name is `other`."""

    def __init__(self, path: Path | None, declared: Iterable[str], limit: int) -> None:
        self._path = path
        self._known: set[str] = set()
        self._room = limit
        self._shared: list[str] = []
        self.declare(declared)

    def declare(self, names: Iterable[str]) -> None:
        """Give these names series of their own, too, as far as there is room. Those from before keep theirs."""
        fresh = {name[:_LONGEST] for name in names if not name.endswith("*")} - {OTHER, NONE} - self._known
        admitted = sorted(fresh)[: max(0, self._room - len(self._shared))]
        self._known.update(admitted)
        self._room -= len(admitted)

    def label(self, model: str | None, answered: bool) -> tuple[str, bool]:
        """The label for a model name, and whether it stays the same. A new name counts only once it was answered."""
        if model is None:
            return NONE, True
        name = model[:_LONGEST]
        if name in self._known or (answered and self._admit(name)):
            return name, True
        return OTHER, False

    def _admit(self, name: str) -> bool:
        if len(self._shared) >= self._room or name in (OTHER, NONE) or not (name and name.isprintable()):
            return False
        if self._path is None:
            self._shared.append(name)
        elif not self._share(self._path, name):
            return False
        self._known.add(name)
        return True

    def _share(self, path: Path, name: str) -> bool:
        """Add a name to the shared list unless it is full. Never waits: when it is locked, the next call tries."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._shared = os.pread(fd, os.fstat(fd).st_size, 0).decode().splitlines()[: self._room]
            self._known.update(self._shared)
            if name not in self._known and len(self._shared) < self._room:
                os.write(fd, f"{name}\n".encode())
                self._shared.append(name)
        except OSError:
            return False
        finally:
            os.close(fd)
        return name in self._shared
