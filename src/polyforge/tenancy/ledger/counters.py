"""Limits that hold across the workers of one machine, in one memory-mapped file.

A slot belongs to one key. Its windows (requests and tokens per minute) are shared and change under the slot's lock.
What must survive a `kill -9` to the last micro-USD (spent, reserved, in flight) lies in cells: one per worker and
slot, each written by that worker alone, so a total is the sum over the workers. A cell is kept twice and the copies
are written in turn, each with its turn and a check word, so that a process killed in the middle of a write leaves the
copy before. Each cell says up to which journal record it is complete; `recovery` replays the rest.

Locks are `fcntl` byte ranges: the kernel lets go of them when their process dies, and they cost about 1.5 us.
"""

import fcntl
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from polyforge.kernel.errors import Unavailable
from polyforge.kernel.money import Micros
from polyforge.tenancy.callers import KeyLimits

MAGIC = b"PFCOUNT1"
_HEADER = struct.Struct("<8sqq")
_HEADER_BYTES = 4096
_KEY_BYTES = 32
_SLOT = struct.Struct("<32sqq")
_BASE = struct.Struct("<qq")
_TICK_SECONDS = 5
_TICKS = 13
_WINDOW = struct.Struct(f"<q{_TICKS}q{_TICKS}q")
_NUMBER = struct.Struct("<q")
_SLOT_BYTES = 512
_WINDOW_OFFSET = _KEY_BYTES + 16
_CELL = struct.Struct("<qqqqqqqq")
_CELL_BYTES = 2 * _CELL.size
_DIRECTORY_LOCK = 0
_FIRST_SLOT_LOCK = 1


class Cell(NamedTuple):
    """What one worker has spent, reserved and in flight for one key.

    `applied` is the number of the last journal record of `incarnation` that `spent` includes.
    """

    incarnation: int
    applied: int
    period: int
    spent: Micros
    reserved: Micros
    in_flight: int


EMPTY_CELL = Cell(0, 0, 0, 0, 0, 0)


class Headroom(msgspec.Struct, frozen=True, gc=False):
    """What is left of the windows; None where there is no such limit."""

    requests: int | None = None
    tokens: int | None = None
    reset: float = 0.0
    """Seconds until everything used so far is forgotten."""


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """Why a key may not call now. `retry_after` is in seconds."""

    limit: str
    """`rpm`, `tpm`, `concurrency` or `budget`."""
    retry_after: float = 0.0
    headroom: Headroom = Headroom()


class _Window(NamedTuple):
    """Requests and tokens per tick of five seconds, in a ring: a tick stands at its number modulo thirteen.

    Thirteen ticks cover the last 60 to 65 seconds, so a limit per minute holds in every minute, wherever it begins.
    """

    tick: int
    requests: tuple[int, ...]
    tokens: tuple[int, ...]


class SharedCounters:
    """One process's view of the file. `worker` owns the cells it writes; every other process only reads them."""

    def __init__(self, path: Path, worker: int, workers: int, capacity: int) -> None:
        self._path = path
        self._worker = worker
        self._workers = workers
        self._capacity = capacity
        self._slots: dict[str, int] = {}
        self._own: dict[int, tuple[Cell, int]] = {}
        self._incarnation = 0
        self._fd = -1
        self._life_fd = -1
        self._map: mmap.mmap | None = None

    def open(self, incarnation: int) -> None:
        """Map the file, making it first if it is not there. `incarnation` numbers this worker's starts from 1."""
        self._incarnation = incarnation
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = _HEADER_BYTES + self._capacity * (_SLOT_BYTES + self._workers * _CELL_BYTES)
        fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, _DIRECTORY_LOCK)
        try:
            if os.fstat(self._fd).st_size < size:
                os.ftruncate(self._fd, size)
                os.pwrite(self._fd, _HEADER.pack(MAGIC, self._capacity, self._workers), 0)
            self._check_header()
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, _DIRECTORY_LOCK)
        self._map = mmap.mmap(self._fd, size)

    def _check_header(self) -> None:
        header = _HEADER.unpack(os.pread(self._fd, _HEADER.size, 0))
        if header != (MAGIC, self._capacity, self._workers):
            raise Unavailable(f"{self._path} was made by another version or for another number of workers")

    def close(self) -> None:
        """Unmap; the file stays for the other workers."""
        if self._map is not None:
            self._map.close()
            self._map = None
        for descriptor in (self._fd, self._life_fd):
            if descriptor >= 0:
                os.close(descriptor)
        self._fd = self._life_fd = -1

    # Slots

    def find(self, name: str) -> int | None:
        """The slot of `name`, if any worker has made one."""
        slot = self._slots.get(name)
        if slot is None:
            slot, found = self._probe(name)
            if not found:
                return None
            self._slots[name] = slot
        return slot

    def create(self, name: str, period: int, spent: Micros) -> int:
        """The slot of `name`, made with what the ledger says was spent in `period` unless another worker was first."""
        fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, _DIRECTORY_LOCK)
        try:
            slot, found = self._probe(name)
            if not found:
                _SLOT.pack_into(self._memory, self._slot_at(slot), name.encode(), period, spent)
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, _DIRECTORY_LOCK)
        self._slots[name] = slot
        return slot

    def _probe(self, name: str) -> tuple[int, bool]:
        key = name.encode().ljust(_KEY_BYTES, b"\0")
        if len(key) > _KEY_BYTES:
            raise ValueError(f"a slot name has at most {_KEY_BYTES} bytes")
        first = zlib.crc32(key) % self._capacity
        for step in range(self._capacity):
            slot = (first + step) % self._capacity
            at = self._slot_at(slot)
            there = self._memory[at : at + _KEY_BYTES]
            if there == key:
                return slot, True
            if there[0] == 0:
                return slot, False
        raise Unavailable("too many keys with limits are in use; raise gateway.max_limited_keys and restart")

    def slots(self) -> Iterator[tuple[str, int]]:
        """Every slot in use, with its name."""
        for slot in range(self._capacity):
            at = self._slot_at(slot)
            if self._memory[at]:
                yield self._memory[at : at + _KEY_BYTES].rstrip(b"\0").decode(), slot

    @property
    def _memory(self) -> mmap.mmap:
        if self._map is None:
            raise Unavailable("the shared counters are closed")
        return self._map

    def _slot_at(self, slot: int) -> int:
        return _HEADER_BYTES + slot * _SLOT_BYTES

    def _cell_at(self, slot: int, worker: int) -> int:
        return _HEADER_BYTES + self._capacity * _SLOT_BYTES + (worker * self._capacity + slot) * _CELL_BYTES

    # Admission and settlement

    def reserve(
        self, slot: int, limits: KeyLimits, now: float, period: int, amount: Micros, tokens: int
    ) -> Refusal | Headroom:
        """Take one request, `tokens` and `amount` at once, or nothing and the limit that stands in the way."""
        fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, _FIRST_SLOT_LOCK + slot)
        try:
            return self._reserve_locked(slot, limits, now, period, amount, tokens)
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, _FIRST_SLOT_LOCK + slot)

    def _reserve_locked(
        self, slot: int, limits: KeyLimits, now: float, period: int, amount: Micros, tokens: int
    ) -> Refusal | Headroom:
        own, used, in_flight = self._totals(slot, period)
        windowed = limits.rpm is not None or limits.tpm is not None
        room, window = _NO_ROOM, _NO_WINDOW
        if windowed:
            window = self._window(slot, now)
            room = _room(window, limits)
            tokens = tokens if limits.tpm is None else min(tokens, limits.tpm)
            if (refusal := _refuse_by_window(window, room, limits, tokens, now)) is not None:
                return refusal
        if limits.concurrency is not None and in_flight >= limits.concurrency:
            in_flight -= self._in_flight_of_the_dead(slot)
            if in_flight >= limits.concurrency:
                return Refusal("concurrency", 1.0, room)
        if limits.budget is not None and used + amount > limits.budget:
            return Refusal("budget", 0.0, room)
        if windowed:
            self._add_to_window(slot, window, 1, tokens)
            room = _less(room, tokens)
        spent, reserved = (own.spent, own.reserved) if own.period == period else (0, 0)
        self._write_cell(
            slot, Cell(self._incarnation, own.applied, period, spent, reserved + amount, own.in_flight + 1)
        )
        return room

    def _totals(self, slot: int, period: int) -> tuple[Cell, Micros, int]:
        base_period, used = _BASE.unpack_from(self._memory, self._slot_at(slot) + _KEY_BYTES)
        if base_period != period:
            used = 0
        own, _ = self._own_cell(slot)
        in_flight = 0
        for worker in range(self._workers):
            cell = own if worker == self._worker else self.cell(slot, worker)
            in_flight += cell.in_flight
            if cell.period == period:
                used += cell.spent + cell.reserved
        return own, used, in_flight

    def _window(self, slot: int, now: float) -> _Window:
        """The window as it stands now; ticks that fell out of it are cleared in the file, too."""
        at = self._slot_at(slot) + _WINDOW_OFFSET
        values = _WINDOW.unpack_from(self._memory, at)
        tick = int(now // _TICK_SECONDS)
        if values[0] >= tick:
            return _Window(values[0], values[1 : _TICKS + 1], values[_TICKS + 1 :])
        requests, tokens = list(values[1 : _TICKS + 1]), list(values[_TICKS + 1 :])
        for passed in range(max(values[0] + 1, tick - _TICKS + 1), tick + 1):
            requests[passed % _TICKS] = tokens[passed % _TICKS] = 0
        _WINDOW.pack_into(self._memory, at, tick, *requests, *tokens)
        return _Window(tick, tuple(requests), tuple(tokens))

    def _add_to_window(self, slot: int, window: _Window, requests: int, tokens: int) -> None:
        """Count so many more requests and tokens in the tick under way."""
        place = window.tick % _TICKS
        at = self._slot_at(slot) + _WINDOW_OFFSET + _NUMBER.size * (1 + place)
        if requests:
            _NUMBER.pack_into(self._memory, at, window.requests[place] + requests)
        if tokens:
            _NUMBER.pack_into(self._memory, at + _NUMBER.size * _TICKS, window.tokens[place] + tokens)

    def live(self) -> None:
        """From now on, and for as long as this process lives, its cells speak of calls that are really under way."""
        self._life_fd = os.open(self._life_of(self._worker), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._life_fd, fcntl.LOCK_EX)

    def _life_of(self, worker: int) -> Path:
        return self._path.with_name(f"{self._path.name}.live-{worker}")

    def _in_flight_of_the_dead(self, slot: int) -> int:
        """Calls of workers that were killed and have not recovered yet: their connections are gone."""
        others = (worker for worker in range(self._workers) if worker != self._worker)
        return sum(self.cell(slot, worker).in_flight for worker in others if not self._is_alive(worker))

    def _is_alive(self, worker: int) -> bool:
        try:
            descriptor = os.open(self._life_of(worker), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def settle(self, slot: int, period: int, reserved: Micros, price: Micros, applied: int) -> None:
        """Replace a reservation by the price, which journal record `applied` of this incarnation holds.

        Needs no lock: the cell has one writer, and its readers see the copy before or the copy after.
        """
        own, _ = self._own_cell(slot)
        spent, held = own.spent, own.reserved
        if own.period == period:
            spent, held = spent + price, held - reserved
        self._write_cell(slot, Cell(self._incarnation, applied, own.period, spent, held, own.in_flight - 1))

    def release(self, slot: int, period: int, reserved: Micros) -> None:
        """Give a reservation back that no journal record speaks of."""
        self.settle(slot, period, reserved, 0, self._own_cell(slot)[0].applied)

    def add_tokens(self, slot: int, now: float, tokens: int) -> None:
        """Correct the token window by the difference between what was used and what was reserved."""
        fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, _FIRST_SLOT_LOCK + slot)
        try:
            window = self._window(slot, now)
            self._add_to_window(slot, window, 0, max(tokens, -sum(window.tokens)))
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, _FIRST_SLOT_LOCK + slot)

    def headroom(self, slot: int, limits: KeyLimits, period: int) -> Micros:
        """What is left of the budget after everything spent and reserved."""
        _, used, _ = self._totals(slot, period)
        return (limits.budget or 0) - used

    # Cells

    def cell(self, slot: int, worker: int) -> Cell:
        """The newest whole copy of a worker's cell."""
        at = self._cell_at(slot, worker)
        first = _CELL.unpack_from(self._memory, at)
        second = _CELL.unpack_from(self._memory, at + _CELL.size)
        newer, older = (first, second) if first[6] > second[6] else (second, first)
        if newer[7] == hash(newer[:7]):
            return Cell(*newer[:6])
        if older[6] and older[7] == hash(older[:7]):
            return Cell(*older[:6])
        return EMPTY_CELL

    def _own_cell(self, slot: int) -> tuple[Cell, int]:
        """This worker's cell and how often it was written; kept here because nobody else writes it."""
        known = self._own.get(slot)
        if known is None:
            at = self._cell_at(slot, self._worker)
            turns = _CELL.unpack_from(self._memory, at)[6], _CELL.unpack_from(self._memory, at + _CELL.size)[6]
            known = self._own[slot] = self.cell(slot, self._worker), max(turns)
        return known

    def _write_cell(self, slot: int, cell: Cell) -> None:
        turn = self._own_cell(slot)[1] + 1
        values = (*cell, turn)
        at = self._cell_at(slot, self._worker) + (turn & 1) * _CELL.size
        _CELL.pack_into(self._memory, at, *values, hash(values))
        self._own[slot] = cell, turn

    def restore(self, slot: int, cell: Cell) -> None:
        """Set this worker's cell to what its journals say, at recovery."""
        self._write_cell(slot, cell)

    @property
    def incarnation(self) -> int:
        """Which start of this worker this is."""
        return self._incarnation


_NO_ROOM = Headroom()
_NO_WINDOW = _Window(0, (), ())


def _room(window: _Window, limits: KeyLimits) -> Headroom:
    requests = None if limits.rpm is None else max(0, limits.rpm - sum(window.requests))
    tokens = None if limits.tpm is None else max(0, limits.tpm - sum(window.tokens))
    return Headroom(requests, tokens, float(_TICKS * _TICK_SECONDS))


def _less(room: Headroom, tokens: int) -> Headroom:
    requests = None if room.requests is None else room.requests - 1
    return Headroom(requests, None if room.tokens is None else room.tokens - tokens, room.reset)


def _refuse_by_window(window: _Window, room: Headroom, limits: KeyLimits, tokens: int, now: float) -> Refusal | None:
    if limits.rpm is not None and (room.requests or 0) < 1:
        return Refusal("rpm", _wait(window.tick, window.requests, limits.rpm - 1, now), room)
    wanted = max(tokens, 1)
    if limits.tpm is not None and (room.tokens or 0) < wanted:
        return Refusal("tpm", _wait(window.tick, window.tokens, limits.tpm - wanted, now), room)
    return None


def _wait(tick: int, used: tuple[int, ...], room: int, now: float) -> float:
    """Seconds until no more than `room` is left of what was used, if nothing else comes."""
    left = sum(used)
    for age in range(1, _TICKS + 1):
        left -= used[(tick + age) % _TICKS]
        if left <= room:
            return max(0.05, (tick + age) * _TICK_SECONDS - now)
    return float(_TICKS * _TICK_SECONDS)
