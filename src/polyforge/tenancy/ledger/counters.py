"""Limits that hold across the workers of one machine, in one memory-mapped file.

A slot belongs to one key. Its windows (requests and tokens per minute) are shared and change under the slot's lock.
What must survive a `kill -9` to the last micro-USD (spent, reserved, in flight) lies in cells: one per worker and
slot, each written by that worker alone, so a total is the sum over the workers. A cell is kept twice and the copies
are written in turn, each with its turn and a check word, so that a process killed in the middle of a write leaves the
copy before. Each cell says up to which journal record it is complete; `recovery` replays the rest.

Corrections of the ledger are their sum for the newest period that has some, taken from the ledger whenever it changes.

A window is the number of its newest tick of five seconds, the sums of what it holds, and the requests and tokens of
each tick, in a ring: a tick stands at its number modulo thirteen. Thirteen ticks cover the last 60 to 65 seconds, so a
limit per minute holds in every minute, wherever it begins. The sums are made anew with each tick, because a process may
be killed between a tick and its sum.

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

MAGIC = b"PFCOUNT3"
_HEADER = struct.Struct("<8sqq")
_HEADER_BYTES = 4096
_KEY_BYTES = 32
_SLOT = struct.Struct("<32sqqqq")
_BASE = struct.Struct("<qqqq")
_NUMBER = struct.Struct("<q")
_CORRECTED_PERIOD_AT = _KEY_BYTES + 16
_CORRECTED_AT = _KEY_BYTES + 24
_TICK_SECONDS = 5
_TICKS = 13
_SLOT_BYTES = 512
_NUMBER_BYTES = 8
_WINDOW_OFFSET = _KEY_BYTES + 32
_TICK, _REQUEST_SUM, _TOKEN_SUM, _REQUESTS, _TOKENS = 0, 1, 2, 3, 3 + _TICKS
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


class SharedCounters:
    """One process's view of the file. `worker` owns the cells it writes; every other process only reads them."""

    def __init__(self, path: Path, worker: int, workers: int, capacity: int) -> None:
        self._path = path
        self._worker = worker
        self._workers = workers
        self._capacity = capacity
        self._slots: dict[str, int] = {}
        self._own: dict[int, tuple[Cell, int]] = {}
        self._numbers: memoryview[int] = memoryview(b"").cast("q")
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
        self._numbers = memoryview(self._map).cast("q")

    def _check_header(self) -> None:
        header = _HEADER.unpack(os.pread(self._fd, _HEADER.size, 0))
        if header != (MAGIC, self._capacity, self._workers):
            raise Unavailable(f"{self._path} was made by another version or for another number of workers")

    def close(self) -> None:
        """Unmap; the file stays for the other workers."""
        if self._map is not None:
            self._numbers.release()
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

    def create(self, name: str, period: int, spent: Micros, corrected: Micros = 0) -> int:
        """The slot of `name`, made with what the ledger says of `period` unless another worker was first.

        `spent` is the price of its calls, without what they were `corrected` by.
        """
        fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, _DIRECTORY_LOCK)
        try:
            slot, found = self._probe(name)
            if not found:
                _SLOT.pack_into(self._memory, self._slot_at(slot), name.encode(), period, spent, period, corrected)
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
        rpm, tpm = limits.rpm, limits.tpm
        windowed = rpm is not None or tpm is not None
        if windowed:
            self._advance(slot, now)
            if rpm is not None and self._used(slot, _REQUEST_SUM) >= rpm:
                return Refusal("rpm", self._wait(slot, _REQUESTS, rpm - 1, now), self._room(slot, limits))
            if tpm is not None:
                tokens = min(tokens, tpm)
                wanted = max(tokens, 1)
                if self._used(slot, _TOKEN_SUM) + wanted > tpm:
                    return Refusal("tpm", self._wait(slot, _TOKENS, tpm - wanted, now), self._room(slot, limits))
        if limits.concurrency is not None and in_flight >= limits.concurrency:
            in_flight -= self._in_flight_of_the_dead(slot)
            if in_flight >= limits.concurrency:
                return Refusal("concurrency", 1.0, self._room(slot, limits))
        if limits.budget is not None and used + amount > limits.budget:
            return Refusal("budget", 0.0, self._room(slot, limits))
        if windowed:
            self._add_to_window(slot, 1, tokens)
        _, applied, cell_period, spent, reserved, own_in_flight = own
        if cell_period != period:
            spent = reserved = 0
        self._write_cell(slot, Cell(self._incarnation, applied, period, spent, reserved + amount, own_in_flight + 1))
        return self._room(slot, limits)

    def _totals(self, slot: int, period: int) -> tuple[Cell, Micros, int]:
        base_period, used, corrected_period, corrected = _BASE.unpack_from(
            self._memory, self._slot_at(slot) + _KEY_BYTES
        )
        if base_period != period:
            used = 0
        if corrected_period == period:
            used += corrected
        own, _ = self._own_cell(slot)
        in_flight = 0
        for worker in range(self._workers):
            cell = own if worker == self._worker else self.cell(slot, worker)
            in_flight += cell.in_flight
            if cell.period == period:
                used += cell.spent + cell.reserved
        return own, used, in_flight

    def _advance(self, slot: int, now: float) -> None:
        """Let the window reach to now: ticks that fell out of it are cleared."""
        numbers, at = self._numbers, self._window_at(slot)
        tick, newest = int(now // _TICK_SECONDS), numbers[at + _TICK]
        if newest >= tick:
            return
        for passed in range(max(newest + 1, tick - _TICKS + 1), tick + 1):
            place = at + passed % _TICKS
            numbers[place + _REQUESTS] = numbers[place + _TOKENS] = 0
        numbers[at + _REQUEST_SUM] = sum(numbers[at + _REQUESTS : at + _REQUESTS + _TICKS])
        numbers[at + _TOKEN_SUM] = sum(numbers[at + _TOKENS : at + _TOKENS + _TICKS])
        numbers[at + _TICK] = tick

    def _add_to_window(self, slot: int, requests: int, tokens: int) -> None:
        """Count so many more requests and tokens in the tick under way."""
        numbers, at = self._numbers, self._window_at(slot)
        place = at + numbers[at + _TICK] % _TICKS
        numbers[place + _REQUESTS] += requests
        numbers[at + _REQUEST_SUM] += requests
        numbers[place + _TOKENS] += tokens
        numbers[at + _TOKEN_SUM] += tokens

    def _used(self, slot: int, which: int) -> int:
        return self._numbers[self._window_at(slot) + which]

    def _room(self, slot: int, limits: KeyLimits) -> Headroom:
        rpm, tpm = limits.rpm, limits.tpm
        requests = None if rpm is None else max(0, rpm - self._used(slot, _REQUEST_SUM))
        tokens = None if tpm is None else max(0, tpm - self._used(slot, _TOKEN_SUM))
        return _NO_ROOM if requests is tokens is None else Headroom(requests, tokens, float(_TICKS * _TICK_SECONDS))

    def _wait(self, slot: int, which: int, room: int, now: float) -> float:
        """Seconds until no more than `room` is left of what was used, if nothing else comes."""
        at = self._window_at(slot)
        used, tick = self._numbers[at + which : at + which + _TICKS], self._numbers[at + _TICK]
        left = sum(used)
        for age in range(1, _TICKS + 1):
            left -= used[(tick + age) % _TICKS]
            if left <= room:
                return max(0.05, (tick + age) * _TICK_SECONDS - now)
        return float(_TICKS * _TICK_SECONDS)

    def _window_at(self, slot: int) -> int:
        """Where a slot's window begins, in numbers."""
        return (_HEADER_BYTES + _WINDOW_OFFSET + slot * _SLOT_BYTES) // _NUMBER_BYTES

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
            self._advance(slot, now)
            self._add_to_window(slot, 0, max(tokens, -self._used(slot, _TOKEN_SUM)))
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, _FIRST_SLOT_LOCK + slot)

    def correct(self, slot: int, period: int, corrected: Micros) -> None:
        """Count all corrections of a period, which come to `corrected`; those of an earlier one no longer matter."""
        at = self._slot_at(slot)
        fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, _FIRST_SLOT_LOCK + slot)
        try:
            (known,) = _NUMBER.unpack_from(self._memory, at + _CORRECTED_PERIOD_AT)
            if period >= known:
                _NUMBER.pack_into(self._memory, at + _CORRECTED_AT, corrected)
                _NUMBER.pack_into(self._memory, at + _CORRECTED_PERIOD_AT, period)
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
