"""What a child writes to its standard output and error, line by line, and no more of it than a log can bear."""

import time
from collections.abc import Callable, Iterator
from typing import Final

MAX_LINE_BYTES: Final = 2_000
BURST_LINES: Final = 200
LINES_PER_SECOND: Final = 20.0


class OutputLines:
    """Cuts lines out of chunks. Long ones lose their end; where there are too many, only their number is told."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rest = b""
        self._cutting = False
        self._room = float(BURST_LINES)
        self._at = clock()
        self._left_out = 0

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The lines that are complete with this chunk, those that are worth telling."""
        *lines, rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if self._cutting:
                self._cutting = False
            else:
                yield from self._told(line)
        if not self._cutting and len(rest) > MAX_LINE_BYTES:
            yield from self._told(rest)
            self._cutting = True
        self._rest = b"" if self._cutting else rest

    def end(self) -> Iterator[str]:
        """What was not ended by a newline, and how many lines were left out."""
        if self._rest:
            yield from self._told(self._rest)
        if self._left_out:
            yield self._count()

    def _told(self, line: bytes) -> Iterator[str]:
        now = self._clock()
        self._room = min(float(BURST_LINES), self._room + (now - self._at) * LINES_PER_SECOND)
        self._at = now
        if not line.strip():
            return
        if self._room < 1:
            self._left_out += 1
            return
        self._room -= 1
        if self._left_out:
            yield self._count()
        yield line[:MAX_LINE_BYTES].decode(errors="replace")

    def _count(self) -> str:
        count, self._left_out = self._left_out, 0
        return f"({count} lines were left out: too many at once)"
