"""The JSON files beside a graph: sizes bounded, paths kept inside the artifact, errors that name the file."""

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeVar

import msgspec

from polyforge.kernel.errors import Invalid

MAX_JSON_BYTES = 64 * 1024 * 1024
"""The tokenizers of large vocabularies have some 35 MB."""

_T = TypeVar("_T")


def inside(folder: Path, base: Path, relative: str, where: str) -> Path:
    """The path under a relative one; Invalid, beginning with `where`, unless it lies in the folder, links followed."""
    parts = PurePosixPath(relative)
    leads_out = "\0" in relative or parts.is_absolute() or PureWindowsPath(relative).drive or ".." in parts.parts
    path = base / parts
    if leads_out or not path.resolve().is_relative_to(folder.resolve()):
        raise Invalid(f"{where}: {relative!r} leads out of the artifact's folder")
    return path


def read_bytes(folder: Path, relative: str) -> bytes | None:
    """A file of the artifact, or None when there is none; Invalid when it cannot be read or is too large."""
    path = inside(folder, folder, relative, relative)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_JSON_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Invalid(f"cannot read {relative}: {error.strerror}") from error
    if len(content) > MAX_JSON_BYTES:
        raise Invalid(f"{relative}: it is larger than {MAX_JSON_BYTES} bytes")
    return content


def read_json(folder: Path, relative: str, kind: type[_T]) -> _T | None:
    """A JSON file of the artifact as a type, or None when there is none; Invalid says what is wrong with it."""
    content = read_bytes(folder, relative)
    return None if content is None else decode_json(content, kind, relative)


def decode_json(content: bytes, kind: type[_T], name: str) -> _T:
    """JSON as a type; Invalid with the file's name says what is wrong with it."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"{name}: {error}") from error
