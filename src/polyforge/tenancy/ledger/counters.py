"""Limits that hold across the workers of one machine, in one memory-mapped file.

A slot belongs to one key. Its windows (requests and tokens per minute) are shared and change under the slot's lock.
What must survive a `kill -9` to the last micro-USD (spent, reserved, in flight) lies in cells: one per worker and
slot, each written by that worker alone, so a total is the sum over the workers. A cell is kept twice and the copies
are written in turn, each with its turn and a check word, so that a process killed in the middle of a write leaves the
copy before. Each cell says up to which journal record it is complete; `recovery` replays the rest. So a worker that has
no others beside it, who would read its cells, writes what the journal holds only now and then (`write_cells`).

Corrections of the ledger are their sum for the newest period that has some, taken from the ledger whenever it changes.

A window is the number of its newest tick of five seconds, the sums of what it holds, and the requests and tokens of
each tick, in a ring: a tick stands at its number modulo thirteen. Thirteen ticks cover the last 60 to 65 seconds, so a
limit per minute holds in every minute, wherever it begins. The sums are made anew with each tick, because a process may
be killed between a tick and its sum.

Locks are `fcntl` byte ranges: the kernel lets go of them when their process dies. They cost about 1.5 us each, so a
slot's lock is taken only where there is another worker to keep out. Workers that may never make a call are
*latecomers*: the others do as if there were none until one of them joins, for which each writes what it alone knew and
takes locks from then on.

The file is read and written as 64-bit numbers, at places that are computed once per call: this is the hottest code of
the house, and every further function call in it can be measured.
"""

import asyncio
import fcntl
import mmap
import os
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from polyforge.kernel.errors import Unavailable
from polyforge.kernel.money import Micros
from polyforge.tenancy.callers import KeyLimits
from polyforge.tenancy.ledger.slots import (
    BASE_PERIOD,
    BASE_SPENT,
    CORRECTED,
    CORRECTED_PERIOD,
    KEY_FORGOTTEN_SECONDS,
    KEY_REQUEST_SUM,
    KEY_REQUESTS,
    KEY_TICK,
    KEY_TICK_SECONDS,
    KEY_TOKEN_SUM,
    KEY_TOKENS,
    KEY_WINDOW,
    NAME_BYTES,
    NUMBER_BYTES,
    SLOT_BYTES,
    TICKS,
)

MAGIC = b"PFCOUNT3"
_HEADER = struct.Struct("<8sqq")
_HEADER_BYTES = 4096
_GUESTS_AT = 64
"""Where the header counts the slots whose names callers make up."""
_JOINED_AT = 72
"""Where the header says whether a latecomer has joined, and behind it for each worker whether it knows."""
_JOIN_SECONDS = 10.0
_JOIN_LOOK_SECONDS = 0.02
_SLOT = struct.Struct("<32sqqqq")
_CELL = struct.Struct("<qqqqqqqq")
_COPY_BYTES = _CELL.size
_CELL_BYTES = 2 * _COPY_BYTES
_write_copy = _CELL.pack_into
_DIRECTORY_LOCK = 0
FIRST_SLOT_LOCK = 1
_SLOTS_PER_READ = 256
_CLOSED = "the shared counters are closed"


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
    request_limit: int | None = None
    """Where it is not the key's own limit that is nearest: what there may be."""
    token_limit: int | None = None
    token_reset: float = 0.0


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """Why a key may not call now. `retry_after` is in seconds."""

    limit: str
    """`rpm`, `tpm`, `concurrency` or `budget`."""
    retry_after: float = 0.0
    headroom: Headroom = Headroom()


class Held(ABC):
    """What was taken of slots in one step, to be used call by call without looking at them again."""

    __slots__ = ("money",)

    money: Micros
    """What nothing is reserved of yet."""

    @abstractmethod
    def close(self) -> None:
        """Count what was used of it and give the rest back."""

    @abstractmethod
    def recall(self) -> None:
        """The same, since somebody else asks for it."""


class OwnCell:
    """This worker's cell of one slot, kept here because nobody else writes it."""

    __slots__ = ("applied", "at", "held", "in_flight", "incarnation", "period", "reserved", "spent", "turn")

    def __init__(self, cell: Cell, turn: int, at: int) -> None:
        self.incarnation, self.applied, self.period, self.spent, self.reserved, self.in_flight = cell
        self.turn = turn
        """How often it was written."""
        self.at = at
        """Where its first copy begins, in bytes."""
        self.held: Held | None = None
        """What is in use of its slot and not counted here yet. By then the cell must not be written."""

    def write(self, memory: "memoryview[int]") -> None:
        """Write it to the file, over the older of its copies."""
        turn = self.turn = self.turn + 1
        values = (self.incarnation, self.applied, self.period, self.spent, self.reserved, self.in_flight, turn)
        _write_copy(memory, self.at + (turn & 1) * _COPY_BYTES, *values, hash(values))


def shape_of(path: Path) -> tuple[int, int]:
    """How many slots and workers a file was made for; Unavailable when another version made it."""
    with path.open("rb") as file:
        header = file.read(_HEADER.size)
    if len(header) < _HEADER.size or not header.startswith(MAGIC):
        raise Unavailable(f"{path} was made by another version")
    _, capacity, workers = _HEADER.unpack(header)
    return capacity, workers


class SharedCounters:
    """One process's view of the file. `worker` owns the cells it writes; every other process only reads them.

    The last `latecomers` of all workers may use it only once they have joined.
    """

    writes_late = True
    """Whether cells that nobody else reads may be behind the journal."""

    def __init__(self, path: Path, worker: int, workers: int, capacity: int, latecomers: int = 0) -> None:
        self._path = path
        self._worker = worker
        self._workers = workers
        self._capacity = capacity
        self._early = workers - latecomers
        self._everybody = tuple(other for other in range(workers) if other != worker)
        comes_late = worker >= self._early
        self._others = tuple(other for other in self._everybody if comes_late or other < self._early)
        self.apart = comes_late and self._early > 0
        """Whether others do not count with this worker yet: it has to `join` before its first call."""
        self._slots: dict[str, int] = {}
        self._own: dict[int, OwnCell] = {}
        self._late = self.writes_late and not self._others
        self._unwritten: set[OwnCell] = set()
        self._bytes: memoryview[int] = memoryview(b"")
        self._numbers: memoryview[int] = self._bytes.cast("q")
        self._incarnation = 0
        self._fd = -1
        self._life_fd = -1
        self._map: mmap.mmap | None = None

    def open(self, incarnation: int) -> None:
        """Map the file, making it first if it is not there. `incarnation` numbers this worker's starts from 1."""
        self._incarnation = incarnation
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = _HEADER_BYTES + self._capacity * (SLOT_BYTES + self._workers * _CELL_BYTES)
        fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, _DIRECTORY_LOCK)
        try:
            if os.fstat(self._fd).st_size < size:
                os.ftruncate(self._fd, size)
                os.pwrite(self._fd, _HEADER.pack(MAGIC, self._capacity, self._workers), 0)
            self._check_header()
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, _DIRECTORY_LOCK)
        self._map = mmap.mmap(self._fd, size)
        self._bytes = memoryview(self._map)
        self._numbers = self._bytes.cast("q")

    def _check_header(self) -> None:
        header = _HEADER.unpack(os.pread(self._fd, _HEADER.size, 0))
        if header != (MAGIC, self._capacity, self._workers):
            raise Unavailable(f"{self._path} was made by another version or for another number of workers")

    def close(self) -> None:
        """Unmap; the file stays for the other workers."""
        if self._map is not None:
            self.write_cells()
            self._numbers.release()
            self._bytes.release()
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
        return self._look_up(name) if slot is None else slot

    def _look_up(self, name: str) -> int | None:
        slot, found = self._probe(name)
        if not found:
            return None
        self._slots[name] = slot
        return slot

    def create(self, name: str, period: int, spent: Micros, corrected: Micros = 0, *, guest: bool = False) -> int:
        """The slot of `name`, made with what the ledger says of `period` unless another worker was first.

        `spent` is the price of its calls, without what they were `corrected` by. A `guest` has a name that callers
        make up: they get at most half of the slots, so that no invention of names shuts keys out. Unavailable when
        there is no slot left.
        """
        fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, _DIRECTORY_LOCK)
        try:
            slot, found = self._probe(name)
            if not found:
                if guest:
                    self._admit_guest()
                _SLOT.pack_into(self._memory, self._slot_at(slot), name.encode(), period, spent, period, corrected)
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, _DIRECTORY_LOCK)
        self._slots[name] = slot
        return slot

    def _admit_guest(self) -> None:
        there = self._numbers[_GUESTS_AT // 8]
        if there >= self._capacity // 2:
            raise Unavailable("too many end users with limits are in use; raise gateway.max_limited_keys and restart")
        self._numbers[_GUESTS_AT // 8] = there + 1

    def _probe(self, name: str) -> tuple[int, bool]:
        key = name.encode().ljust(NAME_BYTES, b"\0")
        if len(key) > NAME_BYTES:
            raise ValueError(f"a slot name has at most {NAME_BYTES} bytes")
        first = zlib.crc32(key) % self._capacity
        for step in range(self._capacity):
            slot = (first + step) % self._capacity
            at = self._slot_at(slot)
            there = self._memory[at : at + NAME_BYTES]
            if there == key:
                return slot, True
            if there[0] == 0:
                return slot, False
        raise Unavailable("too many keys with limits are in use; raise gateway.max_limited_keys and restart")

    def slots(self) -> Iterator[tuple[str, int]]:
        """Every slot in use, with its name.

        They are not looked at through the mapping: each page touched there is this process's memory from then on, 33 MB
        with the slots that there are by default, most of which are never used.
        """
        for first in range(0, self._capacity, _SLOTS_PER_READ):
            content = self._read_slots(first, min(_SLOTS_PER_READ, self._capacity - first))
            for number, begins in enumerate(content[::SLOT_BYTES]):
                if begins:
                    at = number * SLOT_BYTES
                    yield content[at : at + NAME_BYTES].rstrip(b"\0").decode(), first + number

    def _read_slots(self, first: int, count: int) -> bytes:
        if self._map is None:
            raise Unavailable(_CLOSED)
        return os.pread(self._fd, count * SLOT_BYTES, self._slot_at(first))

    @property
    def _memory(self) -> mmap.mmap:
        if self._map is None:
            raise Unavailable(_CLOSED)
        return self._map

    def _slot_at(self, slot: int) -> int:
        return _HEADER_BYTES + slot * SLOT_BYTES

    def _cell_at(self, slot: int, worker: int) -> int:
        return _HEADER_BYTES + self._capacity * SLOT_BYTES + (worker * self._capacity + slot) * _CELL_BYTES

    # Admission and settlement

    def reserve(
        self, slot: int, limits: KeyLimits, now: float, period: int, amount: Micros, tokens: int
    ) -> Refusal | Headroom:
        """Take one request, `tokens` and `amount` at once, or nothing and the limit that stands in the way."""
        if not self._others:
            return self._reserve(slot, limits, now, period, amount, tokens)
        fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, FIRST_SLOT_LOCK + slot)
        try:
            return self._reserve(slot, limits, now, period, amount, tokens)
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, FIRST_SLOT_LOCK + slot)

    def _reserve(
        self, slot: int, limits: KeyLimits, now: float, period: int, amount: Micros, tokens: int
    ) -> Refusal | Headroom:
        numbers, window = self._numbers, (_HEADER_BYTES + slot * SLOT_BYTES) // NUMBER_BYTES + KEY_WINDOW
        rpm, tpm = limits.rpm, limits.tpm
        own = self._own.get(slot) or self._own_cell(slot)
        if own.held is not None:
            own.held.recall()
        if rpm is not None or tpm is not None:
            if numbers[window + KEY_TICK] < now // KEY_TICK_SECONDS:
                self._advance(window, now)
            if tpm is not None and tokens > tpm:
                tokens = tpm
            if rpm is not None and numbers[window + KEY_REQUEST_SUM] >= rpm:
                return self._over("rpm", window, limits, rpm - 1, now)
            if tpm is not None and numbers[window + KEY_TOKEN_SUM] + (tokens or 1) > tpm:
                return self._over("tpm", window, limits, tpm - (tokens or 1), now)
        if limits.concurrency is not None and self._in_flight(slot, own, limits.concurrency) >= limits.concurrency:
            return Refusal("concurrency", 1.0, self._room(window, limits))
        if limits.budget is not None and self._used(slot, own, period) + amount > limits.budget:
            return Refusal("budget", 0.0, self._room(window, limits))
        self._hold(own, period, amount)
        if rpm is tpm is None:
            return _NO_ROOM
        place = window + numbers[window + KEY_TICK] % TICKS
        numbers[place + KEY_REQUESTS] += 1
        numbers[window + KEY_REQUEST_SUM] += 1
        numbers[place + KEY_TOKENS] += tokens
        numbers[window + KEY_TOKEN_SUM] += tokens
        return self._room(window, limits)

    def _hold(self, own: OwnCell, period: int, amount: int) -> None:
        """Count one more call in flight, and what it may come to.

        A period that begins, or a start of this worker, is written at once: by these recovery knows what is missing.
        """
        own.in_flight += 1
        begins = own.period != period or own.incarnation != self._incarnation
        if own.period == period:
            own.reserved += amount
        else:
            own.period, own.spent, own.reserved = period, 0, amount
        own.incarnation = self._incarnation
        if begins or not self._late:
            self.count_held()
            own.write(self._bytes)

    def count_held(self) -> None:
        """Count what is in use of slots and was not counted yet; where calls are counted one by one, there is none."""

    def _used(self, slot: int, own: OwnCell, period: int) -> Micros:
        """What all workers have spent and reserved in a period, with what the ledger knew and corrected."""
        numbers, at = self._numbers, (_HEADER_BYTES + slot * SLOT_BYTES) // NUMBER_BYTES
        used = numbers[at + BASE_SPENT] if numbers[at + BASE_PERIOD] == period else 0
        if numbers[at + CORRECTED_PERIOD] == period:
            used += numbers[at + CORRECTED]
        if own.period == period:
            used += own.spent + own.reserved
        for worker in self._others:
            cell = self.cell(slot, worker)
            if cell.period == period:
                used += cell.spent + cell.reserved
        return used

    def _in_flight(self, slot: int, own: OwnCell, limit: int) -> int:
        """Calls under way in all workers; those of workers that died are looked for only where they matter."""
        in_flight = own.in_flight
        for worker in self._others:
            in_flight += self.cell(slot, worker).in_flight
        return in_flight if in_flight < limit else in_flight - self._in_flight_of_the_dead(slot)

    def _over(self, limit: str, window: int, limits: KeyLimits, room: int, now: float) -> Refusal:
        """A window is full; there will be a place in it once no more than `room` is left of what was used."""
        ring = window + (KEY_REQUESTS if limit == "rpm" else KEY_TOKENS)
        return Refusal(limit, self._wait(ring, self._numbers[window + KEY_TICK], room, now), self._room(window, limits))

    def _advance(self, window: int, now: float) -> None:
        """Let the window reach to now: ticks that fell out of it are cleared."""
        numbers = self._numbers
        tick, newest = int(now // KEY_TICK_SECONDS), numbers[window + KEY_TICK]
        if newest >= tick:
            return
        for passed in range(max(newest + 1, tick - TICKS + 1), tick + 1):
            place = window + passed % TICKS
            numbers[place + KEY_REQUESTS] = numbers[place + KEY_TOKENS] = 0
        requests, tokens = window + KEY_REQUESTS, window + KEY_TOKENS
        numbers[window + KEY_REQUEST_SUM] = sum(numbers[requests : requests + TICKS])
        numbers[window + KEY_TOKEN_SUM] = sum(numbers[tokens : tokens + TICKS])
        numbers[window + KEY_TICK] = tick

    def _room(self, window: int, limits: KeyLimits) -> Headroom:
        numbers, rpm, tpm = self._numbers, limits.rpm, limits.tpm
        if rpm is tpm is None:
            return _NO_ROOM
        return Headroom(
            None if rpm is None else max(0, rpm - numbers[window + KEY_REQUEST_SUM]),
            None if tpm is None else max(0, tpm - numbers[window + KEY_TOKEN_SUM]),
            KEY_FORGOTTEN_SECONDS,
        )

    def _wait(self, ring: int, tick: int, room: int, now: float) -> float:
        """Seconds until no more than `room` is left of what was used, if nothing else comes."""
        used = self._numbers[ring : ring + TICKS]
        left = sum(used)
        for age in range(1, TICKS + 1):
            left -= used[(tick + age) % TICKS]
            if left <= room:
                return max(0.05, (tick + age) * KEY_TICK_SECONDS - now)
        return KEY_FORGOTTEN_SECONDS

    def live(self) -> None:
        """From now on, and for as long as this process lives, its cells speak of calls that are really under way."""
        self._life_fd = os.open(self._life_of(self._worker), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._life_fd, fcntl.LOCK_EX)
        self._meet()

    async def join(self) -> None:
        """Have every worker that lives count with this one; Unavailable when one of them does not answer.

        One that died is waited for as well: what it used last only its next start finds in its journal.
        """
        self._numbers[_JOINED_AT // NUMBER_BYTES] = 1
        for _ in range(round(_JOIN_SECONDS / _JOIN_LOOK_SECONDS)):
            if all(self._knows(worker) or not self._life_of(worker).exists() for worker in range(self._early)):
                self.apart = False
                return
            await asyncio.sleep(_JOIN_LOOK_SECONDS)
        if any(self._is_alive(worker) and not self._knows(worker) for worker in range(self._early)):
            raise Unavailable("a gateway of this machine does not answer; try again", retry_after=1.0)
        self.apart = False

    def _meet(self) -> None:
        """See whether a latecomer has joined: it is counted with, and told so once it can read what is known here.

        Whoever lives is looked at after that was asked, or looks itself after it lives: nobody is missed.
        """
        if not self._numbers[_JOINED_AT // NUMBER_BYTES]:
            return
        if self._others != self._everybody:
            self._others, self._late = self._everybody, False
            # Calls under way too: what they hold was nobody's concern, and is in no file.
            self._unwritten |= {own for own in self._own.values() if own.incarnation == self._incarnation}
            self._write_unwritten()
        self._numbers[_JOINED_AT // NUMBER_BYTES + 1 + self._worker] = 1

    def _knows(self, worker: int) -> bool:
        return bool(self._numbers[_JOINED_AT // NUMBER_BYTES + 1 + worker])

    def _life_of(self, worker: int) -> Path:
        return self._path.with_name(f"{self._path.name}.live-{worker}")

    def _in_flight_of_the_dead(self, slot: int) -> int:
        """Calls of workers that were killed and have not recovered yet: their connections are gone."""
        return sum(self.cell(slot, worker).in_flight for worker in self._others if not self._is_alive(worker))

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
        own = self._own.get(slot) or self._own_cell(slot)
        if own.held is not None:
            own.held.close()
        own.applied = applied
        own.in_flight -= 1
        if own.period == period:
            own.spent += price
            own.reserved -= reserved
        if self._late:
            self._unwritten.add(own)
        else:
            own.write(self._bytes)

    def release(self, slot: int, period: int, reserved: Micros, price: Micros = 0) -> None:
        """Replace a reservation by a price that no journal record speaks of, most often by none."""
        own = self._own_cell(slot)
        if own.held is not None:
            own.held.recall()
        self.settle(slot, period, reserved, price, own.applied)
        own.write(self._bytes)

    def write_cells(self) -> None:
        """Write what the journal holds and the file does not: before the journal lets go of it, and every second."""
        self.count_held()
        self._write_unwritten()
        if self._map is not None:
            self._meet()

    def _write_unwritten(self) -> None:
        for own in self._unwritten:
            own.write(self._bytes)
        self._unwritten.clear()

    def add_tokens(self, slot: int, now: float, tokens: int) -> None:
        """Correct the token window by the difference between what was used and what was reserved."""
        if not tokens:
            return
        if not self._others:
            self._add_tokens(slot, now, tokens)
            return
        fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, FIRST_SLOT_LOCK + slot)
        try:
            self._add_tokens(slot, now, tokens)
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, FIRST_SLOT_LOCK + slot)

    def _add_tokens(self, slot: int, now: float, tokens: int) -> None:
        numbers, window = self._numbers, (_HEADER_BYTES + slot * SLOT_BYTES) // NUMBER_BYTES + KEY_WINDOW
        if numbers[window + KEY_TICK] < now // KEY_TICK_SECONDS:
            self._advance(window, now)
        tokens = max(tokens, -numbers[window + KEY_TOKEN_SUM])
        numbers[window + numbers[window + KEY_TICK] % TICKS + KEY_TOKENS] += tokens
        numbers[window + KEY_TOKEN_SUM] += tokens

    def correct(self, slot: int, period: int, corrected: Micros) -> None:
        """Count all corrections of a period, which come to `corrected`; those of an earlier one no longer matter."""
        own = self._own_cell(slot)
        if own.held is not None:
            own.held.recall()
        numbers, at = self._numbers, self._slot_at(slot) // NUMBER_BYTES
        fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, FIRST_SLOT_LOCK + slot)
        try:
            if period >= numbers[at + CORRECTED_PERIOD]:
                numbers[at + CORRECTED] = corrected
                numbers[at + CORRECTED_PERIOD] = period
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, FIRST_SLOT_LOCK + slot)

    def headroom(self, slot: int, limits: KeyLimits, period: int) -> Micros:
        """What is left of the budget after everything spent and reserved."""
        own = self._own_cell(slot)
        left = (limits.budget or 0) - self._used(slot, own, period)
        # What is held is in the cell, so it is of that period.
        return left if own.held is None or own.period != period else left + own.held.money

    # Cells

    def cell(self, slot: int, worker: int) -> Cell:
        """The newest whole copy of a worker's cell."""
        at = self._cell_at(slot, worker)
        first = _CELL.unpack_from(self._memory, at)
        second = _CELL.unpack_from(self._memory, at + _COPY_BYTES)
        newer, older = (first, second) if first[6] > second[6] else (second, first)
        if newer[7] == hash(newer[:7]):
            return Cell(*newer[:6])
        if older[6] and older[7] == hash(older[:7]):
            return Cell(*older[:6])
        return EMPTY_CELL

    def _own_cell(self, slot: int) -> OwnCell:
        known = self._own.get(slot)
        if known is None:
            at = self._cell_at(slot, self._worker)
            turns = _CELL.unpack_from(self._memory, at)[6], _CELL.unpack_from(self._memory, at + _COPY_BYTES)[6]
            known = self._own[slot] = OwnCell(self.cell(slot, self._worker), max(turns), at)
        return known

    def restore(self, slot: int, cell: Cell) -> None:
        """Set this worker's cell to what its journals say, at recovery."""
        earlier = self._own_cell(slot)
        own = self._own[slot] = OwnCell(cell, earlier.turn, earlier.at)
        own.write(self._bytes)

    @property
    def incarnation(self) -> int:
        """Which start of this worker this is."""
        return self._incarnation


_NO_ROOM = Headroom()
