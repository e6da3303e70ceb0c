"""The journal: what is about to be called, and what it came to, on disk before anything depends on it.

One file per worker, start and segment, append-only. A record is `length, crc32, kind, number` (17 bytes,
little-endian) and a MessagePack body; the check covers kind, number and body. A settlement is in the file before the
last byte of its answer is sent. The page cache outlives a killed process; `fdatasync` once a second bounds what a
power cut can take. When a segment is full the next one begins with the intents still open, so that an older segment
is of no use once the ledger has its records.

File names: `<session>-<worker>-<incarnation>-<segment>.journal`.
"""

import asyncio
import fcntl
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from polyforge.kernel.errors import Unavailable
from polyforge.tenancy.ledger.records import Hold, Intent, UsageRecord

SEGMENT_BYTES = 64 * 1024 * 1024
_FRAME = struct.Struct("<IIBQ")
MAGIC = b"PFJRNL01"
HEADER_BYTES = len(MAGIC)
INTENT, SETTLEMENT = 1, 2
_LONGEST = 1024 * 1024
_UNREAD = (0, 0, INTENT, 0)
"""Stands for the beginning of a record that is not whole yet."""
_READ_BYTES = 256 * 1024
_NAME = re.compile(r"^(?P<session>[0-9A-Z]{26})-(?P<worker>\d+)-(?P<incarnation>\d+)-(?P<segment>\d+)\.journal$")

_encode = msgspec.msgpack.Encoder().encode
_intents = msgspec.msgpack.Decoder(Intent)
_settlements = msgspec.msgpack.Decoder(UsageRecord)


class SegmentName(NamedTuple):
    """Whose journal a file is a part of."""

    session: str
    worker: int
    incarnation: int
    segment: int

    def __str__(self) -> str:
        return f"{self.session}-{self.worker}-{self.incarnation}-{self.segment:06d}.journal"

    @classmethod
    def parse(cls, name: str) -> "SegmentName | None":
        """The parts of a file name; None when it is no segment's."""
        match = _NAME.match(name)
        if match is None:
            return None
        return cls(match["session"], int(match["worker"]), int(match["incarnation"]), int(match["segment"]))


class Entry(NamedTuple):
    """One record of a segment, its number within the incarnation, and the offset just after it."""

    number: int
    end: int
    record: Intent | UsageRecord


def segments(folder: Path) -> list[SegmentName]:
    """The segments in a folder, oldest first within each worker's start."""
    names = (SegmentName.parse(name) for name in os.listdir(folder))
    return sorted(name for name in names if name is not None)


def is_owned(path: Path) -> bool:
    """Whether a living process still appends to this segment."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def read(path: Path, start: int = 0, *, intents: bool = True) -> Iterator[Entry]:
    """The whole records after offset `start` (0: from the first); stops before a torn tail.

    Without `intents` these are checked, but neither decoded nor given out.
    """
    with path.open("rb") as file:
        _check_magic(path, file.read(HEADER_BYTES))
        at = max(start, HEADER_BYTES)
        file.seek(at)
        data, used = file.read(_READ_BYTES), 0
        while True:
            length, check, kind, number = _FRAME.unpack_from(data, used) if len(data) - used >= _FRAME.size else _UNREAD
            if length > _LONGEST or kind not in (INTENT, SETTLEMENT):
                return
            begin, end = used + _FRAME.size, used + _FRAME.size + length
            if end > len(data):
                more = file.read(max(_READ_BYTES, end - len(data)))
                if not more:
                    return
                data, at, used = data[used:] + more, at + used, 0
                continue
            body, used = data[begin:end], end
            if zlib.crc32(body, number << 1 & 0xFFFFFFFF | kind & 1) != check:
                return
            if kind == SETTLEMENT:
                yield Entry(number, at + used, _settlements.decode(body))
            elif intents:
                yield Entry(number, at + used, _intents.decode(body))


def _check_magic(path: Path, found: bytes) -> None:
    if found != MAGIC[: len(found)]:
        raise Unavailable(f"{path} is not a journal of this version")


class Journal:
    """The segment that this worker appends to, from one thread."""

    def __init__(
        self,
        folder: Path,
        session: str,
        worker: int,
        incarnation: int,
        limit: int = SEGMENT_BYTES,
        before_rotation: Callable[[], None] = lambda: None,
    ) -> None:
        """`before_rotation` is called while the old segment is still there: afterwards nobody needs it to recover."""
        self._folder = folder
        self._before_rotation = before_rotation
        self._name = SegmentName(session, worker, incarnation, 0)
        self._limit = limit
        self._fd = -1
        self._size = 0
        self._number = 0
        self._open: dict[str, Intent] = {}
        self._unwritten: list[bytes] = []

    def open(self) -> None:
        """Begin the first segment."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._begin_segment()

    def close(self) -> None:
        """Write down everything and let go of the segment."""
        if self._fd >= 0:
            self._write_rest()
            os.fdatasync(self._fd)
            os.close(self._fd)
            self._fd = -1

    @property
    def unsettled(self) -> int:
        """Calls under way."""
        return len(self._open)

    def intend(self, intent: Intent) -> None:
        """Write an intent down; Unavailable when that is not possible, and then the call must not be made."""
        if self._unwritten:
            raise Unavailable("the journal cannot be written; see the log of the gateway", retry_after=1.0)
        if self._size > self._limit:
            self._rotate()
        if not self._append(self._frame(INTENT, _encode(intent))):
            raise Unavailable("the journal cannot be written; is the disk full?", retry_after=1.0)
        self._open[intent.id] = intent

    def hold(self, call_id: str, holds: tuple[Hold, ...]) -> None:
        """Write the intent of a call under way down again, with what it holds now; Unavailable as for `intend`."""
        intent = self._open.get(call_id)
        if intent is not None:
            self.intend(msgspec.structs.replace(intent, holds=holds))

    def settle(self, record: UsageRecord) -> int:
        """Write down what a call came to and return the number of that record.

        Where the disk refuses, the record waits in memory for `make_durable` to try again; until then no new intent
        is taken.
        """
        frame = self._frame(SETTLEMENT, _encode(record))
        if self._unwritten or not self._append(frame):
            self._unwritten.append(frame)
        self._open.pop(record.id, None)
        return self._number

    def note(self, record: UsageRecord) -> bool:
        """Write down a request that never became a call; False where that is not possible, and then nobody waits."""
        if self._unwritten:
            return False
        if self._size > self._limit:
            self._rotate()
        return self._append(self._frame(SETTLEMENT, _encode(record)))

    async def make_durable(self) -> None:
        """Make everything written so far survive a power cut, after another try at what could not be written."""
        self._write_rest()
        descriptor = os.dup(self._fd)
        try:
            await asyncio.to_thread(os.fdatasync, descriptor)
        finally:
            os.close(descriptor)

    def _write_rest(self) -> None:
        while self._unwritten and self._append(self._unwritten[0]):
            del self._unwritten[0]

    def _frame(self, kind: int, body: bytes) -> bytes:
        self._number = number = self._number + 1
        return _FRAME.pack(len(body), zlib.crc32(body, number << 1 & 0xFFFFFFFF | kind & 1), kind, number) + body

    def _append(self, frame: bytes) -> bool:
        try:
            written = os.write(self._fd, frame)
        except OSError:
            written = 0
        if written == len(frame):
            self._size += written
            return True
        os.ftruncate(self._fd, self._size)
        return False

    def _begin_segment(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        fd = os.open(self._folder / str(self._name), flags, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.write(fd, MAGIC)
        self._fd, self._size = fd, HEADER_BYTES

    def _rotate(self) -> None:
        """Go on in a new segment that begins with the intents still open; on failure stay in the old one.

        Called before an intent or a refusal, never after a settlement: by then the counters hold every settlement of
        the old segment, so recovery needs none of it.
        """
        self._before_rotation()
        old, size, name = self._fd, self._size, self._name
        self._name = name._replace(segment=name.segment + 1)
        try:
            self._begin_segment()
        except OSError:
            self._fd, self._size, self._name = old, size, name
            return
        for intent in self._open.values():
            self._append(self._frame(INTENT, _encode(intent)))
        os.close(old)
