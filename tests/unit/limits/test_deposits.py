"""Money that is held for calls to come: nobody else uses it, those calls do, and no more than that is ever held."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyforge.tenancy.callers import KeyLimits
from polyforge.tenancy.ledger.counters import Headroom, Refusal
from polyforge.tenancy.ledger.recovery import recover
from polyforge.tenancy.limits.counters import Counter, LimitCounters, Notice, Take
from polyforge.tenancy.limits.deposits import Deposit, Drawn
from polyforge.tenancy.limits.leased import LeasedCounters
from tests.unit.limits.limit_samples import NOW, begun, limit, opened

DAY = 86_400.0
ROLLING = "rolling:3600"
KEY = "d0000000000000000000000000K"
PERIOD = 1_699_920_000


def held(counters: LimitCounters, amount: int, *rules: Counter, now: float = NOW) -> Deposit | None:
    """A deposit, or None where there was no room."""
    found = counters.hold_many([Take(rule, amount) for rule in rules], now)
    return Deposit(counters, amount, found) if isinstance(found, list) else None


def some(counters: LimitCounters, amount: int, *rules: Counter, now: float = NOW) -> Deposit:
    found = held(counters, amount, *rules, now=now)
    assert found is not None
    return found


class Called:
    """A call of whoever has a deposit, or of somebody else."""

    def __init__(
        self, counters: LimitCounters, amount: int, *rules: Counter, deposit: Deposit | None = None, now: float = NOW
    ) -> None:
        self._counters, self._deposit, self._now = counters, deposit, now
        self.takes = [Take(rule, amount) for rule in rules]
        self.drawn: Drawn = deposit.draw(amount, [rule.slot for rule in rules]) if deposit else ()
        self.begun = isinstance(counters.reserve_many(self.takes, now), Headroom)
        if deposit and not self.begun:
            deposit.put_back(self.drawn)
        elif deposit:
            deposit.write()

    def end(self, price: int) -> None:
        if self._deposit:
            self._deposit.settle(self.drawn, price, self.takes)
        self._counters.settle_many(self.takes, 1, 0, price, self._now)
        if self._deposit:
            self._deposit.write()


def used(counters: LimitCounters, rule: Counter, now: float = NOW) -> int:
    return counters.use(rule, now).used


def money(amount: int, window: str = "month", name: str = "L") -> dict[str, object]:
    return {"id": name * 26, "measure": "money", "amount": amount, "window": window}


@pytest.mark.parametrize("window", ["month", ROLLING])
def test_two_do_not_begin_on_a_budget_for_one(pair: tuple[LimitCounters, LimitCounters], window: str) -> None:
    first, second = pair
    mine, theirs = (begun(each, limit(**money(5, window))) for each in pair)
    deposit = some(first, 3, mine)
    assert held(second, 3, theirs) is None
    assert held(first, 3, mine) is None
    assert held(second, 2, theirs) is not None
    assert used(second, theirs) == 5
    deposit.release()
    assert used(second, theirs) == 2
    assert held(second, 3, theirs) is not None


def test_all_budgets_are_held_of_or_none(counters: LimitCounters) -> None:
    wide, narrow = begun(counters, limit(**money(10))), begun(counters, limit(**money(2, "day", "M")))
    assert held(counters, 3, wide, narrow) is None
    assert (used(counters, wide), used(counters, narrow)) == (0, 0)


def test_what_does_not_fit_does_not_make_a_limit_reached(counters: LimitCounters) -> None:
    told: list[Notice] = []
    counters.notice = told.append
    rule = begun(counters, limit(**money(5)))
    assert held(counters, 6, rule) is None
    assert told == []
    assert not Called(counters, 6, rule).begun
    assert [notice.share for notice in told] == [None]


def test_a_keys_budget_is_held_of_and_no_call_is_under_way_by_that(counters: LimitCounters) -> None:
    rule, limits = begun(counters, limit(**money(10))), KeyLimits(concurrency=1, budget=5, period="day")
    slot = counters.create(KEY, PERIOD, 0)
    budget = KeyLimits(budget=5, period="day")
    assert isinstance(counters.hold_many([Take(rule, 6)], NOW, slot, budget, PERIOD, 6), Refusal)
    assert used(counters, rule) == 0
    found = counters.hold_many([Take(rule, 3)], NOW, slot, budget, PERIOD, 3)
    assert isinstance(found, list)
    assert counters.headroom(slot, limits, PERIOD) == 2
    assert isinstance(counters.reserve(slot, limits, NOW, PERIOD, 2, 0), Headroom)
    Deposit(counters, 3, found).release()
    assert counters.headroom(slot, limits, PERIOD) == 3
    assert used(counters, rule) == 0


@pytest.mark.parametrize("window", ["month", ROLLING])
def test_who_holds_all_of_a_budget_can_call_and_nobody_else(
    pair: tuple[LimitCounters, LimitCounters], window: str
) -> None:
    first, second = pair
    mine, theirs = (begun(each, limit(**money(3, window))) for each in pair)
    deposit = some(first, 3, mine)
    assert not Called(second, 1, theirs).begun
    call = Called(first, 2, mine, deposit=deposit)
    assert call.begun
    assert used(second, theirs) == 3, "it is held once"
    call.end(1)
    assert used(second, theirs) == 3, "one is used, and two are what is left"
    assert not Called(second, 1, theirs).begun
    deposit.release()
    assert used(second, theirs) == 1


@pytest.mark.parametrize("window", ["month", ROLLING])
def test_a_call_that_may_cost_more_than_is_held_needs_room_for_the_rest(counters: LimitCounters, window: str) -> None:
    rule = begun(counters, limit(**money(10, window)))
    deposit = some(counters, 3, rule)
    other = some(counters, 4, rule)
    assert not Called(counters, 7, rule, deposit=deposit).begun
    assert used(counters, rule) == 7, "who was refused has put back what it took"
    call = Called(counters, 6, rule, deposit=deposit)
    assert call.begun
    assert used(counters, rule) == 10
    call.end(5)
    assert used(counters, rule) == 9, "it cost more than was held, of which nothing is left"
    deposit.release()
    other.release()
    assert used(counters, rule) == 5


def test_what_a_window_forgot_while_a_call_went_on_is_not_held_again(counters: LimitCounters) -> None:
    rule = begun(counters, limit(**money(10, "minute")))
    deposit = some(counters, 8, rule)
    long = Called(counters, 8, rule, deposit=deposit)
    later = NOW + 70
    other = Called(counters, 9, rule, now=later)
    assert other.begun, "what the long call took is forgotten"
    long.end(3)
    assert used(counters, rule, later) == 9, "of what others have meanwhile nothing is held"
    other.end(0)
    assert Called(counters, 6, rule, deposit=deposit, now=later).begun, "there is room, so nothing need be held"
    deposit.release()
    assert used(counters, rule, later) == 6


def test_calls_at_once_take_each_their_part(counters: LimitCounters) -> None:
    rule = begun(counters, limit(**money(10)))
    deposit = some(counters, 5, rule)
    calls = [Called(counters, 2, rule, deposit=deposit) for _ in range(4)]
    assert used(counters, rule) == 8, "the last two needed three more"
    for call in calls:
        call.end(1)
    assert used(counters, rule) == 5, "four are used, and one is left of five"
    deposit.keep_to(0)
    assert used(counters, rule) == 4


def test_what_is_released_while_calls_are_under_way_stays_theirs(counters: LimitCounters) -> None:
    rule = begun(counters, limit(**money(10)))
    deposit = some(counters, 5, rule)
    call = Called(counters, 2, rule, deposit=deposit)
    deposit.release()
    assert used(counters, rule) == 2
    call.end(1)
    assert used(counters, rule) == 1


def test_a_look_at_what_is_left_counts_what_one_holds_oneself(counters: LimitCounters) -> None:
    rule = begun(counters, limit(**money(10)))
    deposit = some(counters, 10, rule)
    assert counters.left(rule, NOW) == 0
    assert deposit.seen(lambda: counters.left(rule, NOW)) == 10
    assert counters.left(rule, NOW) == 0


def test_a_window_that_begins_anew_knows_nothing_of_it(counters: LimitCounters) -> None:
    rule, tomorrow = begun(counters, limit(**money(5, "day"))), NOW + DAY
    deposit = some(counters, 3, rule)
    call = Called(counters, 4, rule, deposit=deposit, now=tomorrow)
    assert call.begun
    assert used(counters, rule, tomorrow) == 4
    call.end(1)
    deposit.release()
    assert used(counters, rule, tomorrow) == 1


@pytest.mark.parametrize("window", ["month", ROLLING])
def test_what_a_killed_worker_held_is_free_once_it_is_back(tmp_path: Path, window: str) -> None:
    first, second = opened(tmp_path, 0, 2), opened(tmp_path, 1, 2)
    mine, theirs = begun(first, limit(**money(5, window))), begun(second, limit(**money(5, window)))
    some(first, 3, mine)
    file = tmp_path / "counters"
    left = file.read_bytes()
    first.close()
    file.write_bytes(left)
    assert used(second, theirs) == 3
    again = opened(tmp_path, 0, 2, incarnation=2)
    recover(again, tmp_path / "journal", "0" * 26, 0)
    assert used(second, theirs) == 0
    assert held(second, 5, theirs) is not None
    again.close()
    second.close()


@pytest.mark.parametrize("window", ["day", ROLLING])
def test_a_machine_holds_only_what_it_was_lent(tmp_path: Path, window: str) -> None:
    counters = LeasedCounters(tmp_path / "counters", 0, 1, 64)
    counters.open(1)
    counters.live()
    rule = begun(counters, limit(**money(10, window)))
    assert held(counters, 6, rule) is None
    (part,) = counters.short
    assert part.amount == 6
    claimed = counters.claim(part, NOW, keep=False)
    assert claimed is not None
    counters.lend(part, claimed[0], 6, 0, 4)
    deposit = some(counters, 6, rule)
    assert counters.used(part) == 6
    assert Called(counters, 5, rule, deposit=deposit).begun
    assert counters.used(part) == 6
    assert not Called(counters, 1, rule).begun
    claimed = counters.claim(part, NOW, keep=False)
    assert claimed is not None
    assert claimed[1] == 6, "what is held is not given back"
    counters.close()


AMOUNTS = st.integers(0, 6)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("hold"), st.integers(0, 2), AMOUNTS),
        st.tuples(st.just("call"), st.integers(0, 3), AMOUNTS),
        st.tuples(st.just("end"), st.integers(0, 9), AMOUNTS),
        st.tuples(st.just("keep"), st.integers(0, 2), AMOUNTS),
        st.tuples(st.just("release"), st.integers(0, 2), AMOUNTS),
    ),
    max_size=40,
)
MOST = 20


@settings(max_examples=200, deadline=None)
@given(STEPS, st.sampled_from(["month", ROLLING]))
def test_whatever_happens_no_more_is_held_than_ceilings_and_calls(
    steps: list[tuple[str, int, int]], window: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        story = _Story(Path(folder), window)
        for what, which, amount in steps:
            getattr(story, what)(which, amount)
            story.check()
        story.close()


class _Run:
    """Somebody with a ceiling."""

    def __init__(self) -> None:
        self.deposit: Deposit | None = None
        self.left = 0


class _Story:
    """Three with ceilings, and others, on one budget; another worker looks at it."""

    def __init__(self, folder: Path, window: str) -> None:
        self._counters, self._other = opened(folder, 0, 2), opened(folder, 1, 2)
        rule = limit(**money(MOST, window))
        self._rule, self._theirs = begun(self._counters, rule), begun(self._other, rule)
        self._runs = [_Run() for _ in range(3)]
        self._calls: list[tuple[Called, int, _Run | None]] = []
        self._spent = 0

    def hold(self, which: int, amount: int) -> None:
        run = self._runs[which]
        if run.deposit is None:
            run.deposit = held(self._counters, amount, self._rule)
            run.left = 0 if run.deposit is None else amount

    def call(self, which: int, amount: int) -> None:
        run = self._runs[which] if which < len(self._runs) and self._runs[which].deposit else None
        call = Called(self._counters, amount, self._rule, deposit=run.deposit if run else None)
        if call.begun:
            self._calls.append((call, amount, run))

    def end(self, which: int, amount: int) -> None:
        if which < len(self._calls):
            call, reserved, run = self._calls.pop(which)
            price = min(amount, reserved)
            call.end(price)
            self._spent += price
            if run is not None:
                run.left = max(0, run.left - price)

    def keep(self, which: int, amount: int) -> None:
        run = self._runs[which]
        if run.deposit is not None:
            run.deposit.keep_to(amount)
            run.left = min(run.left, amount)

    def release(self, which: int, _amount: int) -> None:
        run = self._runs[which]
        if run.deposit is not None:
            run.deposit.release()
            run.left = 0
            self._runs[which] = _Run()

    def check(self) -> None:
        under_way = sum(reserved for _, reserved, _ in self._calls)
        seen = used(self._other, self._theirs)
        assert seen == used(self._counters, self._rule)
        assert seen <= MOST
        assert seen == self._spent + under_way + sum(self._free(run) for run in self._runs)

    def _free(self, run: _Run) -> int:
        """What is held of a run that no call took."""
        drawn = sum(taken for call, _, its in self._calls if its is run for _, taken in call.drawn)
        return max(0, run.left - drawn)

    def close(self) -> None:
        while self._calls:
            self.end(0, 0)
        for which in range(3):
            self.release(which, 0)
        assert used(self._other, self._theirs) == self._spent
        self._counters.close()
        self._other.close()
