"""Counters of a machine that shares its limits: it uses what it holds, and never forgets what it has used."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyforge.tenancy.callers import KeyLimits
from polyforge.tenancy.ledger.counters import Headroom, Refusal
from polyforge.tenancy.ledger.journal import Journal
from polyforge.tenancy.ledger.records import Intent
from polyforge.tenancy.limits.counters import Counter, Over, Take
from polyforge.tenancy.limits.leased import LeasedCounters, Part
from polyforge.tenancy.limits.records import LimitState
from polyforge.tenancy.limits.remains import Remains, collect_remains, counters_path
from tests.unit.limits.limit_samples import NOW, PROJECT, begun, limit

DAY = 86_400.0
KEY = "d0000000000000000000000000K"
SESSION = "0000000000000000000000000S"
NEXT_SESSION = "0000000000000000000000000T"
PERIOD = 1_699_920_000


def opened(path: Path, worker: int = 0, workers: int = 1) -> LeasedCounters:
    counters = LeasedCounters(path, worker, workers, 64)
    counters.open(1)
    counters.live()
    return counters


@pytest.fixture
def counters(tmp_path: Path) -> Iterator[LeasedCounters]:
    made = opened(tmp_path / "counters")
    yield made
    made.close()


def ask(counters: LeasedCounters, counter: Counter, amount: int = 1, now: float = NOW) -> Take | None:
    """A take, or None where there was no room."""
    take = Take(counter, amount)
    outcome = counters.reserve_many([take], now)
    assert not isinstance(outcome, Refusal)
    return None if isinstance(outcome, Over) else take


def grant(counters: LeasedCounters, part: Part, amount: int, now: float = NOW, left: int = 0) -> int:
    """What the machine said it held when it was granted so much more."""
    claimed = counters.claim(part, now, keep=False)
    assert claimed is not None
    counters.lend(part, claimed[0], amount, 0, left)
    return claimed[1]


def test_nothing_is_used_that_is_not_held(counters: LeasedCounters) -> None:
    counter = begun(counters, limit(measure="money", amount=100))
    assert ask(counters, counter, 30) is None
    (part,) = counters.short
    assert (part.amount, part.allowed, part.strict) == (30, 100, True)
    assert grant(counters, part, 50) == 0
    assert ask(counters, counter, 30) is not None
    assert ask(counters, counter, 30) is None
    # What is not used goes back with the next claim.
    assert grant(counters, part, 40) == 30


def test_where_the_limit_itself_is_in_the_way_nothing_is_asked_for(counters: LeasedCounters) -> None:
    counter = begun(counters, limit(amount=2))
    assert ask(counters, counter) is None
    grant(counters, counters.short[0], 2)
    assert [ask(counters, counter) is not None for _ in range(3)] == [True, True, False]
    assert counters.short == []


def test_what_has_run_dry_is_not_asked_for_again_at_once_unless_for_less(counters: LeasedCounters) -> None:
    counter = begun(counters, limit(measure="money", amount=100))
    assert ask(counters, counter, 30) is None
    counters.note_dry(counters.short[0], NOW)
    assert ask(counters, counter, 30) is None
    assert counters.short == []
    assert ask(counters, counter, 29) is None
    assert counters.short
    assert ask(counters, counter, 30, NOW + 1) is None
    assert counters.short


def test_a_grant_for_an_earlier_claim_is_not_used(counters: LeasedCounters) -> None:
    counter = begun(counters, limit(amount=5))
    assert ask(counters, counter) is None
    (part,) = counters.short
    first = counters.claim(part, NOW, keep=False)
    assert first is not None
    second = counters.claim(part, NOW, keep=False)
    assert second is not None
    counters.lend(part, first[0], 5, 0, 0)
    assert ask(counters, counter) is None


def test_each_limit_of_a_key_has_a_part(counters: LeasedCounters) -> None:
    slot = counters.create(KEY, PERIOD, 20)
    limits = KeyLimits(rpm=10, tpm=100, concurrency=5, budget=1000, period="day")
    assert isinstance(counters.reserve(slot, limits, NOW, PERIOD, 300, 400), Refusal)
    asked = {part.pool: (part.amount, part.allowed, part.strict) for part in counters.short}
    assert asked == {
        f"{KEY}/0/{PERIOD}": (300, 1000, True),
        f"{KEY}/1": (1, 10, False),
        # One call of more than there is in a minute needs all of it.
        f"{KEY}/2": (100, 100, False),
        f"{KEY}/3": (1, 5, False),
    }
    for part in counters.short:
        grant(counters, part, part.amount, left=7)
    room = counters.reserve(slot, limits, NOW, PERIOD, 300, 400)
    assert isinstance(room, Headroom)
    assert (room.requests, room.tokens) == (7, 0)
    assert counters.headroom(slot, limits, PERIOD) == 7
    assert isinstance(counters.reserve(slot, limits, NOW, PERIOD, 300, 1), Refusal)


def test_a_new_window_begins_with_nothing(counters: LeasedCounters) -> None:
    counter = begun(counters, limit(amount=10))
    assert ask(counters, counter) is None
    today = counters.short[0]
    grant(counters, today, 10)
    assert ask(counters, counter) is not None
    assert ask(counters, counter, now=NOW + DAY) is None
    tomorrow = counters.short[0]
    assert tomorrow.pool != today.pool
    assert grant(counters, tomorrow, 1, NOW + DAY) == 0
    assert ask(counters, counter, now=NOW + DAY) is not None
    # A claim on a window that is over would say too little: its use is not known any more.
    assert counters.claim(today, NOW + DAY, keep=True) is None


def test_a_reset_begins_a_pool_of_its_own(counters: LeasedCounters) -> None:
    counter = begun(counters, limit(amount=10))
    assert ask(counters, counter) is None
    before = counters.short[0]
    grant(counters, before, 10)
    counters.apply(counter, LimitState("", PROJECT, 1, reset_at=NOW + 5))
    assert ask(counters, counter, now=NOW + 6) is None
    assert counters.short[0].pool != before.pool


def test_what_is_given_to_another_limit_is_no_longer_held(counters: LeasedCounters) -> None:
    counter = begun(counters, limit(measure="money", amount=100))
    assert ask(counters, counter, 1) is None
    (part,) = counters.short
    grant(counters, part, 60)
    assert not counters.shift(counter, 61, NOW)
    assert counters.shift(counter, 50, NOW)
    assert ask(counters, counter, 11) is None
    claimed = counters.claim(part, NOW, keep=True)
    assert claimed is not None
    assert claimed[1] == 10


def test_what_is_used_tells_of_others_too(counters: LeasedCounters) -> None:
    counter = begun(counters, limit(measure="money", amount=100))
    assert ask(counters, counter, 1) is None
    (part,) = counters.short
    claimed = counters.claim(part, NOW, keep=False)
    assert claimed is not None
    counters.lend(part, claimed[0], 20, others=30, left=50)
    assert ask(counters, counter, 5) is not None
    use = counters.use(counter, NOW)
    assert (use.used, use.allowed) == (35, 100)
    assert counters.left(counter, NOW) == 65


def test_workers_hold_one_part_and_claim_in_turn(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "counters", 0, 2), opened(tmp_path / "counters", 1, 2)
    mine, theirs = begun(first, limit(amount=10)), begun(second, limit(amount=10))
    assert ask(first, mine) is None
    assert first.begin_claim(mine.slot)
    assert not first.begin_claim(mine.slot)
    grant(first, first.short[0], 2)
    first.end_claim(mine.slot)
    assert ask(second, theirs) is not None
    assert ask(first, mine) is not None
    assert ask(second, theirs) is None
    first.close()
    second.close()


def test_what_a_killed_machine_used_is_known_to_its_next_start(tmp_path: Path) -> None:
    folder, journals = tmp_path / "leases", tmp_path / "journal"
    collect_remains(folder, journals, SESSION)
    counters = opened(counters_path(folder, SESSION))
    journal = Journal(journals, SESSION, 0, 1)
    journal.open()
    slot = counters.create(KEY, PERIOD, 0)
    limits = KeyLimits(budget=1000, period="day")
    counters.reserve(slot, limits, NOW, PERIOD, 300, 0)
    grant(counters, counters.short[0], 500)
    assert isinstance(counters.reserve(slot, limits, NOW, PERIOD, 300, 0), Headroom)
    journal.intend(Intent("call", KEY[1:], "o", "p", "chat", "m", NOW, PERIOD, KEY, 300))
    counters.close()
    journal.close()
    collect_remains(folder, journals, NEXT_SESSION)
    assert [path.name for path in sorted(folder.iterdir())] == [f"{SESSION}.remains", "remains.lock"]
    # The call that it was killed in counts as what it had reserved; the other 200 are free.
    found = msgspec.json.decode((folder / f"{SESSION}.remains").read_bytes(), type=list[Remains])
    assert found == [Remains(f"{KEY}/0/{PERIOD}", 300)]


class Pool:
    """A store of one pool that hands out whatever is left."""

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        self.held = {0: 0, 1: 0}

    def claim(self, machine: int, held: int, need: int) -> int:
        self.held[machine] = held
        granted = need if sum(self.held.values()) + need <= self.allowed else 0
        self.held[machine] += granted
        return granted


STEPS = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 40), st.booleans(), st.booleans()), max_size=40)


@given(steps=STEPS)
@settings(max_examples=60, deadline=None)
def test_no_more_is_used_than_allowed_whatever_answers_are_lost(steps: list[tuple[int, int, bool, bool]]) -> None:
    pool = Pool(100)
    with tempfile.TemporaryDirectory() as name:
        machines = [opened(Path(name) / f"counters-{machine}") for machine in (0, 1)]
        counters = [begun(machine, limit(measure="money", amount=100)) for machine in machines]
        spent = 0
        for machine, amount, is_lost, is_cheap in steps:
            leased, counter = machines[machine], counters[machine]
            take = ask(leased, counter, amount)
            if take is None and leased.short:
                part = leased.short[0]
                claimed = leased.claim(part, NOW, keep=False)
                assert claimed is not None
                granted = pool.claim(machine, claimed[1], part.amount)
                if not is_lost:
                    leased.lend(part, claimed[0], granted, 0, 0)
                take = ask(leased, counter, amount)
            if take is not None:
                price = amount // 2 if is_cheap else amount
                leased.settle_many([take], 1, 0, price, NOW)
                spent += price
            assert spent <= 100
        for machine in machines:
            machine.close()
