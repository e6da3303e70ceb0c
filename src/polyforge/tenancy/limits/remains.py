"""What earlier starts of this machine left behind of the limits that it shares.

Where limits are shared the counters' file outlives its processes: with the journals it says what a machine that was
killed had used to the last unit. Its next start reads that before the journals go into the ledger, and keeps it until
the store has heard it.
"""

import fcntl
import os
from pathlib import Path
from typing import Final

import msgspec

from polyforge.kernel.errors import PolyforgeError
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.ledger.counters import shape_of
from polyforge.tenancy.ledger.recovery import next_incarnation, recover
from polyforge.tenancy.limits.leased import LeasedCounters

SUFFIX: Final = ".remains"
_COUNTERS: Final = ".counters"
_log = get_logger(__name__)


class Remains(msgspec.Struct, frozen=True):
    """What was used of a pool that counts for good, as far as the store counts it."""

    pool: str
    used: int


def counters_path(folder: Path, machine: str) -> Path:
    """Where the counters of one start of a machine are."""
    return folder / f"{machine}{_COUNTERS}"


def collect_remains(folder: Path, journals: Path, machine: str) -> None:
    """Write down what every start but this one used; before the journals are read, and by one worker at a time."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    journals.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "remains.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for path in folder.glob(f"*{_COUNTERS}"):
            if path.stem != machine:
                _collect(folder, path, journals)


def _collect(folder: Path, path: Path, journals: Path) -> None:
    try:
        found = _remains_of(path, journals)
    except PolyforgeError as error:
        _log.error("what an earlier start held of shared limits cannot be given back", reason=error.message)
        return
    written = folder / f"{path.stem}.new"
    written.write_bytes(msgspec.json.encode(found))
    os.replace(written, folder / f"{path.stem}{SUFFIX}")
    for each in folder.glob(f"{path.name}*"):
        each.unlink()


def _remains_of(path: Path, journals: Path) -> list[Remains]:
    capacity, workers = shape_of(path)
    found: list[Remains] = []
    for worker in range(workers):
        counters = LeasedCounters(path, worker, workers, capacity)
        counters.open(next_incarnation(journals, path.stem, worker))
        recover(counters, journals, path.stem, worker)
        if worker == workers - 1:
            found = [Remains(part.pool, counters.used(part) - counters.before(part)) for part in counters.lasting()]
        counters.close()
    return found
