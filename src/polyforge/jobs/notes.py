"""What a run says meanwhile, until it is written: its progress, and lines of its log."""

from typing import Final

from polyforge.jobs.records import MAX_LOG_BYTES, MAX_LOG_LINES, Level, LogLine, Progress
from polyforge.kernel.clock import Clock

_BUFFERED: Final = 1_000
"""Lines that wait to be written; a run that says more in half a second loses some, and is told so."""
_UNIT: Final = 32
_NOTE: Final = 200


class Notes:
    """Of one run, from the line after `last_line` on."""

    def __init__(self, clock: Clock, last_line: int, progress: Progress) -> None:
        self._clock = clock
        self._seq = last_line
        self._lines: list[LogLine] = []
        self._dropped = 0
        self._progress = progress
        self._written = progress

    @property
    def progress(self) -> Progress:
        """The latest that was said."""
        return self._progress

    @property
    def is_new(self) -> bool:
        """Whether there is anything to write."""
        return bool(self._lines) or self._progress != self._written

    def say(self, done: float, total: float | None, unit: str, note: str) -> None:
        """Set the progress."""
        of = None if total is None else float(total)
        self._progress = Progress(float(done), of, storable(unit)[:_UNIT], storable(note)[:_NOTE])

    def log(self, level: Level, text: str) -> None:
        """Add a line, as far as there is room."""
        if self._seq >= MAX_LOG_LINES:
            return
        if len(self._lines) >= _BUFFERED:
            self._dropped += 1
            return
        if self._seq == MAX_LOG_LINES - 1:
            level, text = "warning", f"the log ends here: a job has {MAX_LOG_LINES} lines at most"
        self._add(level, text)

    def take(self) -> tuple[list[LogLine], Progress | None]:
        """What is to be written now, and no longer waits: the lines, and the progress where it is new."""
        if self._dropped and self._seq < MAX_LOG_LINES - 1:
            self._add("warning", f"{self._dropped} lines were left out: too many at once")
        self._dropped = 0
        lines, self._lines = self._lines, []
        changed = self._progress != self._written
        self._written = self._progress
        return lines, self._progress if changed else None

    def give_back(self, lines: list[LogLine]) -> None:
        """They could not be written; the next time."""
        self._lines = lines + self._lines
        self._written = Progress(-1)

    def _add(self, level: Level, text: str) -> None:
        self._seq += 1
        self._lines.append(LogLine(self._seq, self._clock.now(), level, _cut(text)))


def storable(text: str) -> str:
    """The text without what no database keeps."""
    return text.replace("\0", "").encode(errors="replace").decode()


def _cut(text: str) -> str:
    data = storable(text).encode()
    return data.decode() if len(data) <= MAX_LOG_BYTES else data[: MAX_LOG_BYTES - 3].decode(errors="ignore") + "..."
