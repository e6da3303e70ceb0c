"""Calls of one chain of counters that are let in by a few comparisons, because nothing can stand in their way.

A chain is a key's slot and the counters of all limits that count for its calls. A *lane* is what was taken of all of
them in one step and nobody uses yet: so many calls, so many under way at once, so much money and so many tokens. A
call takes what it asks for out of the lane, and puts back what it did not come to. What it did come to is added up, and
given to the counters in one step as well. By construction nothing is spent that a limit does not have: what is in the
lane counts as used.

While a lane is open its chain alone uses its slots. Whoever else asks for one of them (another chain, a reader, a
change of a limit) has the lane counted and closed first, and finds every number as if each call had been counted by
itself; the chain then has none for a second. A chain has none either before it was busy in this second, where a limit
or a threshold is near, and where a window rolls for longer than a minute: what is in a lane when its process is killed
is missing from such a window until it is forgotten. Everything else is in cells, which recovery makes right by the
journal. Cells are never written while a lane of theirs is open.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Final, NamedTuple

from polyforge.kernel.money import Micros
from polyforge.tenancy.callers import KeyLimits
from polyforge.tenancy.ledger.counters import Headroom, Held, OwnCell, Refusal
from polyforge.tenancy.ledger.records import Hold
from polyforge.tenancy.ledger.slots import (
    EXTRA,
    EXTRA_UNTIL,
    KEY_FORGOTTEN_SECONDS,
    KEY_REQUEST_SUM,
    KEY_REQUESTS,
    KEY_TICK,
    KEY_TICK_SECONDS,
    KEY_TOKEN_SUM,
    KEY_TOKENS,
    KEY_WINDOW,
    LIMIT_RING,
    LIMIT_SUM,
    LIMIT_TICK,
    LIMIT_TICKS_PER_WINDOW,
    NUMBER_BYTES,
    TICKS,
)
from polyforge.tenancy.limits.counters import (
    ASKS_LIKELY_TOKENS,
    ASKS_MONEY,
    ASKS_ONE,
    ASKS_TOKENS,
    NO_KEY,
    Counter,
    DepositPart,
    LimitCounters,
    Over,
    Take,
)
from polyforge.tenancy.limits.records import LimitState, LimitUse
from polyforge.tenancy.limits.windows import MICROS, NEVER

_LONGEST_TICK: Final = 5.0
_UNLIMITED: Final = 2**60
_SHARE: Final = 16
"""Of what is left of a limit, at most one part of so many is in a lane."""
_MOST_CALLS: Final = 256
_LEAST_CALLS: Final = 8
"""For fewer calls like the last one no lane is opened: a limit or a threshold is near."""
_MOST_UNDER_WAY: Final = 4096
_BUSY_CALLS: Final = 4
_MOST_LANES: Final = 20_000

Amounts = tuple[int, int, int, int]
"""What a call may come to, each at the place that counters know it by (`ASKS_...`)."""


_Kept = tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...], Callable[[Amounts], tuple[int, ...]]]


def _amounts_of(asks: tuple[int, ...]) -> Callable[[Amounts], tuple[int, ...]]:
    """What gives the amounts of what is asked, and some more at the end, since it gives no tuple of fewer than two."""
    return itemgetter(*asks, ASKS_ONE, ASKS_ONE)


class _Nearest(NamedTuple):
    """The limit of which least is left, among those that headers tell of and that count the same."""

    base: int
    """What is left beside what is in the lane."""
    limit: int | None
    """What there may be; None: it is the key's own."""
    reset: float
    """Seconds until all is forgotten; 0 where it starts again at `ends`."""
    ends: float


class Lane(Held):
    """What one chain may use without asking its counters. Closed until `LanedCounters.open_lane` fills it."""

    __slots__ = (
        "_owner",
        "beat",
        "busy",
        "calls",
        "cells",
        "counters",
        "filled_busy",
        "filled_calls",
        "is_barred",
        "kept",
        "least_tokens",
        "likely",
        "likely_most",
        "likely_room",
        "limits",
        "number",
        "own",
        "own_reset",
        "period",
        "price",
        "request_room",
        "seen",
        "since",
        "slot",
        "ticks",
        "token_room",
        "tokens",
        "until",
        "used",
        "windows",
        "with_money",
    )

    def __init__(
        self, owner: "LanedCounters", counters: tuple[Counter, ...], slot: int, limits: KeyLimits, own: OwnCell | None
    ) -> None:
        self._owner = owner
        self.counters = counters
        self.slot = slot
        self.limits = limits
        self.own = own
        """The key's cell."""
        self.cells: tuple[OwnCell, ...] = ()
        """Those of the counters."""
        self.with_money = limits.budget is not None or any(each.measure == "money" for each in counters)
        self.least_tokens = 1 if limits.tpm is not None or any(c.asks == ASKS_LIKELY_TOKENS for c in counters) else 0
        """A call that asks for none is counted as one by some limits, so it is not for a lane."""
        self.beat = self.seen = 0
        """How many calls were counted by themselves since a beat."""
        self.is_barred = False
        self.since = self.until = 0.0
        """When it may be used; it is closed where `until` is 0."""
        self.period = 0
        self.windows: tuple[int, ...] = ()
        """What calls under way are counted in: of each counter, and of the key. The same object as long as all are."""
        self.ticks: tuple[int, ...] = ()
        """The same of what calls are let in, where it is by ticks; of the key, its tick."""
        self.kept: _Kept = ((), (), (), _amounts_of(()))
        """What the journal keeps of a call: names of slots, measures, windows, and how amounts come to each."""
        self.calls = self.busy = self.money = self.tokens = self.likely = 0
        self.likely_most = _UNLIMITED
        self.filled_calls = self.filled_busy = 0
        self.number = self.price = self.used = 0
        """The journal's last record, what the calls that were settled were priced, and the tokens they used."""
        self.request_room: _Nearest | None = None
        self.likely_room: _Nearest | None = None
        self.token_room: _Nearest | None = None
        self.own_reset = KEY_FORGOTTEN_SECONDS if limits.rpm is not None or limits.tpm is not None else 0.0

    def take(self, now: float, period: int, money: Micros, tokens: int, likely: int) -> bool:
        """Let a call in; False where its counters have to be asked."""
        if now >= self.until or period != self.period or likely < self.least_tokens:
            return False
        calls, busy = self.calls - 1, self.busy - 1
        money, tokens, likely = self.money - money, self.tokens - tokens, self.likely - likely
        if min(calls, busy, money, tokens, likely) < 0:
            return False
        self.calls, self.busy, self.money, self.tokens, self.likely = calls, busy, money, tokens, likely
        return True

    def settle(
        self,
        windows: tuple[int, ...],
        now: float,
        number: int,
        money: Micros,
        tokens: int,
        likely: int,
        price: Micros,
        used: int,
    ) -> bool:
        """Count what a call came to that was let in for these `windows`; False where its counters have to be told.

        It took so much money, `tokens` and `likely` tokens, and came to a `price` and the tokens it `used`.
        """
        if windows is not self.windows or now >= self.until:
            return False
        self.number = number
        self.busy += 1
        self.price += price
        self.used += used
        self.money += money - price
        self.tokens += tokens - used
        # As in the window of a key, which may have forgotten by now what the call took.
        likely += self.likely - used
        self.likely = min(likely, self.likely_most)
        return True

    def settled(self) -> int:
        """How many calls were settled: those that were let in, and are not under way."""
        return self.filled_calls - self.calls + self.busy - self.filled_busy

    def takes(self, windows: tuple[int, ...], amounts: Amounts) -> list[Take]:
        """What a call holds of the counters that was let in for these windows, or in these ticks."""
        held = zip(self.counters, windows, strict=False)
        return [Take(counter, amounts[counter.asks], window) for counter, window in held]

    def holds(self, money: Micros, tokens: int, likely: int) -> tuple[Hold, ...]:
        """What the journal keeps of them."""
        names, measures, windows, amounts_of = self.kept
        return tuple(map(Hold, names, measures, windows, amounts_of((1, money, tokens, likely))))

    def headroom(self, now: float) -> Headroom:
        """What is left of requests and tokens where least is left, as `LimitCounters.reserve_many` tells it."""
        reset = token_reset = self.own_reset
        requests = tokens = request_limit = token_limit = None
        nearest = self.request_room
        if nearest is not None:
            base, request_limit, fixed, ends = nearest
            requests = base + self.calls
            reset = fixed or ends - now
        nearest, left = self.likely_room, self.likely
        if (other := self.token_room) is not None and (
            nearest is None or other.base + self.tokens < nearest.base + left
        ):
            nearest, left = other, self.tokens
        if nearest is not None:
            base, token_limit, fixed, ends = nearest
            tokens = base + left
            token_reset = fixed or ends - now
        return Headroom(requests, tokens, reset, request_limit, token_limit, token_reset)

    def close(self) -> None:
        """Count what was used of it and give the rest back."""
        self._owner.close_lane(self)

    def recall(self) -> None:
        """The same, since somebody else asks for it."""
        self._owner.close_lane(self)
        self.is_barred = True


class _Slack:
    """What may be in a lane, while one looks through all that limits it."""

    def __init__(self, amounts: Amounts) -> None:
        self._amounts = amounts
        self._rooms = [_UNLIMITED] * len(amounts)
        self.under_way = _MOST_UNDER_WAY
        self.until = NEVER

    def bound(self, asks: int, room: int) -> None:
        """Of one thing that calls ask for, there is no more room than this."""
        self._rooms[asks] = min(self._rooms[asks], room)

    def end(self, moment: float) -> None:
        """What was seen holds until then at most."""
        self.until = min(self.until, moment)

    def fill(self) -> Amounts | None:
        """How much to take of each; None where it is too little to be worth while."""
        needs = [max(1, amount) for amount in self._amounts]
        if self.under_way < 1 or any(room < _LEAST_CALLS * need for room, need in zip(self._rooms, needs, strict=True)):
            return None
        one, money, tokens, likely = (
            room if room == _UNLIMITED else min(room, _MOST_CALLS * need)
            for room, need in zip(self._rooms, needs, strict=True)
        )
        return one, money, tokens, likely


class LanedCounters(LimitCounters):
    """Counters that lend lanes, where no other worker counts in the same file."""

    def __init__(self, path: Path, worker: int, workers: int, capacity: int, latecomers: int = 0) -> None:
        super().__init__(path, worker, workers, capacity, latecomers)
        self._lanes: dict[tuple[int | Counter, ...], Lane] = {}
        self._open: set[Lane] = set()
        self._beat = 0

    def lane_of(self, counters: tuple[Counter, ...], slot: int, limits: KeyLimits) -> Lane:
        """The lane of a chain: its counters, whose slots are open, and its key's slot (-1: it has none)."""
        known = self._lanes.get((slot, *counters))
        if known is not None and known.limits is limits:
            return known
        if len(self._lanes) >= _MOST_LANES:
            self._lanes.clear()
        own = None if slot < 0 else self._own_cell(slot)
        made = self._lanes[slot, *counters] = Lane(self, counters, slot, limits, own)
        return made

    # Opening

    def open_lane(self, lane: Lane, amounts: Amounts, now: float, period: int) -> bool:
        """A call of this chain was counted by itself just now: fill its lane for more like it, if there are many and
        there is room for them. That call then is the lane's too.
        """
        if lane.beat != self._beat:
            lane.beat, lane.seen, lane.is_barred = self._beat, 0, False
        lane.seen += 1
        if lane.seen < _BUSY_CALLS or lane.is_barred or lane.until or not self._late:
            return False
        if amounts[ASKS_LIKELY_TOKENS] < lane.least_tokens:
            return False
        takes = [Take(counter, 0) for counter in lane.counters]
        self._survey(takes, now)
        lane.cells = tuple([counter.own or self._own_cell(counter.slot) for counter in lane.counters])
        filled = self._slack(lane, takes, amounts, now, period)
        if filled is None:
            lane.is_barred = True
            return False
        self._fill_lane(lane, takes, filled, period)
        self._open.add(lane)
        lane.since, lane.period = now, period
        self._look_at_room(lane, takes, now)
        return True

    def _slack(self, lane: Lane, takes: list[Take], amounts: Amounts, now: float, period: int) -> Amounts | None:
        """How much may be in a lane, whose `until` and `busy` are set; None where it should stay closed."""
        slack = _Slack(amounts)
        for take, own in zip(takes, lane.cells, strict=True):
            if own.held is not None or not self._bound_by_limit(slack, take, own, now):
                return None
        if lane.own is not None and not self._bound_by_key(slack, lane, lane.own, period):
            return None
        filled = slack.fill()
        if filled is not None:
            lane.until, lane.busy = slack.until, slack.under_way
        return filled

    def _bound_by_limit(self, slack: _Slack, take: Take, own: OwnCell, now: float) -> bool:
        counter, numbers = take.counter, self._numbers
        at = counter.at
        if numbers[at + EXTRA] and now * MICROS < numbers[at + EXTRA_UNTIL]:
            slack.end(numbers[at + EXTRA_UNTIL] / MICROS)
        if counter.measure == "concurrency":
            if counter.limit.hard:
                slack.under_way = min(slack.under_way, take.left // 2)
            return own.incarnation == self._incarnation
        slack.bound(counter.asks, take.left // _SHARE if counter.limit.hard else _UNLIMITED - 1)
        if counter.asks == ASKS_LIKELY_TOKENS:
            # Of a call that is larger than what there may be in a minute, no more than that is taken.
            slack.bound(counter.asks, take.allowed)
        if counter.marks:
            # Calls under way may have passed a threshold of which only their settlement tells.
            passed = bisect_right(
                counter.marks, numbers[at + LIMIT_SUM] if counter.tick_seconds else self._settled(take)
            )
            if passed < len(counter.marks):
                slack.bound(counter.asks, counter.marks[passed] - (take.allowed - take.left) - 1)
        if counter.tick_seconds:
            slack.end((take.window + 1) * counter.tick_seconds)
            return counter.tick_seconds <= _LONGEST_TICK
        slack.end(counter.ends)
        return own.period == take.window and own.incarnation == self._incarnation

    def _bound_by_key(self, slack: _Slack, lane: Lane, own: OwnCell, period: int) -> bool:
        numbers, limits = self._numbers, lane.limits
        at = self._slot_at(lane.slot) // NUMBER_BYTES + KEY_WINDOW
        if limits.rpm is not None or limits.tpm is not None:
            slack.end((numbers[at + KEY_TICK] + 1) * KEY_TICK_SECONDS)
            slack.bound(ASKS_ONE, _UNLIMITED - 1)
        if limits.rpm is not None:
            slack.bound(ASKS_ONE, (limits.rpm - numbers[at + KEY_REQUEST_SUM]) // _SHARE)
        if limits.tpm is not None:
            slack.bound(ASKS_LIKELY_TOKENS, (limits.tpm - numbers[at + KEY_TOKEN_SUM]) // _SHARE)
        if limits.concurrency is not None:
            slack.under_way = min(slack.under_way, (limits.concurrency - own.in_flight) // 2)
        if limits.budget is not None:
            slack.bound(ASKS_MONEY, self.headroom(lane.slot, limits, period) // _SHARE)
        return own.held is None and own.period == period and own.incarnation == self._incarnation

    def _fill_lane(self, lane: Lane, takes: list[Take], filled: Amounts, period: int) -> None:
        """Take it all, of every slot of the chain."""
        lane.calls, lane.money, lane.tokens, lane.likely = filled
        lane.filled_calls, lane.filled_busy = lane.calls, lane.busy
        for take, own in zip(takes, lane.cells, strict=True):
            counter = take.counter
            own.held = lane
            if counter.tick_seconds:
                self._add_to_ring(counter.at, take.window, filled[counter.asks])
                continue
            own.in_flight += lane.busy
            if counter.measure != "concurrency":
                own.reserved += filled[counter.asks]
        tick = 0
        if lane.own is not None:
            lane.own.held = lane
            lane.own.in_flight += lane.busy
            lane.own.reserved += lane.money
            at = self._slot_at(lane.slot) // NUMBER_BYTES + KEY_WINDOW
            tick = self._numbers[at + KEY_TICK]
            self._add_to_key(lane, tick, lane.calls, lane.likely)
            lane.likely_most = _UNLIMITED if lane.limits.tpm is None else self._numbers[at + KEY_TOKEN_SUM]
        lane.ticks = (*[take.window for take in takes], tick)
        windows = (*[0 if _is_of_calls(take.counter) else take.window for take in takes], period)
        if windows != lane.windows:
            lane.windows = windows
            kept = [(c, window) for c, window in zip(lane.counters, windows, strict=False) if c.kept]
            lane.kept = (
                tuple([counter.name for counter, _ in kept]),
                tuple([counter.measure for counter, _ in kept]),
                tuple([window for _, window in kept]),
                _amounts_of(tuple([counter.asks for counter, _ in kept])),
            )

    def _add_to_ring(self, at: int, tick: int, amount: int) -> None:
        """Add to what was used in a tick, unless that is forgotten; what is taken off was there."""
        numbers = self._numbers
        if tick > numbers[at + LIMIT_TICK] - TICKS:
            place = at + LIMIT_RING + tick % TICKS
            amount = max(amount, -numbers[place])
            numbers[place] += amount
            numbers[at + LIMIT_SUM] += amount

    def _add_to_key(self, lane: Lane, tick: int, requests: int, tokens: int) -> None:
        """The same in the window of the chain's key."""
        numbers, limits = self._numbers, lane.limits
        at = self._slot_at(lane.slot) // NUMBER_BYTES + KEY_WINDOW
        if limits.rpm is limits.tpm is None or tick <= numbers[at + KEY_TICK] - TICKS:
            return
        place = at + tick % TICKS
        numbers[place + KEY_REQUESTS] += requests
        numbers[at + KEY_REQUEST_SUM] += requests
        if limits.tpm is not None:
            tokens = max(tokens, -numbers[at + KEY_TOKEN_SUM])
            numbers[place + KEY_TOKENS] += tokens
            numbers[at + KEY_TOKEN_SUM] += tokens

    def _look_at_room(self, lane: Lane, takes: list[Take], now: float) -> None:
        """Note what is left beside a lane that was filled from these."""
        numbers, limits = self._numbers, lane.limits
        at = 0 if lane.own is None else self._slot_at(lane.slot) // NUMBER_BYTES + KEY_WINDOW
        nearest: list[_Nearest | None] = [None] * 4
        if limits.rpm is not None:
            left = limits.rpm - numbers[at + KEY_REQUEST_SUM]
            nearest[ASKS_ONE] = _Nearest(left, None, KEY_FORGOTTEN_SECONDS, 0.0)
        if limits.tpm is not None:
            left = limits.tpm - numbers[at + KEY_TOKEN_SUM]
            nearest[ASKS_LIKELY_TOKENS] = _Nearest(left, None, KEY_FORGOTTEN_SECONDS, 0.0)
        for take in takes:
            counter = take.counter
            known, left = nearest[counter.asks], take.left - _in_lane(lane, counter)
            if counter.shown and (known is None or left < known.base):
                fixed = counter.tick_seconds * LIMIT_TICKS_PER_WINDOW
                ends = 0.0 if fixed else self.ends(counter, now)
                nearest[counter.asks] = _Nearest(left, take.allowed, fixed, ends)
        lane.request_room, lane.token_room = nearest[ASKS_ONE], nearest[ASKS_TOKENS]
        likely = lane.likely_room = nearest[ASKS_LIKELY_TOKENS]
        if (
            likely is not None
            and lane.token_room is not None
            and lane.token_room.base >= (likely.limit or limits.tpm or 0)
        ):
            # As long as the lane is open, there is never less of it.
            lane.token_room = None

    # Closing

    def close_lane(self, lane: Lane) -> None:
        """Count what was used of a lane, and give the rest back."""
        if not lane.until:
            return
        lane.until = 0.0
        self._open.discard(lane)
        left = lane.calls, lane.money, lane.tokens, lane.likely
        came_to = lane.settled(), lane.price, lane.used, 0
        for counter, own, window in zip(lane.counters, lane.cells, lane.ticks, strict=False):
            own.held = None
            if counter.tick_seconds:
                self._add_to_ring(counter.at, window, -left[counter.asks])
            elif counter.measure == "concurrency":
                self._count(lane, own, own.period, 0, 0)
            else:
                self._count(lane, own, window, left[counter.asks], came_to[counter.asks])
        if lane.own is not None:
            lane.own.held = None
            self._count(lane, lane.own, lane.period, lane.money, lane.price)
            self._add_to_key(lane, lane.ticks[-1], -lane.calls, -lane.likely)
        for counter, window in zip(lane.counters, lane.ticks, strict=False):
            if counter.marks:
                self._tell_marks(Take(counter, 0, window), lane.since)
        lane.number = lane.price = lane.used = 0

    def _count(self, lane: Lane, own: OwnCell, window: int, left: int, came_to: int) -> None:
        own.in_flight -= lane.busy
        if own.period == window:
            own.spent += came_to
            own.reserved -= left + came_to
        if lane.number:
            own.applied = max(own.applied, lane.number)
            self._unwritten.add(own)

    def count_held(self) -> None:
        """Count what is in use of slots and was not counted yet: all lanes are closed."""
        for lane in tuple(self._open):
            self.close_lane(lane)

    def write_cells(self) -> None:
        """As `LimitCounters.write_cells`; who was busy until now is so still."""
        self._beat += 1
        for lane in self._open:
            lane.beat, lane.seen, lane.is_barred = (
                self._beat,
                _BUSY_CALLS if lane.calls < lane.filled_calls else 0,
                False,
            )
        super().write_cells()

    # Everybody else

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
        """As `LimitCounters.reserve_many`, of slots that no lane uses."""
        if self._open:
            for take in takes:
                self._recall(take.counter)
        return super().reserve_many(takes, now, slot, limits, period, amount, tokens)

    def hold_many(
        self,
        takes: Sequence[Take],
        now: float,
        slot: int = -1,
        limits: KeyLimits = NO_KEY,
        period: int = 0,
        amount: int = 0,
    ) -> list[DepositPart] | Refusal | Over:
        """As `LimitCounters.hold_many`, of slots that no lane uses."""
        for take in takes:
            self._recall(take.counter)
        return super().hold_many(takes, now, slot, limits, period, amount)

    def write_held(self, held: Iterable[DepositPart]) -> None:
        """As `LimitCounters.write_held`, of cells that no lane uses."""
        parts = tuple(held)
        for each in parts:
            if each.own.held is not None:
                each.own.held.close()
        super().write_held(parts)

    def settle_many(self, takes: Sequence[Take], number: int, tokens: int, price: int, now: float) -> None:
        """As `LimitCounters.settle_many`, of slots that no lane uses."""
        if self._open:
            for take in takes:
                own = take.counter.own
                if own is not None and own.held is not None:
                    own.held.close()
        super().settle_many(takes, number, tokens, price, now)

    def left(self, counter: Counter, now: float) -> int:
        """How much of a counter is left, with what is in a lane."""
        own = counter.own or self._own_cell(counter.slot)
        if isinstance(own.held, Lane) and now >= own.held.until:
            own.held.close()
        left = super().left(counter, now)
        return left + _in_lane(own.held, counter) if isinstance(own.held, Lane) else left

    def use(self, counter: Counter, now: float) -> LimitUse:
        """How much of a counter is used now, with what calls under way hold."""
        self._recall(counter)
        return super().use(counter, now)

    def apply(self, counter: Counter, state: LimitState) -> None:
        """Count what was done to a limit."""
        self._recall(counter)
        super().apply(counter, state)

    def shift(self, counter: Counter, amount: int, now: float) -> bool:
        """Take an amount away from what may be used in this window, if it is there."""
        self._recall(counter)
        return super().shift(counter, amount, now)

    def wait_for(self, counter: Counter, amount: int, now: float) -> float:
        """Seconds until there is room for so much; 0: there is."""
        self._recall(counter)
        return super().wait_for(counter, amount, now)

    def _recall(self, counter: Counter) -> None:
        own = counter.own or self._own_cell(counter.slot)
        if own.held is not None:
            own.held.recall()

    def _tell_marks(self, take: Take, now: float) -> None:
        # What a ring holds is more than what was used as long as a lane is open; at its end all is told.
        own = take.counter.own
        if own is None or own.held is None:
            super()._tell_marks(take, now)


def _is_of_calls(counter: Counter) -> bool:
    """Whether it matters only to who lets a call in what its tick is: what a call came to is one call."""
    return counter.tick_seconds > 0 and counter.asks == ASKS_ONE


def _in_lane(lane: Lane, counter: Counter) -> int:
    if counter.measure == "concurrency":
        return lane.busy
    return (lane.calls, lane.money, lane.tokens, lane.likely)[counter.asks]
