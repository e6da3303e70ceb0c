"""Puts a worker's counters right after it died: what its journals hold and its cells do not, and nothing twice.

A start of a worker first recovers what its earlier starts left, and only then begins a journal of its own. Recovery
writes absolute values, cell by cell, so it may itself be killed and run again.
"""

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from polyforge.tenancy.ledger.counters import Cell, SharedCounters
from polyforge.tenancy.ledger.journal import SegmentName, read, segments
from polyforge.tenancy.ledger.records import Intent

_LAST = 1 << 62


class _Charge(NamedTuple):
    incarnation: int
    number: int
    period: int
    worth: int
    """Micro-USD; in the slot of a limit, whatever it counts in."""


def next_incarnation(folder: Path, session: str, worker: int) -> int:
    """The number of this start of a worker, from 1."""
    return 1 + max((name.incarnation for name in _own(folder, session, worker)), default=0)


def recover(counters: SharedCounters, folder: Path, session: str, worker: int) -> None:
    """Free the reservations of this worker's earlier starts and count what they settled or left open."""
    charges = _charges(folder, session, worker)
    for slot_name, slot in counters.slots():
        cell = counters.cell(slot, worker)
        if cell.incarnation in (0, counters.incarnation):
            continue
        missing = (c.worth for c in charges[slot_name] if c.period == cell.period and _is_missing(c, cell))
        counters.restore(
            slot, Cell(counters.incarnation, 0, cell.period, cell.spent + sum(missing), reserved=0, in_flight=0)
        )


def _is_missing(charge: _Charge, cell: Cell) -> bool:
    return (charge.incarnation, charge.number) > (cell.incarnation, cell.applied)


def _own(folder: Path, session: str, worker: int) -> list[SegmentName]:
    if not folder.is_dir():
        return []
    return [name for name in segments(folder) if name.session == session and name.worker == worker]


def _charges(folder: Path, session: str, worker: int) -> defaultdict[str, list[_Charge]]:
    charges: defaultdict[str, list[_Charge]] = defaultdict(list)
    unsettled: dict[tuple[int, str], Intent] = {}
    for name in _own(folder, session, worker):
        for entry in read(folder / str(name)):
            if isinstance(entry.record, Intent):
                unsettled[name.incarnation, entry.record.id] = entry.record
                continue
            intent = unsettled.pop((name.incarnation, entry.record.id), None)
            if intent is None:
                continue
            if intent.slot:
                charge = _Charge(name.incarnation, entry.number, entry.record.period_start, entry.record.price)
                charges[intent.slot].append(charge)
            for hold in intent.holds:
                charge = _Charge(name.incarnation, entry.number, hold.window, hold.worth(entry.record))
                charges[hold.slot].append(charge)
    for (incarnation, _), intent in unsettled.items():
        charges[intent.slot].append(_Charge(incarnation, _LAST, intent.period_start, intent.reserved))
        for hold in intent.holds:
            charges[hold.slot].append(_Charge(incarnation, _LAST, hold.window, hold.reserved))
    return charges
