"""One process's metrics as numbers in a memory-mapped file, where they outlive it and other processes can read them.

Layout: a header of three 64-bit words (magic, number of cells, bytes of catalogue), the cells (float64), the catalogue
(JSON lines: first the owner, then one line per series with the index of its first cell). Only the owner writes, and
holds an exclusive flock on the file as long as it lives. A cell is an aligned 8-byte word, written and read in one
piece, so a reader never sees half a number; a catalogue line counts once the header says so.
"""

import fcntl
import mmap
import os
from pathlib import Path

import msgspec

_MAGIC = int.from_bytes(b"PFCELLS1", "little")
_WORD = 8
_HEADER_WORDS = 3
_HEADER = _HEADER_WORDS * _WORD
_LINE_BYTES = 192
"""Catalogue space set aside per series."""
_SCRAP = 64
"""Cells at the start for what found no room; no series is wider."""


class Owner(msgspec.Struct, frozen=True):
    """Whose numbers they are."""

    process: str
    pid: int
    started: float
    """Seconds since the epoch."""


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """One series: `width` cells from `cell` on."""

    family: str
    labels: tuple[str, ...]
    cell: int
    width: int


class CellFile:
    """The owner's side. Without a path the cells live in memory, for tests and processes that share nothing."""

    def __init__(self, path: Path | None, owner: Owner, *, cells: int, series: int) -> None:
        self._path = path
        self._owner = owner
        self._room = _SCRAP + cells
        self._catalogue_room = (series + 1) * _LINE_BYTES
        self._used_cells = _SCRAP
        self._fd = -1

    def open(self) -> None:
        """Create the file with all its space, so that a full disk fails here and not at a write to the mapping."""
        size = _HEADER + self._room * _WORD + self._catalogue_room
        self._map = self._create(self._path, size) if self._path else mmap.mmap(-1, size)
        view = memoryview(self._map)
        self._header = view[:_HEADER].cast("Q")
        self.cells: memoryview[float] = view[_HEADER : _HEADER + self._room * _WORD].cast("d")
        self._catalogue = view[_HEADER + self._room * _WORD :]
        self._header[0] = _MAGIC
        self._header[1] = self._room
        self._append(msgspec.json.encode(self._owner))

    def _create(self, path: Path, size: int) -> mmap.mmap:
        draft = path.with_suffix(".new")
        self._fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _set_aside(self._fd, size)
        mapped = mmap.mmap(self._fd, size)
        draft.rename(path)
        return mapped

    def close(self) -> None:
        """Let go of the file; its counts stay where others find them, and what is counted from now on may be lost."""
        if self._fd >= 0:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)
            self._fd = -1

    def add(self, family: str, labels: tuple[str, ...], width: int) -> int:
        """The first cell of a new series; when there is no room for it, cells that nobody reads."""
        cell = self._used_cells
        line = msgspec.json.encode(Entry(family, labels, cell, width))
        if cell + width > self._room or not self._append(line):
            return 0
        self._used_cells = cell + width
        return cell

    def _append(self, line: bytes) -> bool:
        used = self._header[2]
        end = used + len(line) + 1
        if end > len(self._catalogue):
            return False
        self._catalogue[used:end] = line + b"\n"
        self._header[2] = end
        return True


def _set_aside(fd: int, size: int) -> None:
    """Have the disk keep so much for a file of zeros; OSError when there is not enough of it.

    What is written is in the page cache, in large pieces, each of which is this process's memory as a whole as soon as
    one cell in it is used: 2 MB for a file of which nearly all is never used. So it is written only where it must be.
    """
    try:
        os.posix_fallocate(fd, 0, size)
    except (AttributeError, OSError):
        # Not os.pwrite, which is content with a part of it on a disk that is nearly full.
        with open(fd, "wb", closefd=False) as file:
            file.write(bytes(size))


class Snapshot(msgspec.Struct):
    """What was read from a process's file."""

    owner: Owner
    alive: bool
    series: list[tuple[Entry, list[float]]]


_owner_decoder = msgspec.json.Decoder(Owner)
_entry_decoder = msgspec.json.Decoder(Entry)


def read_cells(path: Path) -> Snapshot | None:
    """The numbers in a file as they are now; None when it is no such file, FileNotFoundError when it is gone."""
    fd = os.open(path, os.O_RDONLY)
    try:
        alive = _is_locked(fd)
        size = os.fstat(fd).st_size
        if size < _HEADER:
            return None
        with mmap.mmap(fd, size, access=mmap.ACCESS_READ) as mapped:
            return _parse(mapped, size, alive)
    finally:
        os.close(fd)


def _is_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def _parse(mapped: mmap.mmap, size: int, alive: bool) -> Snapshot | None:
    with memoryview(mapped) as view, view[:_HEADER].cast("Q") as header:
        magic, room, used = header
        start = _HEADER + room * _WORD
        if magic != _MAGIC or start + used > size:
            return None
        with view[_HEADER:start].cast("d") as cells:
            return _parse_catalogue(bytes(view[start : start + used]), cells, alive)


def _parse_catalogue(catalogue: bytes, cells: "memoryview[float]", alive: bool) -> Snapshot | None:
    first, _, rest = catalogue.partition(b"\n")
    try:
        owner = _owner_decoder.decode(first)
        entries = _entry_decoder.decode_lines(rest)
    except msgspec.DecodeError:
        return None
    entries = [entry for entry in entries if entry.cell + entry.width <= len(cells)]
    return Snapshot(owner, alive, [(entry, _values(cells, entry)) for entry in entries])


def _values(cells: "memoryview[float]", entry: Entry) -> list[float]:
    return list(cells[entry.cell : entry.cell + entry.width])
