"""How much memory a process has for itself."""

import ctypes
import sys
from pathlib import Path
from typing import Any, Final, cast

_OWN: Final = ("RssAnon:", "RssShmem:")
_RUSAGE_INFO_V0: Final = 0
_USAGE_WORDS: Final = 12
"""struct rusage_info_v0 (macOS, sys/resource.h): 16 bytes of UUID and ten numbers of 8 bytes; with room to spare."""
_FOOTPRINT_WORD: Final = 9
"""ri_phys_footprint: after the UUID come user_time, system_time, two counts of wake-ups, pageins, wired, resident."""


def own_bytes(pid: int) -> int | None:
    """Resident bytes of a process without pages of files, which the machine can take back; None when it is gone.

    Linux: RssAnon and RssShmem of /proc/PID/status; macOS: the physical footprint.
    """
    if sys.platform == "darwin":
        return _footprint(pid)
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) for line in lines if line.startswith(_OWN)]
    return sum(found) * 1024 if found else None


def _footprint(pid: int) -> int | None:
    usage = (ctypes.c_uint64 * _USAGE_WORDS)()
    failed = cast(Any, ctypes.CDLL(None)).proc_pid_rusage(pid, _RUSAGE_INFO_V0, usage)
    return None if failed else usage[_FOOTPRINT_WORD]
