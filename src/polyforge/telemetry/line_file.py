"""A file of lines that others collect from. Full ones are kept under numbers, `.1` the latest."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from polyforge.kernel.errors import Unavailable

_BLOCK: Final = 65_536


class LineFile:
    """Appends lines, and has them on the disk before it says so. One that would outgrow `max_bytes` is put aside.

    The file is opened for each batch, so that others may put it aside as well.
    """

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._turn = asyncio.Lock()

    async def append(self, lines: Sequence[bytes]) -> None:
        """Append them all, each without its line break; Unavailable when that is not possible, and then none."""
        body = b"".join(line + b"\n" for line in lines)
        try:
            # A thread cannot be stopped halfway, so the next batch waits for one that was given up.
            await asyncio.shield(self._append_in_turn(body))
        except OSError as error:
            raise Unavailable(f"cannot write {self._path}: {error.strerror}") from error

    async def _append_in_turn(self, body: bytes) -> None:
        async with self._turn:
            await asyncio.to_thread(self._append, body)

    def _append(self, body: bytes) -> None:
        if self._size() + len(body) > self._max_bytes:
            self._put_aside()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            begin = _whole_lines(descriptor)
            os.ftruncate(descriptor, begin)
            _write(descriptor, body, begin)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if begin == 0:
            _sync_folder(self._path.parent)

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def _put_aside(self) -> None:
        for number in range(self._keep, 0, -1):
            older = self._numbered(number - 1)
            if older.exists():
                older.replace(self._numbered(number))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path


def _whole_lines(descriptor: int) -> int:
    """The length of the file up to its last line break: a crash may have left a part of a line, which comes again."""
    end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - _BLOCK)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _write(descriptor: int, body: bytes, begin: int) -> None:
    """Append the whole body or nothing."""
    rest = memoryview(body)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError:
        os.ftruncate(descriptor, begin)
        raise


def _sync_folder(folder: Path) -> None:
    """So that a new file is found again when the power fails."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
