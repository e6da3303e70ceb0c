"""What was measured of models, as the model host of this machine reads it and writes it down."""

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from polyforge.kernel.errors import Unavailable
from polyforge.registry.artifacts.manifest import DIGEST_LENGTH, check_digest
from polyforge.registry.state_files import write_state

MAX_BYTES: Final = 64 * 1024
MAX_FILES: Final = 10_000
_KIND: Final = re.compile(r"[a-z0-9-]{1,150}")


class TuningFolder:
    """Files named `<digest of the artifact>-<kind of machine>.json`, an object each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[Path, tuple[int, Mapping[str, Any] | None]] = {}

    def read(self) -> Mapping[str, Mapping[str, Any]]:
        """By the digest of the artifact, and then by the kind of machine; files that have not changed are not read."""
        found: dict[str, dict[str, Any]] = defaultdict(dict)
        for path in sorted(self._folder.glob("*.json"))[:MAX_FILES]:
            digest, kind = path.stem[:DIGEST_LENGTH], path.stem[DIGEST_LENGTH + 1 :]
            content = self._content(path)
            if content is not None and kind:
                found[digest][kind] = content
        return found

    def add(self, digest: str, kind: str, measured: Mapping[str, Any]) -> None:
        """Write down what another machine measured; Unavailable when the disk cannot take it."""
        path = self._folder / f"{check_digest(digest)}-{kind}.json"
        if not _KIND.fullmatch(kind):
            return
        try:
            write_state(path, measured)
        except OSError as error:
            raise Unavailable(f"what was measured of a model cannot be written: {error.strerror}") from error

    def _content(self, path: Path) -> Mapping[str, Any] | None:
        """An object; None while it is no such file."""
        try:
            written = path.stat().st_mtime_ns
            known = self._known.get(path)
            if known is None or known[0] != written:
                known = self._known[path] = written, _decode(path)
        except OSError:
            return None
        return known[1]


def _decode(path: Path) -> Mapping[str, Any] | None:
    with path.open("rb") as file:
        try:
            return msgspec.json.decode(file.read(MAX_BYTES + 1), type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
