"""What the kernel knows about a process, read when somebody asks (Linux: /proc; elsewhere only our own CPU time)."""

import os
import time
from pathlib import Path

import msgspec

_USER_TIME, _SYSTEM_TIME = 11, 12
"""Positions of utime and stime among the fields of /proc/PID/stat that follow the name (proc(5), fields 14 and 15)."""


class ProcessFacts(msgspec.Struct, frozen=True):
    """CPU time in seconds, resident memory in bytes, open descriptors; None where nobody knows."""

    cpu_seconds: float | None = None
    resident_bytes: int | None = None
    open_files: int | None = None


def facts_of(pid: int, proc: Path = Path("/proc")) -> ProcessFacts:
    """What a process uses now; nothing when it is gone."""
    folder = proc / str(pid)
    try:
        after_name = (folder / "stat").read_text().rpartition(")")[2].split()
        resident_pages = int((folder / "statm").read_text().split()[1])
        open_files = len(os.listdir(folder / "fd"))
    except OSError:
        return ProcessFacts(cpu_seconds=time.process_time()) if pid == os.getpid() else ProcessFacts()
    ticks = int(after_name[_USER_TIME]) + int(after_name[_SYSTEM_TIME])
    return ProcessFacts(ticks / os.sysconf("SC_CLK_TCK"), resident_pages * os.sysconf("SC_PAGE_SIZE"), open_files)
