"""The shared counters with limits in them: a slot for each limit and subject, beside those of keys.

What a call asks of its key and of every limit is checked and taken in one step, under the locks of all its slots, which
every process takes in the same order. A slot of a limit has the same cells as a key's, so what was used, what calls
under way may still come to and how many there are survives `kill -9` to the last unit. Windows without a beginning are
a ring of thirteen ticks, a twelfth of the window each; of their cells only what is held for calls to come is used.

Beside the name and the base, which keys' slots have too, a slot holds: the ring; since when usage counts (it rises when
the limit is reset); what was added to the window; which threshold was told of last; whether anything is held beside the
ring; and room for what this machine was granted of a limit that several share.

As in the counters of keys, what each call runs through is written out, since every function call can be measured.
"""

import fcntl
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from polyforge.tenancy.callers import KeyLimits
from polyforge.tenancy.ledger.counters import FIRST_SLOT_LOCK, Headroom, OwnCell, Refusal, SharedCounters
from polyforge.tenancy.ledger.slots import (
    EXTRA,
    EXTRA_UNTIL,
    HOLDS,
    LIMIT_RING,
    LIMIT_SUM,
    LIMIT_TICK,
    LIMIT_TICKS_PER_WINDOW,
    NAME_BYTES,
    NUMBER_BYTES,
    REACHED_WINDOW,
    READY,
    SINCE,
    STATE,
    TICKS,
    TOLD,
    TOLD_WINDOW,
)
from polyforge.tenancy.limits.records import ANY, Limit, LimitState, LimitUse, Measure, slot_name
from polyforge.tenancy.limits.windows import MICROS, NEVER, WindowClock, rolling_seconds

_BESIDE: Final = 0
"""The window of what is held beside a ring."""
_FOREVER: Final = 2**63 - 1
_BUSY_SECONDS: Final = 1.0
_SOON_SECONDS: Final = 0.05
_REACHED_AGAIN_SECONDS: Final = 60
"""A limit of calls under way has no window; that it was reached is told once in so long."""
NO_KEY: Final = KeyLimits()
ASKS_ONE, ASKS_MONEY, ASKS_TOKENS, ASKS_LIKELY_TOKENS = range(4)
"""What a call may come to: itself, its price in micro-USD, all tokens that are possible, those that are likely."""
_BASE_AND_CORRECTED: Final = struct.Struct("<qqqq").unpack_from
"""The four numbers of a slot behind its name: of which window, and how much, is the base, and are corrections."""


class Counter(msgspec.Struct, gc=False, eq=False):
    """One limit for one subject: where it is counted, and how much there may be."""

    limit: Limit
    subject_id: str
    name: str
    """Of its slot."""
    measure: Measure
    amount: int
    tick_seconds: float
    """0 where it is counted in cells."""
    marks: tuple[int, ...]
    """Its thresholds in units, rising."""
    shown: bool
    """Whether headers tell of it."""
    asks: int
    """Which of the things that a call may come to is asked of it, as the `ASKS_...` name them."""
    kept: bool
    """Whether what is used of it survives its worker: the journal then says what calls hold."""
    slot: int = -1
    at: int = 0
    """Where its slot begins, in numbers."""
    own: OwnCell | None = None
    """This worker's cell of the slot."""
    window: int = 0
    """First microsecond of the calendar's window, which lasts from `starts` to before `ends`."""
    starts: float = 0.0
    ends: float = 0.0


class Take(msgspec.Struct, gc=False, eq=False):
    """What a call holds of a counter, from its admission to its settlement."""

    counter: Counter
    amount: int
    window: int = 0
    """First microsecond of the window; where it rolls, the number of the tick."""
    allowed: int = 0
    left: int = 0
    """Before this call."""


class DepositPart(msgspec.Struct, gc=False, eq=False):
    """What is held of one slot for calls that are still to come, in this worker's cell of it."""

    slot: int
    own: OwnCell
    window: int
    amount: int
    beside: bool = False
    """Whether it stands beside a ring."""
    drawn: int = 0
    """What calls under way took out of it."""

    @property
    def lasts(self) -> bool:
        """Whether its window has not ended here; what was held of one that has is gone with it."""
        return self.own.period == self.window

    def change(self, amount: int) -> None:
        """Hold so much more, or less; others see it once the cell is written."""
        self.amount += amount
        self.own.reserved += amount


class Over(msgspec.Struct, frozen=True, gc=False):
    """A limit that stands in the way."""

    counter: Counter
    retry_after: float
    """Seconds until there is room again, if nothing else comes; infinite where there never will be."""
    headroom: Headroom


class Start(msgspec.Struct, frozen=True):
    """What a new slot begins with: what the ledger knows, and what was done to the limit."""

    window: int
    used: int = 0
    """Without `corrected`."""
    corrected: int = 0
    ticks: Mapping[int, int] = {}
    """What was used in each tick of a window that rolls, by the tick's number."""
    state: LimitState | None = None


class Notice(msgspec.Struct, frozen=True):
    """A threshold that was crossed, or a limit that was reached (`share` None), once in a window and subject."""

    limit: Limit
    subject_id: str
    share: float | None
    used: int
    amount: int
    at: float


def counter_of(limit: Limit, subject_id: str) -> Counter:
    """The counter of a limit for a subject; its slot is found later."""
    marks = tuple(max(1, round(limit.amount * share)) for share in limit.thresholds)
    tick = rolling_seconds(limit.window) / LIMIT_TICKS_PER_WINDOW
    shown = limit.hard and limit.measure in ("requests", "tokens")
    name, asks = slot_name(limit, subject_id), _asks(limit.measure, tick)
    kept = not tick and limit.window != ""
    return Counter(limit, subject_id, name, limit.measure, limit.amount, tick, marks, shown, asks, kept)


def _asks(measure: Measure, tick: float) -> int:
    """Of tokens, a window that rolls is asked for what is likely, one of the calendar for what is possible."""
    if measure == "money":
        return ASKS_MONEY
    if measure == "tokens":
        return ASKS_LIKELY_TOKENS if tick else ASKS_TOKENS
    return ASKS_ONE


class LimitCounters(SharedCounters):
    """The file, as one process sees it. Whoever may be told of thresholds sets `notice`; it must not wait."""

    notice: Callable[[Notice], None] | None = None

    _windows = WindowClock()

    # Slots

    def attach(self, counter: Counter) -> bool:
        """Find the slot of a counter; False when it has to be opened first."""
        slot = self.find(counter.name)
        if slot is None or not self._numbers[self._slot_at(slot) // NUMBER_BYTES + READY]:
            return False
        self._bind(counter, slot)
        return True

    def _bind(self, counter: Counter, slot: int) -> None:
        counter.slot, counter.at = slot, self._slot_at(slot) // NUMBER_BYTES
        counter.own = self._own_cell(slot)

    def begin(self, counter: Counter, start: Start, now: float) -> None:
        """Make the slot of a counter with what the ledger knows, unless another worker was first."""
        guest = counter.limit.subject == "end_user" and counter.limit.subject_id == ANY
        slot = self.create(counter.name, start.window, start.used, start.corrected, guest=guest)
        self._bind(counter, slot)
        numbers, at = self._numbers, counter.at
        self._lock_one(slot)
        try:
            if not numbers[at + READY]:
                self._fill(counter, start, now)
                numbers[at + READY] = 1
        finally:
            self._unlock_one(slot)

    def _fill(self, counter: Counter, start: Start, now: float) -> None:
        numbers, at = self._numbers, counter.at
        if start.state is not None:
            self._set_state(counter, start.state)
        if counter.tick_seconds:
            self._roll(counter, now)
            newest = numbers[at + LIMIT_TICK]
            for tick, used in start.ticks.items():
                if newest - TICKS < tick <= newest:
                    numbers[at + LIMIT_RING + tick % TICKS] = used
                    numbers[at + LIMIT_SUM] += used
        used = numbers[at + LIMIT_SUM] if counter.tick_seconds else start.used + start.corrected
        if passed := bisect_right(counter.marks, used):
            numbers[at + TOLD_WINDOW] = self._told_window(counter, start.window, now)
            numbers[at + TOLD] = counter.marks[passed - 1]

    def apply(self, counter: Counter, state: LimitState) -> None:
        """Count what was done to a limit, once on this machine, whichever worker hears of it first."""
        self._lock_one(counter.slot)
        try:
            if state.version > self._numbers[counter.at + STATE]:
                self._set_state(counter, state)
        finally:
            self._unlock_one(counter.slot)

    def _set_state(self, counter: Counter, state: LimitState) -> None:
        numbers, at, since = self._numbers, counter.at, int(state.reset_at * MICROS)
        if since > numbers[at + SINCE]:
            numbers[at + SINCE] = since
            for place in range(at + LIMIT_SUM, at + LIMIT_RING + TICKS):
                numbers[place] = 0
            numbers[at + TOLD] = numbers[at + TOLD_WINDOW] = numbers[at + REACHED_WINDOW] = 0
        numbers[at + EXTRA] = state.extra
        numbers[at + EXTRA_UNTIL] = _micros(state.extra_until)
        numbers[at + STATE] = state.version

    def shift(self, counter: Counter, amount: int, now: float) -> bool:
        """Take an amount away from what may be used in this window, if it is there; a negative one is given back.

        Until the state says so too, the next change of it undoes this: nobody else may change it meanwhile.
        """
        take = Take(counter, 0)
        self._lock_one(counter.slot)
        try:
            self._look(take, now)
            if amount > 0 and take.left < amount:
                return False
            numbers, at = self._numbers, counter.at
            extra = numbers[at + EXTRA] if now * MICROS < numbers[at + EXTRA_UNTIL] else 0
            numbers[at + EXTRA] = extra - amount
            numbers[at + EXTRA_UNTIL] = _micros(self.ends(counter, now))
            self._shifted(counter, amount)
        finally:
            self._unlock_one(counter.slot)
        return True

    def _shifted(self, counter: Counter, amount: int) -> None:
        """An amount was taken away, under the slot's lock."""

    def use(self, counter: Counter, now: float) -> LimitUse:
        """How much of a counter is used now, with what calls under way hold."""
        take = Take(counter, 0)
        self._lock_one(counter.slot)
        try:
            self._look(take, now)
        finally:
            self._unlock_one(counter.slot)
        ends = self.ends(counter, now)
        return LimitUse(take.allowed - take.left, take.allowed, None if ends == NEVER else ends)

    def ends(self, counter: Counter, now: float) -> float:
        """When the window of a counter starts again; infinite where it never does."""
        if counter.tick_seconds:
            return now + counter.tick_seconds * LIMIT_TICKS_PER_WINDOW
        if counter.starts <= now < counter.ends:
            return counter.ends
        return self._windows.end(counter.limit.window, now) if counter.limit.window else NEVER

    def left(self, counter: Counter, now: float) -> int:
        """How much of a counter is left."""
        take = Take(counter, 0)
        # Whoever looks at a ring may have to turn it, which must not meet another worker's turn.
        self._lock_one(counter.slot)
        try:
            self._look(take, now)
        finally:
            self._unlock_one(counter.slot)
        return take.left

    def wait_for(self, counter: Counter, amount: int, now: float) -> float:
        """Seconds until there is room for so much; 0: there is."""
        take = Take(counter, amount)
        self._lock_one(counter.slot)
        try:
            return 0.0 if self._fits(take, now) else self._wait_for(take, now)
        finally:
            self._unlock_one(counter.slot)

    # Admission

    def reserve_many(
        self,
        takes: Sequence[Take],
        now: float,
        slot: int = -1,
        limits: KeyLimits = NO_KEY,
        period: int = 0,
        amount: int = 0,
        tokens: int = 0,
    ) -> Headroom | Refusal | Over:
        """Take what a call asks of every limit and of its key's slot (-1: it has none), or nothing at all."""
        locked = self._lock_all(takes, slot) if self._others else ()
        try:
            over = self._survey(takes, now)
            if over:
                return self._refuse(over, takes, now)
            room = _NO_ROOM if slot < 0 else self._reserve(slot, limits, now, period, amount, tokens)
            if isinstance(room, Refusal):
                return room
            shown = self._take_all(takes)
        finally:
            for each in locked:
                self._unlock_one(each)
        return self._tightest(room, takes, now, taken=True) if shown else room

    def hold_many(
        self,
        takes: Sequence[Take],
        now: float,
        slot: int = -1,
        limits: KeyLimits = NO_KEY,
        period: int = 0,
        amount: int = 0,
    ) -> list[DepositPart] | Refusal | Over:
        """Hold money of every limit and of a key's budget for calls to come, or nothing at all; no call is under way
        by that. `limits` has nothing but the budget.
        """
        locked = self._lock_all(takes, slot) if self._others else ()
        try:
            over = self._survey(takes, now)
            if over:
                # A large amount does not fit, though small calls may: the limit is not reached.
                return self._refuse(over, takes, now, tell=False)
            room = _NO_ROOM if slot < 0 else self._reserve(slot, limits, now, period, amount, 0)
            if isinstance(room, Refusal):
                return room
            held = [self._put_by(take) for take in takes]
            if slot >= 0:
                held.append(DepositPart(slot, self._own_cell(slot), period, amount))
            for each in held:
                each.own.in_flight -= 1
            self.write_held(held)
        finally:
            for each in locked:
                self._unlock_one(each)
        return held

    def _put_by(self, take: Take) -> DepositPart:
        counter, beside = take.counter, take.counter.tick_seconds > 0
        own, window = counter.own or self._own_cell(counter.slot), take.window
        if beside:
            self._numbers[counter.at + HOLDS], window = 1, _BESIDE
        self._hold(own, window, take.amount)
        return DepositPart(counter.slot, own, window, take.amount, beside)

    def write_held(self, held: Iterable[DepositPart]) -> None:
        """Show everybody the cells of what is held."""
        for each in held:
            each.own.write(self._bytes)

    def _held_beside(self, slot: int) -> int:
        """What all workers hold beside a ring."""
        held = self._own_cell(slot).reserved
        for worker in self._others:
            held += self.cell(slot, worker).reserved
        return held

    def _lock_all(self, takes: Sequence[Take], slot: int) -> list[int]:
        """Lock every slot of a call, always in the same order, so that no two calls wait for each other."""
        slots = [take.counter.slot for take in takes]
        if slot >= 0:
            slots.append(slot)
        slots.sort()
        for each in slots:
            self._lock_one(each)
        return slots

    def _lock_one(self, slot: int) -> None:
        if self._others:
            fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, FIRST_SLOT_LOCK + slot)

    def _unlock_one(self, slot: int) -> None:
        if self._others:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, FIRST_SLOT_LOCK + slot)

    def _survey(self, takes: Sequence[Take], now: float) -> list[Take]:
        """See what may be used of each and what is left; gives those in which there is no room."""
        numbers, memory, others = self._numbers, self._bytes, self._others
        over: list[Take] = []
        for take in takes:
            counter = take.counter
            at, allowed, tick = counter.at, counter.amount, counter.tick_seconds
            if numbers[at + EXTRA] and now * MICROS < numbers[at + EXTRA_UNTIL]:
                allowed = max(0, allowed + numbers[at + EXTRA])
            if tick:
                if numbers[at + LIMIT_TICK] < now // tick:
                    self._roll(counter, now)
                take.window = numbers[at + LIMIT_TICK]
                left = allowed - numbers[at + LIMIT_SUM]
                left -= self._held_beside(counter.slot) if numbers[at + HOLDS] else 0
                if counter.asks == ASKS_LIKELY_TOKENS:
                    # One call may be larger than what there is in a minute; it then needs all of it.
                    take.amount = max(1, min(take.amount, allowed))
            else:
                own = counter.own or self._own_cell(counter.slot)
                if counter.measure == "concurrency":
                    left = allowed - self._in_flight(counter.slot, own, allowed)
                else:
                    if not counter.starts <= now < counter.ends:
                        self._turn(counter, now)
                    # A clock that is set back, and a call that comes late, must not begin an earlier window again.
                    window = max(counter.window, numbers[at + SINCE], own.period)
                    based, base, corrected_of, corrected = _BASE_AND_CORRECTED(memory, at * NUMBER_BYTES + NAME_BYTES)
                    used = own.spent + own.reserved if own.period == window else 0
                    used += base if based == window else 0
                    used += corrected if corrected_of == window else 0
                    for worker in others:
                        cell = self.cell(counter.slot, worker)
                        used += cell.spent + cell.reserved if cell.period == window else 0
                    take.window, left = window, allowed - used
            take.allowed, take.left = allowed, left
            if take.amount > left and counter.limit.hard:
                over.append(take)
        return over

    def _look(self, take: Take, now: float) -> None:
        """See what may be used of one and what is left."""
        self._survey((take,), now)

    def _turn(self, counter: Counter, now: float) -> None:
        """Note the window of the calendar that holds now."""
        start = self._windows.start(counter.limit.window, now)
        counter.window, counter.starts = start * MICROS, float(start)
        counter.ends = self._windows.end(counter.limit.window, now)

    def _fits(self, take: Take, now: float) -> bool:
        return not self._survey((take,), now)

    def _take_all(self, takes: Sequence[Take]) -> bool:
        """Hold what was found to be there; gives whether headers tell of any."""
        numbers, shown = self._numbers, False
        for take in takes:
            counter, amount = take.counter, take.amount
            shown = shown or counter.shown
            if counter.tick_seconds:
                at = counter.at
                numbers[at + LIMIT_RING + take.window % TICKS] += amount
                numbers[at + LIMIT_SUM] += amount
                continue
            own = counter.own or self._own_cell(counter.slot)
            if counter.measure == "concurrency":
                amount = 0
            self._hold(own, take.window, amount)
        return shown

    def _roll(self, counter: Counter, now: float) -> None:
        """Let a ring reach to now: ticks that fell out of it are cleared."""
        numbers, at = self._numbers, counter.at
        tick, newest = int(now // counter.tick_seconds), numbers[at + LIMIT_TICK]
        if newest >= tick:
            return
        for passed in range(max(newest + 1, tick - TICKS + 1), tick + 1):
            numbers[at + LIMIT_RING + passed % TICKS] = 0
        numbers[at + LIMIT_SUM] = sum(numbers[at + LIMIT_RING : at + LIMIT_RING + TICKS])
        numbers[at + LIMIT_TICK] = tick

    def _tightest(self, room: Headroom, takes: Sequence[Take], now: float, *, taken: bool) -> Headroom:
        """What is left of requests and tokens where least is left: of the key's own limits (`room`), or of these."""
        requests, tokens = room.requests, room.tokens
        nearest: Take | None = None
        nearest_tokens: Take | None = None
        for take in takes:
            if not take.counter.shown:
                continue
            left = max(0, take.left - take.amount if taken else take.left)
            if take.counter.measure == "requests":
                if requests is None or left < requests:
                    requests, nearest = left, take
            elif tokens is None or left < tokens:
                tokens, nearest_tokens = left, take
        if nearest is nearest_tokens is None:
            return room
        return Headroom(
            requests,
            tokens,
            room.reset if nearest is None else self.ends(nearest.counter, now) - now,
            None if nearest is None else nearest.allowed,
            None if nearest_tokens is None else nearest_tokens.allowed,
            room.reset if nearest_tokens is None else self.ends(nearest_tokens.counter, now) - now,
        )

    # Refusal

    def _refuse(self, over: Sequence[Take], takes: Sequence[Take], now: float, *, tell: bool = True) -> Over:
        """The limit that stands in the way for longest, of which it is told that it was reached."""
        waits = [self._wait_for(take, now) for take in over]
        longest = max(waits)
        take = over[waits.index(longest)]
        if tell:
            self._tell_reached(take, now)
        return Over(take.counter, longest, self._tightest(_NO_ROOM, takes, now, taken=False))

    def _wait_for(self, take: Take, now: float) -> float:
        """Seconds until there is room for a call, if nothing else comes."""
        counter = take.counter
        if counter.measure == "concurrency":
            return _BUSY_SECONDS
        if not counter.tick_seconds:
            return self._windows.end(counter.limit.window, now) - now
        numbers, ring, tick = self._numbers, counter.at + LIMIT_RING, take.window
        used = take.allowed - take.left
        for age in range(1, TICKS + 1):
            used -= numbers[ring + (tick + age) % TICKS]
            if used + take.amount <= take.allowed:
                return max(_SOON_SECONDS, (tick + age) * counter.tick_seconds - now)
        return TICKS * counter.tick_seconds

    # Settlement

    def settle_many(self, takes: Sequence[Take], number: int, tokens: int, price: int, now: float) -> None:
        """Replace what a call held by what it came to, which journal record `number` of this incarnation holds."""
        late, unwritten = self._late, self._unwritten
        for take in takes:
            counter, amount = take.counter, take.amount
            measure = counter.measure
            came_to = price if measure == "money" else tokens if measure == "tokens" else 1
            if counter.tick_seconds:
                if came_to != amount:
                    self._settle_ring(take, came_to - amount, now)
            else:
                own = counter.own or self._own_cell(counter.slot)
                own.applied = number
                own.in_flight -= 1
                if own.period == take.window and measure != "concurrency":
                    own.spent += came_to
                    own.reserved -= amount
                if late:
                    unwritten.add(own)
                else:
                    own.write(self._bytes)
            if counter.marks:
                self._tell_marks(take, now)

    def end_many(self, takes: Sequence[Take], now: float) -> None:
        """Replace what an attempt held that came to nothing: it was a request, and no more."""
        for take in takes:
            came_to = 1 if take.counter.measure == "requests" else 0
            if take.counter.tick_seconds:
                self._settle_ring(take, came_to - take.amount, now)
            else:
                held = 0 if take.counter.measure == "concurrency" else take.amount
                self.release(take.counter.slot, take.window, held, came_to)

    def release_many(self, takes: Sequence[Take], now: float) -> None:
        """Give back what a call held that no journal record speaks of, and that was never made."""
        for take in takes:
            if take.counter.tick_seconds:
                self._settle_ring(take, -take.amount, now)
            else:
                self.release(
                    take.counter.slot, take.window, 0 if take.counter.measure == "concurrency" else take.amount
                )

    def _settle_ring(self, take: Take, change: int, now: float) -> None:
        """What a call came to counts where it was taken, so that it is forgotten in one piece."""
        numbers, counter = self._numbers, take.counter
        self._lock_one(counter.slot)
        try:
            self._roll(counter, now)
            newest = numbers[counter.at + LIMIT_TICK]
            if take.window <= newest - TICKS:
                if change < 0:
                    return
                take.window = newest
            place = counter.at + LIMIT_RING + take.window % TICKS
            change = max(change, -numbers[place])
            numbers[place] += change
            numbers[counter.at + LIMIT_SUM] += change
        finally:
            self._unlock_one(counter.slot)

    def forgotten(self, takes: Sequence[Take]) -> frozenset[int]:
        """The slots of windows that roll and have forgotten by now what a call took of them."""
        numbers = self._numbers
        rolling = [take for take in takes if take.counter.tick_seconds]
        return frozenset(
            [take.counter.slot for take in rolling if take.window <= numbers[take.counter.at + LIMIT_TICK] - TICKS]
        )

    # Telling

    def _tell_marks(self, take: Take, now: float) -> None:
        """Tell of the thresholds that are behind now and were not told of in this window."""
        numbers, counter = self._numbers, take.counter
        at = counter.at
        used = numbers[at + LIMIT_SUM] if counter.tick_seconds else self._settled(take)
        if used < counter.marks[0]:
            return
        window = self._told_window(counter, take.window, now)
        mark = counter.marks[bisect_right(counter.marks, used) - 1]
        if numbers[at + TOLD_WINDOW] == window and numbers[at + TOLD] >= mark:
            return
        self._lock_one(counter.slot)
        try:
            told = numbers[at + TOLD] if numbers[at + TOLD_WINDOW] == window else 0
            if numbers[at + TOLD_WINDOW] > window:
                return
            numbers[at + TOLD] = max(mark, told)
            numbers[at + TOLD_WINDOW] = window
        finally:
            self._unlock_one(counter.slot)
        for share, each in zip(counter.limit.thresholds, counter.marks, strict=True):
            if told < each <= mark:
                self._notify(counter, share, used, now)

    def _settled(self, take: Take) -> int:
        """What has been used for good, of all workers."""
        slot = take.counter.slot
        own = take.counter.own or self._own_cell(slot)
        held = own.reserved if own.period == take.window else 0
        for worker in self._others:
            cell = self.cell(slot, worker)
            held += cell.reserved if cell.period == take.window else 0
        return self._used(slot, own, take.window) - held

    def _tell_reached(self, take: Take, now: float) -> None:
        """Tell that calls are refused; every refusal is one, so once in a window is enough. Needs the slot's lock."""
        counter = take.counter
        window = self._told_window(counter, take.window, now) + 1
        if self._numbers[counter.at + REACHED_WINDOW] < window:
            self._numbers[counter.at + REACHED_WINDOW] = window
            self._notify(counter, None, take.allowed - take.left, now)

    def _told_window(self, counter: Counter, window: int, now: float) -> int:
        if counter.tick_seconds:
            return int(now // (counter.tick_seconds * LIMIT_TICKS_PER_WINDOW))
        return window if counter.limit.window else int(now // _REACHED_AGAIN_SECONDS)

    def _notify(self, counter: Counter, share: float | None, used: int, now: float) -> None:
        if self.notice is not None:
            self.notice(Notice(counter.limit, counter.subject_id, share, used, counter.amount, now))


def _micros(moment: float) -> int:
    return _FOREVER if moment == NEVER else int(moment * MICROS)


_NO_ROOM: Final = Headroom()
