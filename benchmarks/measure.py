"""What a run costs a process tree, how much of the machine was really ours, and what machine it is."""

import os
import platform
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import descendants, stat_fields
from benchmarks.results import Machine

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
USER, SYSTEM, REAPED_USER, REAPED_SYSTEM = 11, 12, 13, 14
"""Positions in /proc/<pid>/stat counted from the state."""
SPIN_ROUNDS = 400_000
QUIET_SHARE = 0.1
"""Of one core: a process tree that takes less has nothing to do, but for what it does every second."""
QUIET_LOOKS = 2
MOST_LOOKS = 30


def cpu_seconds(root: int) -> float:
    """User and system CPU time of a process tree so far, children that have ended included."""
    ticks = 0
    for pid in descendants(root):
        if fields := stat_fields(pid):
            ticks += sum(int(fields[field]) for field in (USER, SYSTEM, REAPED_USER, REAPED_SYSTEM))
    return ticks / TICKS_PER_SECOND


def memory_bytes(root: int) -> int:
    """Proportional set size of a process tree: shared pages are counted once."""
    return sum(_pss(pid) for pid in descendants(root))


def settled_memory_bytes(root: int, look_seconds: float = 2.0) -> int:
    """The same once a tree that just got ready has no more to do: some processes start only then.

    Of a tree that never rests, what it has after `MOST_LOOKS` looks.
    """
    quiet, before = 0, cpu_seconds(root)
    for _ in range(MOST_LOOKS):
        time.sleep(look_seconds)
        spent = cpu_seconds(root)
        quiet = quiet + 1 if spent - before < QUIET_SHARE * look_seconds else 0
        before = spent
        if quiet == QUIET_LOOKS:
            break
    return memory_bytes(root)


def spin_seconds(core: int) -> float:
    """CPU time of a fixed piece of work on a core: how fast the machine is at this moment."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    started = time.process_time()
    total = 0
    for number in range(SPIN_ROUNDS):
        total += number
    spent = time.process_time() - started
    os.sched_setaffinity(0, before)
    return spent


def pin_self(core: int) -> None:
    """Keep the harness off the server's core."""
    os.sched_setaffinity(0, {core})


@dataclass(frozen=True)
class CoreTimes:
    """Seconds a core has been busy, and stolen by the hypervisor, since the machine started."""

    busy: float
    stolen: float

    @classmethod
    def of(cls, core: int) -> "CoreTimes":
        """Read one core's times."""
        for line in Path("/proc/stat").read_text().splitlines():
            name, *fields = line.split()
            if name == f"cpu{core}":
                user, nice, system, _idle, _wait, hard, soft, steal = (int(field) for field in fields[:8])
                busy = user + nice + system + hard + soft
                return cls(busy / TICKS_PER_SECOND, steal / TICKS_PER_SECOND)
        raise LookupError(f"/proc/stat has no cpu{core}")


def machine() -> Machine:
    """The machine and its state, as written into every result."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = next((line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        cpu=model or platform.processor() or platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=memory,
        system=_system_name(),
        kernel=platform.release(),
        python=platform.python_version(),
        load_before=os.getloadavg(),
    )


def version_of(*command: str) -> str:
    """The first line that a program prints about its version, on either stream."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if lines else "unknown"


def _pss(pid: int) -> int:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))


def _system_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()
