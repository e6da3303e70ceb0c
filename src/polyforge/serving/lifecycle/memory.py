"""What memory this process has, what a model's files suggest that it will take, and giving back what is free."""

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

MAX_FILES: Final = 10_000
"""Of a folder; what is beyond is not counted."""
STATM: Final = Path("/proc/self/statm")
RESIDENT_FIELD: Final = 1


def folder_bytes(folder: Path) -> int:
    """The size of all files below a folder: what a model is taken to need before it was ever loaded."""
    total = 0
    files = 0
    for place, _, names in os.walk(folder):
        for name in names:
            files += 1
            if files > MAX_FILES:
                return total
            total += _size(os.path.join(place, name))
    return total


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def resident_bytes() -> int | None:
    """The memory of this process that is in RAM; None on systems that do not tell."""
    try:
        fields = STATM.read_bytes().split()
    except OSError:
        return None
    return int(fields[RESIDENT_FIELD]) * os.sysconf("SC_PAGE_SIZE")


def give_back() -> None:
    """Return free memory to the system: glibc keeps what was freed between blocks in use. Takes milliseconds."""
    if _trim is not None:
        _trim(0)


def _find_trim() -> Callable[[int], int] | None:
    """glibc's malloc_trim(3); None where the C library has none."""
    if sys.platform != "linux":
        return None
    return cast(Callable[[int], int] | None, getattr(cast(Any, ctypes.CDLL(None)), "malloc_trim", None))


_trim: Final = _find_trim()
