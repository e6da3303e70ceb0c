"""Adds up the cell files of all processes, dead ones included, so that no counter ever falls or counts twice.

The files of dead processes are folded into one, `folded.json`, by whichever process starts next. The new folded file
names the files that it contains and replaces the old one in one step, so that a crash at any point leaves each file
either counted by itself or contained, never both. Readers take no lock: they start over when they see a fold happen.
"""

import contextlib
import fcntl
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import msgspec

from polyforge.telemetry.cells import Owner, Snapshot, read_cells
from polyforge.telemetry.families import BY_NAME

Series = tuple[str, tuple[str, ...]]
"""A metric's name and its label values."""
Totals = dict[Series, list[float]]

SUFFIX = ".cells"
_FOLDED = "folded.json"
_LOCK = "lock"
_TRIES = 50


class Folded(msgspec.Struct, array_like=True):
    """What dead processes left behind."""

    generation: int = 0
    contains: list[str] = []
    series: list[tuple[str, tuple[str, ...], list[float]]] = []


class Collected(msgspec.Struct):
    """The sum over all processes, and who of them is alive."""

    totals: Totals
    alive: list[Owner]


_decoder = msgspec.json.Decoder(Folded)


def collect(folder: Path) -> Collected:
    """The numbers of all processes as they are now. Takes no lock, blocks on nothing but the disk."""
    for _ in range(_TRIES):
        folded = _read_folded(folder)
        try:
            snapshots = _read_all(folder, folded)
        except FileNotFoundError:
            continue
        if _read_folded(folder).generation == folded.generation:
            return _add_up(folded, snapshots)
    raise OSError(f"the metrics in {folder} change faster than they can be read")


def fold(folder: Path) -> None:
    """Fold the files of dead processes into one; does nothing while another process does that."""
    with _only_one(folder) as mine:
        if not mine:
            return
        folded = _read_folded(folder)
        for name in folded.contains:
            _remove(folder / name)
        dead = {path.name: snapshot for path, snapshot in _snapshots(folder, ()) if not snapshot.alive}
        if dead:
            totals = _add_up(folded, list(dead.values())).totals
            series = [(family, labels, values) for (family, labels), values in totals.items()]
            _replace(folder, Folded(folded.generation + 1, list(dead), series))
            for name in dead:
                _remove(folder / name)


def _read_folded(folder: Path) -> Folded:
    try:
        return _decoder.decode((folder / _FOLDED).read_bytes())
    except FileNotFoundError:
        return Folded()


def _replace(folder: Path, folded: Folded) -> None:
    draft = folder / f"{_FOLDED}.new"
    draft.write_bytes(msgspec.json.encode(folded))
    draft.replace(folder / _FOLDED)


def _read_all(folder: Path, folded: Folded) -> list[Snapshot]:
    return [snapshot for _, snapshot in _snapshots(folder, folded.contains)]


def _snapshots(folder: Path, without: "list[str] | tuple[()]") -> Iterator[tuple[Path, Snapshot]]:
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if path.name not in without:
            snapshot = read_cells(path)
            if snapshot is not None:
                yield path, snapshot


def _add_up(folded: Folded, snapshots: list[Snapshot]) -> Collected:
    totals: Totals = {(family, labels): values for family, labels, values in folded.series}
    for snapshot in snapshots:
        for entry, values in snapshot.series:
            family = BY_NAME.get(entry.family)
            if family is None or (family.kind == "gauge" and not snapshot.alive):
                continue
            series = (entry.family, entry.labels)
            before = totals.get(series)
            totals[series] = values if before is None else [a + b for a, b in zip(before, values, strict=True)]
    return Collected(totals, [snapshot.owner for snapshot in snapshots if snapshot.alive])


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


@contextlib.contextmanager
def _only_one(folder: Path) -> Generator[bool]:
    fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(fd)
