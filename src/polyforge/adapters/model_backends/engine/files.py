"""The JSON files beside a graph: sizes bounded, paths kept inside the artifact, errors that name the file."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeVar

import msgspec

from polyforge.kernel.errors import Invalid

MAX_JSON_BYTES = 64 * 1024 * 1024
"""The tokenizers of large vocabularies have some 35 MB."""
HEAD_BYTES = 4096

MAX_PATH_BYTES = 4096
MAX_NAME_BYTES = 255
"""No file system here has longer ones."""

_T = TypeVar("_T")


def inside(folder: Path, base: Path, relative: str, where: str) -> Path:
    """The path under a relative one; Invalid, beginning with `where`, unless it lies in the folder, links followed."""
    parts = PurePosixPath(relative)
    leads_out = "\0" in relative or parts.is_absolute() or PureWindowsPath(relative).drive or ".." in parts.parts
    path = base / parts
    lengths = [len(name.encode(errors="surrogatepass")) for name in parts.parts]
    if max(lengths, default=0) > MAX_NAME_BYTES or len(os.fspath(base)) + sum(lengths) + len(lengths) >= MAX_PATH_BYTES:
        raise Invalid(f"{where}: {relative[:MAX_NAME_BYTES]!r}... is longer than a path can be")
    if leads_out or not path.resolve().is_relative_to(folder.resolve()):
        raise Invalid(f"{where}: {relative!r} leads out of the artifact's folder")
    return path


def read_bytes(folder: Path, relative: str, limit: int = MAX_JSON_BYTES) -> bytes | None:
    """A file of the artifact, or None when there is none; Invalid when it cannot be read or is too large."""
    path = inside(folder, folder, relative, relative)
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Invalid(f"cannot read {relative}: {error.strerror}") from error
    if len(content) > limit:
        raise Invalid(f"{relative}: it is larger than {limit} bytes")
    return content


def read_model(
    folder: Path, file: str | None, suffixes: Sequence[str], begins: Callable[[bytes], bool], limit: int
) -> tuple[str, bytes]:
    """The name and the content of the model's file: `file`, or the only one with such an ending that `begins` right.

    Of several the one called model is taken. Invalid when there is none, when several are and none is chosen, and when
    it cannot be read or is too large.
    """
    name = file or _only_file(folder, suffixes, begins)
    content = read_bytes(folder, name, limit)
    if content is None:
        raise Invalid(f"there is no {name}", param="file")
    return name, content


def _only_file(folder: Path, suffixes: Sequence[str], begins: Callable[[bytes], bool]) -> str:
    paths = sorted(path for suffix in suffixes for path in folder.glob(f"*{suffix}"))
    found = [path for path in paths if path.is_file() and begins(_head(path))]
    chosen = found if len(found) == 1 else [path for path in found if path.stem == "model"]
    if len(chosen) != 1:
        names = ", ".join(path.name for path in found)
        what = f"several files hold a model, choose one: {names}" if found else f"no {' or '.join(suffixes)} is a model"
        raise Invalid(what, param="file")
    return chosen[0].name


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise Invalid(f"cannot read {path.name}: {error.strerror}") from error


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
