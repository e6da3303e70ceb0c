"""What models take and give, as of the last time that they were loaded, in files.

So a model that finds no room at a start answers for what it is, and is loaded by its first request.
"""

from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from polyforge.kernel.errors import Invalid
from polyforge.ports.model_backend import Signature
from polyforge.registry.state_files import read_state, write_state
from polyforge.serving.lifecycle.identity import content_of, hints_of
from polyforge.serving.sources import ModelSource
from polyforge.telemetry.logs import get_logger

MAX_BYTES: Final = 16 * 1024 * 1024
"""Labels of many classes take some."""

_log = get_logger(__name__)


class _Known(msgspec.Struct, frozen=True):
    content: str
    hints: str
    signature: Signature


class KnownSignatures:
    """One file for each version of a model. Everything here reads or writes files: not for a loop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, source: ModelSource) -> Signature | None:
        """What the model was when it was loaded; None when it never was, or when it is another now."""
        try:
            found = read_state(self._path(source), _Known, MAX_BYTES)
            if found is None or (found.content, found.hints) != (_content(source), hints_of(source)):
                return None
        except (Invalid, OSError) as error:
            _log.warning("what a model takes and gives is not known", model=source.name, reason=str(error))
            return None
        return found.signature

    def keep(self, source: ModelSource, signature: Signature) -> None:
        """Write down what a model is, if that is not there already; a full disk is logged."""
        if self.find(source) == signature:
            return
        try:
            write_state(self._path(source), _Known(_content(source), hints_of(source), signature))
        except OSError as error:
            _log.warning("what a model takes and gives cannot be written", model=source.name, reason=error.strerror)

    def forget(self, source: ModelSource) -> None:
        """The model is served no longer."""
        with suppress(OSError):
            self._path(source).unlink(missing_ok=True)

    def _path(self, source: ModelSource) -> Path:
        name = sha256(msgspec.json.encode((source.name, source.version))).hexdigest()
        return self._folder / f"{name}.json"


def _content(source: ModelSource) -> str:
    return source.digest or content_of(source.folder)
