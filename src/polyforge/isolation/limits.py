"""What a child runs, what it may use, and why it ended."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec


class ChildProgram(msgspec.Struct, frozen=True):
    """A program that serves with `isolation.program`: its command, what it is told, and the folder that it runs in."""

    command: tuple[str, ...]
    folder: str
    arguments: Mapping[str, Any]


class Limits(msgspec.Struct, frozen=True):
    """Bounds of one child process; times in seconds.

    `memory_bytes` is what it may have resident for itself. Its parent looks, several times a second: a bound of the
    kernel's on addresses (RLIMIT_AS) would stop libraries that reserve far more than they use. `run_seconds` is how
    long the next answer may take, `start_seconds` how long it may take to get ready. `cpu_seconds` is what all that it
    computes may take together, which the kernel keeps (RLIMIT_CPU); None: as long as its answers do not take too long.
    """

    memory_bytes: int
    run_seconds: float
    start_seconds: float
    open_files: int = 1024
    frame_bytes: int = 256 * 1024 * 1024
    cpu_seconds: int | None = None


Ending = Literal["crashed", "memory", "time", "protocol"]
"""Why a child is no more: by itself, over its memory, over its time, or for talking nonsense."""


class Ended(Exception):
    """The child is no more; `detail` says more of a crash, such as the signal's name."""

    def __init__(self, ending: Ending, detail: str = "") -> None:
        super().__init__(f"{ending} {detail}".rstrip())
        self.ending: Ending = ending
        self.detail = detail


class Refused(Exception):
    """The child cannot do what it was started for; the message is its own."""
