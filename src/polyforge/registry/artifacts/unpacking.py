"""Unpacks an archive that somebody else made, as a program of its own: `python -m ... ARCHIVE FOLDER FILES BYTES`.

Only plain files come out: links, devices and paths that lead elsewhere end it, and so do more files or bytes than
allowed, counted as they come out and not as the archive promises. What is wrong stands on stderr, with status 3.
"""

import gzip
import lzma
import resource
import shutil
import stat
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from polyforge.kernel.errors import Invalid
from polyforge.registry.artifacts.paths import check_paths

REFUSED: Final = 3
MEMORY_BYTES: Final = 2 * 1024**3
_CHUNK: Final = 1024 * 1024
_BROKEN: Final = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)
"""What the standard library raises for archives that are cut off, wrong or encrypted, and, as NotImplementedError, for
compression that it does not know."""

_Member = tuple[str, IO[bytes]]


class _Budget:
    """What may still come out."""

    def __init__(self, max_files: int, max_bytes: int) -> None:
        self._files = self._max_files = max_files
        self._bytes = self._max_bytes = max_bytes

    def file(self) -> None:
        """Count a file."""
        self._files -= 1
        if self._files < 0:
            raise Invalid(f"the archive holds more than {self._max_files} files")

    def spend(self, count: int) -> None:
        """Count bytes."""
        self._bytes -= count
        if self._bytes < 0:
            raise Invalid(f"the archive holds more than {self._max_bytes} bytes")


def unpack(archive: Path, folder: Path, max_files: int, max_bytes: int) -> None:
    """Write the files of an archive into `folder`, which is there and empty; Invalid says what is wrong with it."""
    budget = _Budget(max_files, max_bytes)
    names: list[str] = []
    try:
        for name, content in _members(archive, budget):
            names.append(name)
            check_paths([name])
            _write(folder / name, content, budget)
    except _BROKEN as error:
        raise Invalid(f"the archive is broken, or of a kind that is not read: {error}") from error
    check_paths(names)
    if not names:
        raise Invalid("the archive holds no files")


def _members(archive: Path, budget: _Budget) -> Iterator[_Member]:
    return _of_zip(archive, budget) if zipfile.is_zipfile(archive) else _of_tar(archive, budget)


def _of_zip(archive: Path, budget: _Budget) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            budget.file()
            mode = member.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise Invalid(f"{member.filename!r} in the archive is a link or a device, not a file")
            if not member.is_dir():
                with opened.open(member) as content:
                    yield member.filename, content


def _of_tar(archive: Path, budget: _Budget) -> Iterator[_Member]:
    with tarfile.open(archive, "r:*") as opened:
        for member in opened:
            budget.file()
            if member.isdir():
                continue
            if not member.isreg():
                raise Invalid(f"{member.name!r} in the archive is a link or a device, not a file")
            content = opened.extractfile(member)
            assert content is not None, "regular files can be read"
            yield member.name.removeprefix("./"), content


def _write(path: Path, content: IO[bytes], budget: _Budget) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as out:
            while piece := content.read(_CHUNK):
                budget.spend(len(piece))
                out.write(piece)
    except (FileExistsError, NotADirectoryError) as error:
        raise Invalid(f"{path.name!r} is in the archive twice, or is both a file and a folder") from error


def _limit(max_bytes: int, folder: Path) -> None:
    """What an archive does to the memory of this program, or to the disk, has bounds that it cannot talk away."""
    free = shutil.disk_usage(folder).free
    # macOS has the name of this limit, and does not know it.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    most = min(max_bytes, free) + _CHUNK
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Unpack what the command line names."""
    archive, folder, max_files, max_bytes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    _limit(max_bytes, folder)
    try:
        unpack(archive, folder, max_files, max_bytes)
    except Invalid as error:
        sys.stderr.write(error.message)
        sys.exit(REFUSED)
    except MemoryError:
        sys.stderr.write(f"the archive needs more than {MEMORY_BYTES} bytes of memory to be unpacked")
        sys.exit(REFUSED)


if __name__ == "__main__":
    main()
