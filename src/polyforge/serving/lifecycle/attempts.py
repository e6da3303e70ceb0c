"""Which models were being loaded when the process ended, in a file: one that crashes the host must not do so for ever.

A native crash leaves no error. What was being loaded then is a suspect: at the next start it is loaded after all others
and alone, and once the process has ended in that again and again it is left for a while.
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from polyforge.kernel.errors import Invalid
from polyforge.registry.state_files import read_state, write_state
from polyforge.telemetry.logs import get_logger

MAX_BYTES: Final = 4 * 1024 * 1024
MOST: Final = 2
"""Ends of the process, until a model is left alone: a supervisor gives up on the third failed start."""
REST_SECONDS: Final = 300.0
"""Until a request has it tried once more."""
GIVEN_UP: Final = "the model host ended each time that it was being loaded; load it again, or run it isolated"

_log = get_logger(__name__)
Key = tuple[str, str]
"""Name and version."""


class _Attempt(msgspec.Struct, frozen=True):
    model: str
    version: str
    crashes: int


class _File(msgspec.Struct, frozen=True):
    attempts: tuple[_Attempt, ...] = ()


class LoadAttempts:
    """The file; without a path nothing is written down. Everything here may wait for the disk: not for a loop."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._crashes: dict[Key, int] = {}
        self._loading: set[Key] = set()

    def read(self) -> Mapping[Key, int]:
        """How often the process ended while each model was being loaded; nothing when there is no good file."""
        try:
            found = None if self._path is None else read_state(self._path, _File, MAX_BYTES)
        except Invalid as error:
            _log.warning("which models were being loaded is not known", reason=error.message)
            return {}
        if found is None:
            return {}
        self._crashes = {(each.model, each.version): each.crashes for each in found.attempts}
        return dict(self._crashes)

    def begin(self, model: str, version: str) -> None:
        """A load begins: should the process end in it, that counts."""
        with self._lock:
            self._loading.add((model, version))
            self._write()

    def end(self, model: str, version: str) -> None:
        """It is over, and the process lives: nothing speaks against the model any more."""
        with self._lock:
            self._loading.discard((model, version))
            self._crashes.pop((model, version), None)
            self._write()

    def close(self) -> None:
        """The process ends in an orderly way: that counts against nothing."""
        with self._lock:
            self._loading.clear()
            self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        counted = {**self._crashes, **{key: self._crashes.get(key, 0) + 1 for key in self._loading}}
        content = _File(tuple(_Attempt(*key, count) for key, count in counted.items()))
        try:
            write_state(self._path, content)
        except OSError as error:
            _log.warning("which models are being loaded cannot be written", reason=error.strerror)
