"""Models in folders of this machine: `file:///folder`, `file:///model.onnx`, `file:///model.zip`.

Links are refused, so that a folder never gives what lies outside of it. Who did not set up the installation gets at
declared folders only.
"""

import asyncio
import os
import stat
from collections.abc import AsyncGenerator, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from polyforge.kernel.errors import Conflict, Denied, Invalid, NotFound
from polyforge.ports.model_source import SourceFile, SourceListing, SourceReference, is_archive
from polyforge.ports.secret_source import SecretSource

_CHUNK: Final = 1024 * 1024
_MAX_ENTRIES: Final = 1_000_000


class Settings(BaseModel):
    """Where models may lie."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folders: tuple[Path, ...] = Field(
        default=(),
        description="Folders whose models everybody may add who may add models; others only who runs the installation.",
    )


class FileSource:
    """Reads folders, single files and archives."""

    def __init__(self, settings: Settings) -> None:
        self._folders = settings.folders

    async def open(self, secrets: SecretSource) -> None:
        """Nothing: what is there shows when it is asked for."""

    async def close(self) -> None:
        """Nothing is held."""

    async def listing(self, reference: SourceReference) -> SourceListing:
        """The files of a folder, or the one file; Denied when it lies where the caller may not look."""
        return await asyncio.to_thread(self._look, reference)

    async def read(
        self, reference: SourceReference, listing: SourceListing, file: SourceFile, offset: int
    ) -> AsyncGenerator[bytes]:
        """The file's bytes; Conflict when it is no longer what was listed."""
        descriptor = await asyncio.to_thread(_open, file)
        try:
            while piece := await asyncio.to_thread(os.pread, descriptor, _CHUNK, offset):
                offset += len(piece)
                yield piece
        finally:
            os.close(descriptor)

    def _look(self, reference: SourceReference) -> SourceListing:
        root = self._resolved(reference)
        found = list(_walk(root)) if root.is_dir() else [_described(root, root.name)]
        if reference.sha256 is not None:
            if root.is_dir():
                raise Invalid("sha256: a folder has none; leave it out", param="sha256")
            found = [SourceFile(found[0].path, found[0].size, reference.sha256, found[0].locator)]
        state = "\n".join(f"{file.path} {file.locator}" for file in found)
        archive = not root.is_dir() and is_archive(root.name)
        return SourceListing(tuple(found), sha256(state.encode()).hexdigest(), root.as_uri(), archive)

    def _resolved(self, reference: SourceReference) -> Path:
        path = _path_of(reference.url)
        try:
            root = path.resolve(strict=True)
        except (OSError, RuntimeError):
            root = None
        allowed = reference.trusted or any(_is_inside(root or path, folder) for folder in self._folders)
        if not allowed:
            # Before anything is said of what exists there.
            raise Denied("models of this machine can be added from the folders that the settings name for it")
        if root is None or not (root.is_dir() or root.is_file()):
            raise NotFound(f"there is no file or folder {path}", param="source")
        return root


def _path_of(url: str) -> Path:
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or not path.startswith("/") or parts.query or parts.fragment:
        raise Invalid(
            f"source: {url[:200]} is no address of a file; it should look like file:///folder", param="source"
        )
    if "\0" in path:
        raise Invalid("source: a path cannot hold that character", param="source")
    return Path(path)


def _is_inside(path: Path, folder: Path) -> bool:
    return ".." not in path.parts and path.is_relative_to(folder.resolve())


def _walk(root: Path) -> Iterator[SourceFile]:
    """The files of a folder, by path; hidden ones are left out."""
    entries = 0
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if (Path(folder) / name).is_symlink():
                raise _link((Path(folder) / name).relative_to(root))
        entries += len(files) + len(folders)
        if entries > _MAX_ENTRIES:
            raise Invalid(f"source: the folder holds more than {_MAX_ENTRIES} files", param="source")
        for name in sorted(name for name in files if not name.startswith(".")):
            path = Path(folder) / name
            yield _described(path, path.relative_to(root).as_posix())


def _described(path: Path, name: str) -> SourceFile:
    state = path.lstat()
    if not stat.S_ISREG(state.st_mode):
        raise _link(Path(name))
    return SourceFile(name, state.st_size, locator=f"{_state_of(state)} {path}")


def _link(name: Path) -> Invalid:
    return Invalid(f"{name.as_posix()}: is a link or a device; put the file itself there", param="source")


def _state_of(state: os.stat_result) -> str:
    return f"{state.st_dev}-{state.st_ino}-{state.st_size}-{state.st_mtime_ns}"


def _open(file: SourceFile) -> int:
    known, _, path = file.locator.partition(" ")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise Conflict(f"{file.path}: can no longer be read: {error.strerror}") from error
    if _state_of(os.fstat(descriptor)) != known:
        os.close(descriptor)
        raise Conflict(f"{file.path}: was changed while the model was fetched; try again")
    return descriptor


ADAPTER = FileSource
