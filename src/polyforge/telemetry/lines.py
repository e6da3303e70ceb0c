"""Log lines on their way out: handed over without waiting, encoded and written by a thread of their own.

Whoever logs never waits for the reader of the log. When the reader is too slow, lines are dropped, and the number of
those is told in a line of its own once there is room again.
"""

import os
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import lru_cache

import msgspec

PIPE_WRITE = 4096
"""Bytes that POSIX writes to a pipe in one piece (PIPE_BUF on Linux), so that lines of two processes never mix."""

_BATCH = 256
_GATHER_SECONDS = 0.05
_IDLE_SECONDS = 1.0

encoder = msgspec.json.Encoder(enc_hook=lambda value: repr(value)[:1000])


class Line(msgspec.Struct):
    """A line that is encoded by the writer's thread."""

    time: float | str
    """Seconds since the epoch, and their text once settled."""

    def settle(self, process: str) -> None:
        """Finish, in the writer's thread, what was too dear to do where the line was made."""
        raise NotImplementedError


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as `2026-01-31T12:00:00.123Z`."""
    return _timestamp(int(seconds * 1000))


@lru_cache(maxsize=256)
def _timestamp(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:03d}Z"


def _ignore(count: int) -> None:
    del count


class LineWriter:
    """Writes JSON lines to a file descriptor from a thread; holds at most `limit` of them."""

    def __init__(
        self,
        fd: int,
        *,
        process: str = "",
        limit: int = 10_000,
        on_drop: Callable[[int], None] = _ignore,
    ) -> None:
        self._fd = fd
        self._process = process
        self._limit = limit
        self._on_drop = on_drop
        self._pending: deque[Line | msgspec.Raw] = deque()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._piece = PIPE_WRITE
        self._refused = 0
        self._lost = 0
        self._told = 0

    @property
    def dropped(self) -> int:
        """Lines that were never written, because the buffer was full or the descriptor refused them."""
        return self._refused + self._lost

    @property
    def alive(self) -> bool:
        """Whether lines that are put now will be written."""
        return self._thread is not None and not self._closing.is_set()

    def open(self) -> None:
        """Start the thread."""
        if stat.S_ISREG(os.fstat(self._fd).st_mode):
            self._piece = 1 << 20
        self._thread = threading.Thread(target=self._run, name="log-lines", daemon=True)
        self._thread.start()

    def close(self, timeout: float = 2.0) -> None:
        """Write what is pending, for at most `timeout` seconds."""
        self._closing.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def put(self, line: Line | msgspec.Raw) -> None:
        """Hand over one line, already masked when it is encoded. Never waits; drops it when the buffer is full."""
        pending = self._pending
        count = len(pending)
        if count >= self._limit:
            self._refused += 1
            return
        pending.append(line)
        if not count:
            self._wake.set()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(_IDLE_SECONDS)
            if self._wake.is_set():
                self._closing.wait(_GATHER_SECONDS)
                self._wake.clear()
            self._drain()
        self._drain()

    def _drain(self) -> None:
        while pending := self._pending:
            batch = [pending.popleft() for _ in range(min(len(pending), _BATCH))]
            unwritten = self._write_lines(self._encode(batch))
            self._lost += unwritten
        self._tell_drops()

    def _encode(self, batch: list[Line | msgspec.Raw]) -> bytes:
        for line in batch:
            if isinstance(line, Line):
                line.settle(self._process)
        try:
            return encoder.encode_lines(batch)
        except (UnicodeEncodeError, msgspec.EncodeError, TypeError, ValueError):
            return b"".join(self._encode_one(line) for line in batch)

    def _encode_one(self, line: Line | msgspec.Raw) -> bytes:
        try:
            return encoder.encode(line) + b"\n"
        except (UnicodeEncodeError, msgspec.EncodeError, TypeError, ValueError):
            self._lost += 1
            return b""

    def _write_lines(self, data: bytes) -> int:
        """Write `data` in pieces that end with a line; the number of lines that were lost."""
        start, size = 0, len(data)
        while start < size:
            end = size
            if size - start > self._piece:
                end = data.rfind(b"\n", start, start + self._piece) + 1 or data.find(b"\n", start) + 1
            if not self._write(data[start:end]):
                return data.count(b"\n", start)
            start = end
        return 0

    def _write(self, piece: bytes) -> bool:
        try:
            while piece:
                try:
                    piece = piece[os.write(self._fd, piece) :]
                except BlockingIOError:
                    select.select([], [self._fd], [], _IDLE_SECONDS)
        except (OSError, ValueError):
            return False
        return True

    def _tell_drops(self) -> None:
        dropped = self.dropped
        if dropped == self._told:
            return
        count, self._told = dropped - self._told, dropped
        self._on_drop(count)
        note = {
            "time": timestamp(time.time()),
            "level": "warning",
            "logger": "polyforge.telemetry.lines",
            "process": self._process,
            "event": "log lines were dropped; whatever reads the log is too slow",
            "count": count,
        }
        self._write(encoder.encode(note) + b"\n")
