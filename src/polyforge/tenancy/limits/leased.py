"""The shared counters of a machine that shares its limits with others: it uses only what it holds of each.

A *part* is what a machine holds of one pool, in numbers of the limit's slot: a call is let in only as long as what this
machine uses stays within it. What the machine was told goes up by grants and down to what is used, always under the
slot's lock, so that the part in the file is never more than what the store knows of it.

A slot has room for four parts: the first is that of a limit, or of a key's budget; the others are those of a key's
requests, tokens and calls under way.
"""

import fcntl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from polyforge.kernel.money import Micros
from polyforge.tenancy.callers import KeyLimits
from polyforge.tenancy.ledger.counters import FIRST_SLOT_LOCK, Headroom, Refusal
from polyforge.tenancy.ledger.slots import (
    CORRECTED,
    CORRECTED_PERIOD,
    HOLDS,
    KEY_REQUEST_SUM,
    KEY_TOKEN_SUM,
    KEY_WINDOW,
    LEASES,
    LIMIT_SUM,
    NAME_BYTES,
    NUMBER_BYTES,
    TICKS,
)
from polyforge.tenancy.limits.counters import Counter, LimitCounters, Over, Take
from polyforge.tenancy.limits.records import LimitUse
from polyforge.tenancy.limits.windows import NEVER
from polyforge.tenancy.periods import PeriodClock

_SIZE, _KINDS = 6, 4
_WINDOW, _HELD, _NUMBER, _BEFORE, _OTHERS, _LEFT = range(_SIZE)
"""Where these numbers stand in a part: which window it is of; how much it is; how many claims were made; how much of
what is used the ledger knew when the store began anew; what others hold or have used, and what nobody holds, as last
told."""
BUDGET, RPM, TPM, CONCURRENCY = range(_KINDS)
_LIMITS: Final = ("budget", "rpm", "tpm", "concurrency")
ALWAYS: Final = -1
"""The window of what is counted at every moment."""
_SOON_SECONDS: Final = 1.0
_DRY_SECONDS: Final = 0.25
_MOST_DRY: Final = 10_000
_SLACK_SECONDS: Final = 30.0
_LONG_SECONDS: Final = 1200.0
_BUSY_SECONDS: Final = 60.0
_DAY_SECONDS: Final = 86_400.0


class Part(msgspec.Struct, frozen=True):
    """What this machine holds of a pool, as a call found it."""

    pool: str
    slot: int
    kind: int
    window: int
    allowed: int
    """What all machines may use together, what the ledger was corrected by taken off."""
    amount: int = 0
    """What the call needs."""
    counter: Counter | None = None
    """Of a limit; None: of a key."""
    lasts: float = 0.0
    """Seconds after which the store forgets what a machine held that is not heard of; 0: it does not."""
    strict: bool = True
    """Whether nothing beyond what is held may be used when the store is gone."""
    expires: float = 0.0
    """When nobody asks for it any more; 0: never."""


class LeasedCounters(LimitCounters):
    """The file of a machine that shares its limits.

    `short` are the parts that the last call was refused for, though all machines together may have room.
    """

    writes_late = False

    def __init__(self, path: Path, worker: int, workers: int, capacity: int) -> None:
        super().__init__(path, worker, workers, capacity)
        self.short: list[Part] = []
        self._leasing: set[int] = set()
        self._dry: dict[str, tuple[float, int]] = {}
        self._ends = PeriodClock()

    # Admission

    def _reserve(
        self, slot: int, limits: KeyLimits, now: float, period: int, amount: Micros, tokens: int
    ) -> Refusal | Headroom:
        self.short = []
        short = self._lacking(slot, limits, now, period, amount, tokens)
        if not short:
            return super()._reserve(slot, limits, now, period, amount, tokens)
        if not any(self._is_dry(part, now) for part in short):
            self.short = short
        kind = short[0].kind
        room = self._room(self._slot_at(slot) // NUMBER_BYTES + KEY_WINDOW, limits)
        return Refusal(_LIMITS[kind], 0.0 if kind == BUDGET else _SOON_SECONDS, room)

    def _lacking(
        self, slot: int, limits: KeyLimits, now: float, period: int, amount: Micros, tokens: int
    ) -> list[Part]:
        """The parts of a key that are too small for a call which the key's limits themselves let in."""
        asked: list[Part] = []
        if limits.rpm is not None:
            asked.append(self._part_of_key(slot, RPM, limits.rpm, 1, now))
        if limits.tpm is not None:
            asked.append(self._part_of_key(slot, TPM, limits.tpm, max(1, min(tokens, limits.tpm)), now))
        if limits.concurrency is not None:
            asked.append(self._part_of_key(slot, CONCURRENCY, limits.concurrency, 1, now))
        if limits.budget is not None:
            asked.append(self._part_of_budget(slot, limits, period, amount, now))
        return [part for part in asked if self._unused(part, now) < part.amount <= part.allowed - self._used_of(part)]

    def _part_of_key(self, slot: int, kind: int, allowed: int, amount: int, now: float) -> Part:
        if kind != CONCURRENCY:
            self._advance(self._slot_at(slot) // NUMBER_BYTES + KEY_WINDOW, now)
        lasts = _BUSY_SECONDS if kind == CONCURRENCY else _BUSY_SECONDS + _SLACK_SECONDS
        pool = f"{self._name_of(slot)}/{kind}"
        return Part(pool, slot, kind, ALWAYS, allowed, amount, None, lasts, strict=False, expires=now + _DAY_SECONDS)

    def _part_of_budget(self, slot: int, limits: KeyLimits, period: int, amount: int, now: float) -> Part:
        allowed = (limits.budget or 0) - self._corrected(slot, period)
        ends = self._ends.end(limits.period, now)
        expires = 0.0 if ends == NEVER else ends + _DAY_SECONDS
        return Part(f"{self._name_of(slot)}/{BUDGET}/{period}", slot, BUDGET, period, allowed, amount, expires=expires)

    def _part_of_limit(self, take: Take, now: float) -> Part:
        counter, lasts, window = take.counter, 0.0, ALWAYS
        strict, ends, allowed = counter.measure == "money", now, take.allowed
        if counter.tick_seconds:
            lasts = counter.tick_seconds * TICKS + (_LONG_SECONDS if strict else _SLACK_SECONDS)
        elif counter.measure == "concurrency":
            lasts = _BUSY_SECONDS
        else:
            window, strict, ends = take.window, True, self.ends(counter, now)
            allowed -= self._corrected(counter.slot, window)
        expires = 0.0 if ends == NEVER else ends + lasts + _DAY_SECONDS
        pool = f"{counter.name}/{BUDGET}/{window}"
        return Part(pool, counter.slot, BUDGET, window, allowed, take.amount, counter, lasts, strict, expires)

    def _corrected(self, slot: int, window: int) -> int:
        numbers, at = self._numbers, self._slot_at(slot) // NUMBER_BYTES
        return numbers[at + CORRECTED] if numbers[at + CORRECTED_PERIOD] == window else 0

    def _survey(self, takes: Sequence[Take], now: float) -> list[Take]:
        """See what may be used, and what is left of what this machine holds."""
        super()._survey(takes, now)
        for take in takes:
            if take.counter.limit.hard:
                take.left = min(take.left, self._unused_of(take))
        return [take for take in takes if take.amount > take.left and take.counter.limit.hard]

    def _unused_of(self, take: Take) -> int:
        counter, calendar = take.counter, _is_of_calendar(take.counter)
        used = self._cells(counter.slot, take.window) if calendar else take.allowed - take.left
        return self._held(counter.at + LEASES, take.window if calendar else ALWAYS) - used

    def _refuse(self, over: Sequence[Take], takes: Sequence[Take], now: float, *, tell: bool = True) -> Over:
        self.short = [self._part_of_limit(take, now) for take in over if self._has_room(take, now)]
        if len(self.short) < len(over) or any(self._is_dry(part, now) for part in self.short):
            self.short = []
            return super()._refuse(over, takes, now, tell=tell)
        headroom = self._tightest(Headroom(), takes, now, taken=False)
        return Over(over[0].counter, self._wait_for(over[0], now), headroom)

    def _has_room(self, take: Take, now: float) -> bool:
        """Whether a limit itself has room for a call, as far as this machine uses it."""
        full = Take(take.counter, take.amount)
        super()._survey((full,), now)
        return full.left >= take.amount

    def _wait_for(self, take: Take, now: float) -> float:
        if take.counter.tick_seconds and self._has_room(take, now):
            return _SOON_SECONDS
        return super()._wait_for(take, now)

    def lacking(self, counter: Counter, amount: int, now: float) -> list[Part]:
        """The part of a limit, if it is too small for a call which the limit itself lets in."""
        take = Take(counter, amount)
        if self._fits(take, now) or not self._has_room(take, now):
            return []
        part = self._part_of_limit(take, now)
        return [] if self._is_dry(part, now) else [part]

    # What is told

    def headroom(self, slot: int, limits: KeyLimits, period: int) -> Micros:
        """What is left of the budget, for all machines, as last told."""
        room, at = super().headroom(slot, limits, period), self._part_at(slot, BUDGET)
        if not self._is_known(at, period):
            return room
        return min(room, self._held(at, period) - self._cells(slot, period) + self._numbers[at + _LEFT])

    def left(self, counter: Counter, now: float) -> int:
        """How much of a limit is left, for all machines, as last told."""
        take = self._look_at_all(counter, now)
        if not counter.limit.hard or not _is_of_calendar(counter):
            return take.left
        at = counter.at + LEASES
        if not self._is_known(at, take.window):
            return take.left
        mine = self._held(at, take.window) - self._cells(counter.slot, take.window)
        return min(take.left, mine + self._numbers[at + _LEFT])

    def use(self, counter: Counter, now: float) -> LimitUse:
        """How much of a limit is used now; of what other machines hold, as much as was last told."""
        take = self._look_at_all(counter, now)
        used, ends = take.allowed - take.left, self.ends(counter, now)
        calendar = _is_of_calendar(counter)
        window, at = take.window if calendar else ALWAYS, counter.at + LEASES
        if self._is_known(at, window):
            mine = self._cells(counter.slot, window) if calendar else used
            used = max(used, mine + self._corrected(counter.slot, window) + self._numbers[at + _OTHERS])
        return LimitUse(used, take.allowed, None if ends == NEVER else ends)

    def _look_at_all(self, counter: Counter, now: float) -> Take:
        """What there may be of a limit and what is left of it, whatever this machine holds."""
        take = Take(counter, 0)
        self._lock_one(counter.slot)
        try:
            super()._survey((take,), now)
        finally:
            self._unlock_one(counter.slot)
        return take

    def _settled(self, take: Take) -> int:
        used, slot = super()._settled(take), take.counter.slot
        at = take.counter.at + LEASES
        if not self._is_known(at, take.window):
            return used
        cells = [self.cell(slot, worker) for worker in range(self._workers)]
        mine = sum([cell.spent for cell in cells if cell.period == take.window])
        return max(used, mine + self._corrected(slot, take.window) + self._numbers[at + _OTHERS])

    def _shifted(self, counter: Counter, amount: int) -> None:
        # What was given away is no longer held; what comes back was claimed from nobody.
        if amount > 0 and counter.limit.hard:
            self._numbers[counter.at + LEASES + _HELD] -= amount

    def _room(self, window: int, limits: KeyLimits) -> Headroom:
        room, slot = super()._room(window, limits), window - KEY_WINDOW
        return msgspec.structs.replace(
            room,
            requests=self._nearest(room.requests, slot + LEASES - RPM * _SIZE, window + KEY_REQUEST_SUM),
            tokens=self._nearest(room.tokens, slot + LEASES - TPM * _SIZE, window + KEY_TOKEN_SUM),
        )

    def _nearest(self, room: int | None, at: int, place: int) -> int | None:
        """What is left for all machines of what is counted at a place, where less than `room` is."""
        if room is None or not self._is_known(at, ALWAYS):
            return room
        return max(0, min(room, self._numbers[at + _HELD] - self._numbers[place] + self._numbers[at + _LEFT]))

    # Parts

    def _part_at(self, slot: int, kind: int) -> int:
        return self._slot_at(slot) // NUMBER_BYTES + LEASES - kind * _SIZE

    def _is_known(self, at: int, window: int) -> bool:
        return self._numbers[at + _NUMBER] > 0 and self._numbers[at + _WINDOW] == window

    def _held(self, at: int, window: int) -> int:
        return self._numbers[at + _HELD] if self._is_known(at, window) else 0

    def _name_of(self, slot: int) -> str:
        at = self._slot_at(slot)
        return self._memory[at : at + NAME_BYTES].rstrip(b"\0").decode()

    def _cells(self, slot: int, window: int) -> int:
        """What all workers of this machine have spent and reserved in a window."""
        own = self._own_cell(slot)
        used = own.spent + own.reserved if own.period == window else 0
        for worker in self._others:
            cell = self.cell(slot, worker)
            used += cell.spent + cell.reserved if cell.period == window else 0
        return used

    def _used_of(self, part: Part) -> int:
        """What this machine uses of a pool; windows reach to now already."""
        numbers, at = self._numbers, self._slot_at(part.slot) // NUMBER_BYTES
        if part.window != ALWAYS:
            return self._cells(part.slot, part.window)
        if part.kind in (RPM, TPM):
            return numbers[at + KEY_WINDOW + (KEY_REQUEST_SUM if part.kind == RPM else KEY_TOKEN_SUM)]
        if part.kind == CONCURRENCY or part.counter is None or not part.counter.tick_seconds:
            held = self._held(self._part_at(part.slot, part.kind), ALWAYS)
            return self._in_flight(part.slot, self._own_cell(part.slot), held)
        return numbers[at + LIMIT_SUM] + (self._held_beside(part.slot) if numbers[at + HOLDS] else 0)

    def _unused(self, part: Part, now: float) -> int:
        if part.counter is not None and part.counter.tick_seconds:
            self._roll(part.counter, now)
        elif part.kind in (RPM, TPM):
            self._advance(self._slot_at(part.slot) // NUMBER_BYTES + KEY_WINDOW, now)
        return self._held(self._part_at(part.slot, part.kind), part.window) - self._used_of(part)

    def unused(self, part: Part, now: float) -> int:
        """What this machine holds of a pool and does not use."""
        self._lock_one(part.slot)
        try:
            return self._unused(part, now)
        finally:
            self._unlock_one(part.slot)

    def used(self, part: Part) -> int:
        """What this machine uses of a pool."""
        return self._used_of(part)

    def claim(self, part: Part, now: float, *, keep: bool) -> tuple[int, int] | None:
        """The number of the next claim on a pool, and what this machine holds: no more than it uses, unless it keeps
        the rest. None where the window is over.
        """
        numbers, at = self._numbers, self._part_at(part.slot, part.kind)
        self._lock_one(part.slot)
        try:
            if numbers[at + _NUMBER] and numbers[at + _WINDOW] > part.window:
                return None
            unused = self._unused(part, now)
            if not self._is_known(at, part.window):
                numbers[at + _HELD] = numbers[at + _BEFORE] = numbers[at + _OTHERS] = numbers[at + _LEFT] = 0
                numbers[at + _WINDOW] = part.window
            if not keep or unused < 0:
                numbers[at + _HELD] = self._used_of(part)
            numbers[at + _NUMBER] += 1
            return numbers[at + _NUMBER], numbers[at + _HELD] - numbers[at + _BEFORE]
        finally:
            self._unlock_one(part.slot)

    def lend(self, part: Part, number: int, granted: int, others: int, left: int) -> None:
        """Use what claim `number` was granted, unless another was made since."""
        numbers, at = self._numbers, self._part_at(part.slot, part.kind)
        self._lock_one(part.slot)
        try:
            if numbers[at + _NUMBER] == number and numbers[at + _WINDOW] == part.window:
                numbers[at + _HELD] += granted
                numbers[at + _OTHERS], numbers[at + _LEFT] = others, left
        finally:
            self._unlock_one(part.slot)

    def share(self, part: Part, amount: int, now: float) -> None:
        """Hold so much of a pool whose store is gone."""
        numbers, at = self._numbers, self._part_at(part.slot, part.kind)
        self._lock_one(part.slot)
        try:
            self._unused(part, now)
            if not self._is_known(at, part.window):
                numbers[at + _BEFORE] = numbers[at + _OTHERS] = 0
                numbers[at + _WINDOW] = part.window
            numbers[at + _NUMBER] += 1
            numbers[at + _HELD], numbers[at + _LEFT] = amount, 0
        finally:
            self._unlock_one(part.slot)

    def rebase(self, part: Part, number: int, before: int) -> None:
        """The store has heard, by claim `number`, that the ledger knows of so much of what is used."""
        numbers, at = self._numbers, self._part_at(part.slot, part.kind)
        self._lock_one(part.slot)
        try:
            if numbers[at + _NUMBER] == number and numbers[at + _WINDOW] == part.window:
                numbers[at + _BEFORE] = before
        finally:
            self._unlock_one(part.slot)

    def before(self, part: Part) -> int:
        """How much of what is used the ledger knew when the store began anew."""
        return self._numbers[self._part_at(part.slot, part.kind) + _BEFORE]

    def settled(self, part: Part) -> int:
        """What is used for good of a pool that counts for good."""
        cells = [self.cell(part.slot, worker) for worker in range(self._workers)]
        return sum([cell.spent for cell in cells if cell.period == part.window])

    def is_at_rest(self, part: Part) -> bool:
        """Whether what is used of a pool will not become less by itself."""
        used = self._used_of(part)
        return used == (0 if part.window == ALWAYS else self.settled(part))

    def lasting(self) -> Iterator[Part]:
        """Every part of a pool that counts for good."""
        for name, slot in self.slots():
            at = self._part_at(slot, BUDGET)
            window = self._numbers[at + _WINDOW]
            if self._numbers[at + _NUMBER] and window != ALWAYS:
                yield Part(f"{name}/{BUDGET}/{window}", slot, BUDGET, window, 0)

    # One claim at a time

    @property
    def capacity(self) -> int:
        """How many slots there are; the slot of this number is nobody's, and can be claimed for."""
        return self._capacity

    def begin_claim(self, slot: int) -> bool:
        """Whether this process may make claims for a slot until `end_claim`; false where somebody does already."""
        if slot in self._leasing:
            return False
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, FIRST_SLOT_LOCK + self._capacity + slot)
        except OSError:
            return False
        self._leasing.add(slot)
        return True

    def end_claim(self, slot: int) -> None:
        """Let others make claims for a slot."""
        self._leasing.discard(slot)
        if self._fd >= 0:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, FIRST_SLOT_LOCK + self._capacity + slot)

    def is_last(self) -> bool:
        """Whether no other worker of this machine runs."""
        return not any(self._is_alive(worker) for worker in self._others)

    # Pools that have no more

    def note_dry(self, part: Part, now: float) -> None:
        """Nobody gets so much of a pool for now: calls are refused without asking again."""
        if len(self._dry) >= _MOST_DRY:
            self._dry.clear()
        self._dry[part.pool] = (now + _DRY_SECONDS, part.amount)

    def _is_dry(self, part: Part, now: float) -> bool:
        until, amount = self._dry.get(part.pool, (0.0, 0))
        return now < until and part.amount >= amount


def _is_of_calendar(counter: Counter) -> bool:
    return not counter.tick_seconds and counter.measure != "concurrency"
