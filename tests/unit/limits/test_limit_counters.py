"""Limits as those who set them rely on them: exact across workers and windows, all taken or none."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyforge.kernel.errors import Unavailable
from polyforge.tenancy.callers import KeyLimits
from polyforge.tenancy.ledger.counters import Headroom, Refusal
from polyforge.tenancy.limits.counters import Counter, LimitCounters, Notice, Over, Start, Take, counter_of
from polyforge.tenancy.limits.records import ANY, Limit, LimitState
from polyforge.tenancy.limits.windows import NEVER, WindowClock, rolling_seconds
from tests.unit.limits.limit_samples import NOW, PROJECT, begun, limit, opened

DAY = 86_400.0
MIDNIGHT = 1_700_006_400.0
"""The end of the day that holds NOW."""


def take(counters: LimitCounters, counter: Counter, amount: int = 1, now: float = NOW) -> Take | Over:
    asked = Take(counter, amount)
    outcome = counters.reserve_many([asked], now)
    assert not isinstance(outcome, Refusal)
    return outcome if isinstance(outcome, Over) else asked


def taken(counters: LimitCounters, counter: Counter, amount: int = 1, now: float = NOW) -> Take:
    found = take(counters, counter, amount, now)
    assert isinstance(found, Take)
    return found


def refused(counters: LimitCounters, counter: Counter, amount: int = 1, now: float = NOW) -> Over:
    found = take(counters, counter, amount, now)
    assert isinstance(found, Over)
    return found


def test_it_is_shared_by_the_workers(pair: tuple[LimitCounters, LimitCounters]) -> None:
    first, second = pair
    mine, theirs = begun(first, limit(amount=3), 1), begun(second, limit(amount=3), 99)
    held = taken(first, mine)
    taken(second, theirs)
    assert refused(second, theirs).counter is theirs
    assert refused(first, mine).retry_after == MIDNIGHT - NOW
    first.release_many([held], NOW)
    assert second.use(theirs, NOW).used == 2
    taken(second, theirs)


def test_it_starts_again_with_its_window(counters: LimitCounters) -> None:
    counter = begun(counters, limit(amount=2), 1)
    late = taken(counters, counter)
    refused(counters, counter)
    taken(counters, counter, now=MIDNIGHT)
    counters.settle_many([late], 1, 0, 0, MIDNIGHT)
    assert counters.use(counter, MIDNIGHT).used == 1


def test_a_clock_that_is_set_back_begins_no_earlier_window(counters: LimitCounters) -> None:
    counter = begun(counters, limit(amount=1, window="hour"))
    taken(counters, counter, now=NOW + 3600)
    refused(counters, counter, now=NOW)
    refused(counters, counter, now=NOW + 3600)


def test_money_is_replaced_by_the_price(counters: LimitCounters) -> None:
    counter = begun(counters, limit(measure="money", amount=100, window="total"))
    held = taken(counters, counter, 70)
    assert refused(counters, counter, 31).retry_after == NEVER
    counters.settle_many([held], 1, 500, 40, NOW)
    assert counters.use(counter, NOW).used == 40
    taken(counters, counter, 60)


def test_calls_under_way(counters: LimitCounters) -> None:
    counter = begun(counters, limit(measure="concurrency", amount=2, window=""))
    held = [taken(counters, counter), taken(counters, counter)]
    assert refused(counters, counter).retry_after == 1.0
    counters.settle_many(held[:1], 1, 10, 10, NOW)
    taken(counters, counter)


@pytest.mark.parametrize(("window", "seconds"), [("minute", 60), ("rolling:600", 600), ("rolling:2592000", 2_592_000)])
def test_a_window_that_rolls_holds_wherever_it_begins(counters: LimitCounters, window: str, seconds: int) -> None:
    now = float(seconds * 1_000)
    counter = begun(counters, limit(amount=2, window=window), now=now)
    taken(counters, counter, now=now)
    taken(counters, counter, now=now + seconds / 2)
    wait = refused(counters, counter, now=now + seconds * 0.99).retry_after
    assert 0 < wait <= seconds * (13 / 12 - 0.99) + 0.001
    again = now + seconds * 0.99 + wait
    taken(counters, counter, now=again)
    refused(counters, counter, now=again)


def test_what_a_call_did_not_use_of_a_rolling_window_is_forgotten_with_it(counters: LimitCounters) -> None:
    counter = begun(counters, limit(measure="money", amount=100, window="minute"))
    held = taken(counters, counter, 100)
    counters.settle_many([held], 1, 0, 10, NOW + 50)
    taken(counters, counter, 90, NOW + 50)
    assert counters.use(counter, NOW + 66).used == 90
    refused(counters, counter, 11, NOW + 66)


def test_one_call_may_be_larger_than_the_tokens_of_a_minute(counters: LimitCounters) -> None:
    counter = begun(counters, limit(measure="tokens", amount=100, window="minute"))
    held = taken(counters, counter, 500)
    assert held.amount == 100
    refused(counters, counter)
    refused(counters, begun(counters, limit(measure="tokens", amount=100)), 500)


def test_all_are_taken_or_none(counters: LimitCounters) -> None:
    outer, inner = begun(counters, limit(id="A" * 26)), begun(counters, limit(id="B" * 26, amount=1))
    slot = counters.create("tkey", 0, 0)
    limits = KeyLimits(budget=100)

    def ask(amount: int) -> Headroom | Refusal | Over:
        return counters.reserve_many([Take(outer, 1), Take(inner, 1)], NOW, slot, limits, 0, amount)

    assert ask(101) == Refusal("budget")
    assert counters.use(outer, NOW).used == counters.use(inner, NOW).used == 0
    assert isinstance(ask(60), Headroom)
    over = ask(40)
    assert isinstance(over, Over)
    assert over.counter is inner
    assert counters.use(outer, NOW).used == 1
    assert counters.headroom(slot, limits, 0) == 40


def test_the_limit_that_blocks_longest_is_told(counters: LimitCounters) -> None:
    minute, day = begun(counters, limit(id="A" * 26, amount=0, window="minute")), begun(counters, limit(amount=0))
    over = counters.reserve_many([Take(minute, 1), Take(day, 1)], NOW)
    assert isinstance(over, Over)
    assert over.counter is day


def test_headers_tell_of_the_tightest(counters: LimitCounters) -> None:
    wide, tight = begun(counters, limit(id="A" * 26, amount=100)), begun(counters, limit(amount=5, window="hour"))
    tokens = begun(counters, limit(id="C" * 26, measure="tokens", amount=1_000, window="minute"))
    soft = begun(counters, limit(id="D" * 26, amount=1, hard=False))
    takes = [Take(wide, 1), Take(tight, 1), Take(tokens, 300), Take(soft, 1)]
    room = counters.reserve_many(takes, NOW, counters.create("tkey", 0, 0), KeyLimits(rpm=50), 0, 0, 0)
    assert isinstance(room, Headroom)
    assert (room.requests, room.request_limit, room.reset) == (4, 5, 2760.0)
    assert (room.tokens, room.token_limit, room.token_reset) == (700, 1_000, 60.0)
    own = counters.reserve_many([Take(wide, 1)], NOW, counters.create("tkey", 0, 0), KeyLimits(rpm=50), 0, 0, 0)
    assert isinstance(own, Headroom)
    assert (own.requests, own.request_limit, own.reset) == (48, None, 65.0)


def test_a_soft_limit_only_tells(counters: LimitCounters) -> None:
    told: list[Notice] = []
    counters.notice = told.append
    counter = begun(counters, limit(amount=2, thresholds=(0.5, 1.0), hard=False))
    for number in range(4):
        counters.settle_many([taken(counters, counter)], number + 1, 0, 0, NOW)
    assert [(notice.share, notice.used) for notice in told] == [(0.5, 1), (1.0, 2)]


def test_thresholds_are_told_once_in_a_window_whoever_crosses_them(pair: tuple[LimitCounters, LimitCounters]) -> None:
    told: list[tuple[str, float | None, int]] = []
    for name, counters in zip("ab", pair, strict=True):
        counters.notice = lambda notice, name=name: told.append((name, notice.share, notice.used))
    rule = limit(measure="money", amount=100, thresholds=(0.5, 0.8))
    first, second = (begun(counters, rule, 10) for counters in pair)
    held = taken(pair[0], first, 70)
    pair[0].settle_many([held], 1, 0, 30, NOW)
    assert told == []
    pair[1].settle_many([taken(pair[1], second, 10)], 1, 0, 10, NOW)
    pair[0].settle_many([taken(pair[0], first, 1)], 2, 0, 1, NOW)
    assert told == [("b", 0.5, 50)]
    pair[0].settle_many([taken(pair[0], first, 49)], 3, 0, 49, NOW)
    assert told[1:] == [("a", 0.8, 100)]
    refused(pair[1], second)
    refused(pair[0], first)
    assert told[2:] == [("b", None, 100)]
    pair[1].settle_many([taken(pair[1], second, 60, MIDNIGHT)], 2, 0, 60, MIDNIGHT)
    assert told[3:] == [("b", 0.5, 60)]


def test_what_was_passed_before_the_start_is_not_told_again(counters: LimitCounters) -> None:
    told: list[Notice] = []
    counters.notice = told.append
    counter = begun(counters, limit(amount=10, thresholds=(0.5, 0.8)), 6)
    for number in range(2):
        counters.settle_many([taken(counters, counter)], number + 1, 0, 0, NOW)
    assert [notice.share for notice in told] == [0.8]


def test_a_reset_reaches_all_workers_at_once_and_once(pair: tuple[LimitCounters, LimitCounters]) -> None:
    first, second = pair
    mine, theirs = begun(first, limit(amount=2)), begun(second, limit(amount=2))
    late = taken(first, mine)
    taken(second, theirs)
    state = LimitState(mine.limit.id, PROJECT, 1, reset_at=NOW + 1)
    first.apply(mine, state)
    taken(second, theirs, now=NOW + 1)
    first.settle_many([late], 1, 0, 0, NOW + 1)
    taken(first, mine, now=NOW + 1)
    second.apply(theirs, state)
    assert second.use(theirs, NOW + 1).used == 2
    refused(first, mine, now=NOW + 1)


def test_a_rolling_window_is_reset(counters: LimitCounters) -> None:
    counter = begun(counters, limit(amount=1, window="minute"))
    taken(counters, counter)
    counters.apply(counter, LimitState(counter.limit.id, PROJECT, 1, reset_at=NOW + 1))
    taken(counters, counter, now=NOW + 1)
    refused(counters, counter, now=NOW + 1)


def test_what_is_added_is_for_this_window_only(counters: LimitCounters) -> None:
    counter = begun(counters, limit(amount=1))
    counters.apply(counter, LimitState(counter.limit.id, PROJECT, 1, extra=2, extra_until=MIDNIGHT))
    for _ in range(3):
        taken(counters, counter)
    refused(counters, counter)
    taken(counters, counter, now=MIDNIGHT)
    refused(counters, counter, now=MIDNIGHT)
    counters.apply(counter, LimitState(counter.limit.id, PROJECT, 0, extra=9, extra_until=NEVER))
    refused(counters, counter, now=MIDNIGHT)


def test_only_what_is_left_can_be_shifted(counters: LimitCounters) -> None:
    counter = begun(counters, limit(measure="money", amount=100))
    taken(counters, counter, 60)
    assert not counters.shift(counter, 41, NOW)
    assert counters.shift(counter, 30, NOW)
    assert counters.use(counter, NOW).allowed == 70
    refused(counters, counter, 11)
    assert counters.shift(counter, -30, NOW)
    taken(counters, counter, 40)


def test_what_is_given_back_is_never_refused(counters: LimitCounters) -> None:
    counter = begun(counters, limit(hard=False))
    assert counters.shift(counter, 4, NOW)
    taken(counters, counter, 50)
    assert counters.shift(counter, -4, NOW)
    assert counters.use(counter, NOW).allowed == 10


def test_a_ring_is_turned_under_its_lock_only(
    pair: tuple[LimitCounters, LimitCounters], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = pair
    locked: set[int] = set()
    turned: list[bool] = []
    monkeypatch.setattr(first, "_lock_one", locked.add)
    monkeypatch.setattr(first, "_unlock_one", locked.discard)
    roll = first._roll

    def noted(counter: Counter, now: float) -> None:
        turned.append(counter.slot in locked)
        roll(counter, now)

    monkeypatch.setattr(first, "_roll", noted)
    counter = begun(first, limit(window="rolling:600"))
    asked = taken(first, counter, 1, NOW + 100)
    first.settle_many([asked], 1, 5, 5, NOW + 200)
    first.left(counter, NOW + 300)
    first.wait_for(counter, 1, NOW + 400)
    first.use(counter, NOW + 500)
    first.shift(counter, 1, NOW + 600)
    assert len(turned) >= 6
    assert all(turned)


def test_a_slot_is_found_once_it_is_filled(pair: tuple[LimitCounters, LimitCounters]) -> None:
    first, second = pair
    counter, other = counter_of(limit(), PROJECT), counter_of(limit(), PROJECT)
    assert not second.attach(other)
    first.create(counter.name, int(NOW * 1_000_000), 4)
    assert not second.attach(other)
    state = LimitState(counter.limit.id, PROJECT, 3, reset_at=NOW)
    first.begin(counter, Start(int(NOW * 1_000_000), 4, state=state), NOW)
    assert second.attach(other)
    assert second.use(other, NOW).used == 4


def test_the_ledger_fills_a_rolling_window(counters: LimitCounters) -> None:
    counter = counter_of(limit(window="minute"), PROJECT)
    tick = int(NOW // 5)
    counters.begin(counter, Start(0, ticks={tick - 12: 1, tick - 1: 2, tick - 13: 99}), NOW)
    assert counters.use(counter, NOW).used == 3
    assert counters.use(counter, NOW + 5).used == 2
    assert counters.use(counter, NOW + 60).used == 0


# --- against a simple model ---

RULES = (
    limit(id="A" * 26, amount=6, window="hour"),
    limit(id="B" * 26, measure="money", amount=100, window="day"),
    limit(id="C" * 26, measure="tokens", amount=80, window="rolling:120"),
    limit(id="D" * 26, measure="concurrency", amount=3, window=""),
    limit(id="E" * 26, measure="money", amount=150, window="total"),
)


class Call:
    """A call of the model: what it holds of which rules, since when."""

    def __init__(self, held: dict[str, int], at: float, worker: int, takes: list[Take]) -> None:
        self.held = held
        self.at = at
        self.worker = worker
        self.takes = takes
        self.under_way = True


class Model:
    """Limits as one would write them down: every call is remembered for ever."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def used(self, rule: Limit, now: float) -> int:
        mine = [call for call in self.calls if rule.id in call.held]
        if rule.measure == "concurrency":
            return sum(call.under_way for call in mine)
        seconds = rolling_seconds(rule.window)
        if seconds:
            tick = seconds / 12
            return sum(call.held[rule.id] for call in mine if call.at // tick > now // tick - 13)
        start = WindowClock().start(rule.window, now)
        return sum(call.held[rule.id] for call in mine if WindowClock().start(rule.window, call.at) == start)


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("call"),
            st.integers(0, 1),
            st.sets(st.integers(0, len(RULES) - 1), min_size=1),
            st.integers(1, 60),
        ),
        st.tuples(st.just("settle"), st.integers(0, 30), st.integers(0, 100), st.just(0)),
        st.tuples(st.just("give back"), st.integers(0, 30), st.just(0), st.just(0)),
        st.tuples(st.just("wait"), st.integers(1, 3_000), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_they_agree_with_a_simple_model(steps: list[tuple[str, int, object, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        workers = [opened(Path(folder), number, 2) for number in range(2)]
        try:
            _follow(workers, steps)
        finally:
            for worker in workers:
                worker.close()


def _follow(workers: list[LimitCounters], steps: list[tuple[str, int, object, int]]) -> None:
    model, now, records = Model(), NOW, 0
    counters = [[begun(worker, rule, now=now) for rule in RULES] for worker in workers]
    for step, number, detail, amount in steps:
        if step == "call" and isinstance(detail, set):
            _call(model, workers, counters, number, sorted(detail), amount, now)
        elif step == "wait":
            now += number
        elif model.calls and (call := model.calls[number % len(model.calls)]).under_way:
            records += 1
            _end(workers[call.worker], call, step == "settle", int(str(detail)), records, now)
        for each, rules in zip(workers, counters, strict=True):
            assert [each.use(counter, now).used for counter in rules] == [model.used(rule, now) for rule in RULES]


def _call(
    model: Model,
    workers: list[LimitCounters],
    counters: list[list[Counter]],
    worker: int,
    chosen: list[int],
    amount: int,
    now: float,
) -> None:
    asked = {place: amount if RULES[place].measure in ("money", "tokens") else 1 for place in chosen}
    fits = all(model.used(RULES[place], now) + asked[place] <= RULES[place].amount for place in chosen)
    takes = [Take(counters[worker][place], asked[place]) for place in chosen]
    outcome = workers[worker].reserve_many(takes, now)
    assert isinstance(outcome, Headroom) == fits
    if fits:
        model.calls.append(Call({RULES[place].id: asked[place] for place in chosen}, now, worker, takes))


def _end(worker: LimitCounters, call: Call, settles: bool, share: int, number: int, now: float) -> None:
    call.under_way = False
    if not settles:
        worker.release_many(call.takes, now)
        call.held = dict.fromkeys(call.held, 0)
        return
    for rule in RULES:
        if rule.id in call.held and rule.measure in ("money", "tokens"):
            call.held[rule.id] = call.held[rule.id] * share // 100
    spent = {take.counter.measure: call.held[take.counter.limit.id] for take in call.takes}
    worker.settle_many(call.takes, number, spent.get("tokens", 0), spent.get("money", 0), now)


def test_names_that_callers_make_up_leave_room_for_others(tmp_path: Path) -> None:
    counters = opened(tmp_path)
    each = limit(subject="end_user", subject_id=ANY)
    for number in range(32):
        begun(counters, each, subject_id=f"made-up-{number}")
    with pytest.raises(Unavailable, match="max_limited_keys"):
        begun(counters, each, subject_id="one-more")
    begun(counters, each, subject_id="made-up-3")  # it is there already
    begun(counters, limit())
    counters.close()
