"""The table of the console's files: what is not in it when it is read cannot be asked for."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from polyforge.server.console.encodings import IDENTITY
from polyforge.telemetry.logs import get_logger

INDEX: Final = "/index.html"
_ENDINGS: Final = {".br": "br", ".gz": "gzip"}
_TYPES: Final[Mapping[str, bytes]] = {
    ".css": b"text/css; charset=utf-8",
    ".html": b"text/html; charset=utf-8",
    ".ico": b"image/x-icon",
    ".js": b"text/javascript; charset=utf-8",
    ".json": b"application/json",
    ".png": b"image/png",
    ".svg": b"image/svg+xml",
    ".txt": b"text/plain; charset=utf-8",
    ".wasm": b"application/wasm",
    ".webmanifest": b"application/manifest+json",
    ".webp": b"image/webp",
    ".woff2": b"font/woff2",
}
_ANY_TYPE: Final = b"application/octet-stream"
_MOST_FILES: Final = 5_000
_KEPT_FILE_BYTES: Final = 512 * 1024
_KEPT_BYTES: Final = 8 * 1024 * 1024
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Variant:
    """One encoding of a file. `body` is None for one that is read whenever it is asked for."""

    place: Path
    etag: bytes
    body: bytes | None


@dataclass(frozen=True, slots=True)
class File:
    """What a path answers with, by encoding."""

    type: bytes
    variants: Mapping[str, Variant]


def read_table(folder: Path) -> Mapping[str, File]:
    """Every file in a folder by the path that it has under `/`, its compressed forms with it; empty without a folder.

    Links are not followed, and what begins with a dot is left out.
    """
    variants: dict[str, dict[str, Variant]] = {}
    kept = 0
    for place in _bounded(folder):
        variant = _read(place, _KEPT_BYTES - kept)
        kept += len(variant.body or b"")
        ending = place.suffix if place.suffix in _ENDINGS else ""
        path = "/" + place.relative_to(folder).as_posix().removesuffix(ending)
        variants.setdefault(path, {})[_ENDINGS.get(ending, IDENTITY)] = variant
    whole = {path: found for path, found in variants.items() if IDENTITY in found}
    return MappingProxyType({path: File(_type_of(path), found) for path, found in whole.items()})


def _bounded(folder: Path) -> Iterator[Path]:
    for count, place in enumerate(_places(folder)):
        if count == _MOST_FILES:
            _log.error("the console's folder has more files than are served", folder=str(folder), served=_MOST_FILES)
            return
        yield place


def _places(folder: Path) -> Iterator[Path]:
    """The page first: it is asked for most, and it is what must outlive the folder."""
    for root, folders, names in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names, key=lambda name: (not name.startswith(INDEX[1:]), name)):
            place = Path(root, name)
            if not name.startswith(".") and place.is_file() and not place.is_symlink():
                yield place


def _read(place: Path, room: int) -> Variant:
    body = place.read_bytes()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'.encode()
    return Variant(place, etag, body if len(body) <= min(_KEPT_FILE_BYTES, room) else None)


def _type_of(path: str) -> bytes:
    return _TYPES.get(Path(path).suffix.lower(), _ANY_TYPE)
