"""Calls that are let in by what their limits lent in one step are counted as if each had asked every limit."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polyforge.gateway.admission import Admission
from polyforge.gateway.job import Attempt, Job
from polyforge.gateway.limiting import Limiting
from polyforge.gateway.settings import GatewaySettings
from polyforge.gateway.settlement import Settlement
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import PolyforgeError, Unavailable
from polyforge.kernel.tasks import InferenceRequest
from polyforge.kernel.usage import Usage
from polyforge.registry.catalog import Deployment, Model
from polyforge.registry.tariffs import Tariff
from polyforge.telemetry.hops import Hops
from polyforge.tenancy.callers import Caller, KeyLimits
from polyforge.tenancy.ledger.counters import Cell, Headroom
from polyforge.tenancy.ledger.journal import Journal
from polyforge.tenancy.ledger.records import NOTHING_SPENT, Balance
from polyforge.tenancy.ledger.recovery import next_incarnation, recover
from polyforge.tenancy.limits.book import Rules
from polyforge.tenancy.limits.counters import LimitCounters, Notice
from polyforge.tenancy.limits.deposits import Deposit
from polyforge.tenancy.limits.lanes import LanedCounters
from polyforge.tenancy.limits.records import Limit, LimitState
from polyforge.tenancy.limits.windows import MICROS, window_start
from tests.unit.limits.limit_samples import NOW, PROJECT, begun, limit

SESSION = "0" * 26
PRICE = Tariff(input=2_000_000, output=6_000_000)
MODELS = ("m", "n")
KEYS = ("a" * 26, "b" * 26)
PLENTY = 10**9


def calls_of(*, requests: int, tokens: int, money: int, under_way: int) -> tuple[Limit, ...]:
    """Limits on everything, in windows of all kinds."""
    return (
        limit(id="A" * 26, amount=requests, window="minute", thresholds=(0.5, 1.0)),
        limit(id="B" * 26, measure="tokens", amount=tokens, window="day", thresholds=(0.8,)),
        limit(id="C" * 26, measure="concurrency", amount=under_way, window=""),
        limit(id="D" * 26, measure="money", amount=money, window="month", thresholds=(0.25, 0.5)),
        limit(id="E" * 26, measure="tokens", amount=tokens // 3, window="minute"),
        limit(id="F" * 26, amount=requests * 3, window="hour", thresholds=(0.1, 0.9), hard=False),
    )


class Book:
    """Every key may call two models: one counts for all limits, the other for some."""

    any = True

    def __init__(self, counters: LimitCounters, limits: tuple[Limit, ...]) -> None:
        self.counters = [begun(counters, each) for each in limits]
        self._found: dict[tuple[str, str], Rules] = {}

    def counters_of_money(self, caller: Caller) -> list[Any]:
        """What counts the money of every call."""
        del caller
        return [each for each in self.counters if each.measure == "money"]

    async def ready(self, counters: object) -> None:
        """They all are."""

    def find(self, caller: Caller, model: str) -> Rules:
        """What counts for a call."""
        known = self._found.get((caller.key_id, model))
        if known is None:
            mine = tuple(self.counters if model == "m" else self.counters[:2])
            measures = frozenset(each.measure for each in mine)
            known = self._found[caller.key_id, model] = Rules(mine, (), (), measures, ready=True)
        return known


async def _nothing(_key: str, _period: int) -> Balance:
    return NOTHING_SPENT


class Side:
    """A gateway worker reduced to what counts."""

    def __init__(
        self,
        folder: Path,
        kind: type[LimitCounters],
        limits: tuple[Limit, ...],
        key: KeyLimits,
        latecomers: int = 0,
    ) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.clock = FakeClock(NOW)
        incarnation = next_incarnation(folder, SESSION, 0)
        self.counters = kind(folder / "counters", 0, 1 + latecomers, 64, latecomers)
        self.counters.open(incarnation)
        recover(self.counters, folder, SESSION, 0)
        self.counters.live()
        self.journal = Journal(folder, SESSION, 0, incarnation, before_rotation=self.counters.write_cells)
        self.journal.open()
        self.book: Any = Book(self.counters, limits)
        self.told: list[Notice] = []
        self.counters.notice = self.told.append
        limiting = Limiting(self.book, self.counters, self.journal, self.clock)
        self.admission = Admission(GatewaySettings(), self.counters, limiting, self.journal, _nothing, self.clock)
        self.settlement = Settlement(self.counters, self.journal, self.clock)
        self.callers = {key_id: Caller(key_id, "k", "o", "p", frozenset(), limits=key) for key_id in KEYS}
        self.jobs: dict[int, Job] = {}
        self.lent = 0
        self.deposit: Deposit | None = None

    async def hold(self, amount: int) -> str:
        """Hold so much for calls that draw on it, instead of what was held before."""
        if self.deposit is not None:
            self.deposit.release()
        self.deposit = None
        try:
            self.deposit = await self.admission.hold(self.callers[KEYS[0]], amount)
        except PolyforgeError as error:
            return error.message
        return ""

    async def begin(
        self, number: int, key: str, model: str, size: int, output: int | None, *, draws: bool = False
    ) -> str | Headroom | None:
        """Let a call in; gives what headers tell of, or why it may not come in."""
        place = Deployment(0, "p", model, 1, 0, None, None, PRICE, PRICE)
        request = InferenceRequest("chat", "openai", model, b"x" * size, output_limit=output)
        made = Model(model, "chat", (place,))
        job = Job(f"{number:026}", self.callers[key], request, made, Hops(), self.clock.now(), 9e9)
        job.deposit = self.deposit if draws else None
        try:
            await self.admission.admit(job)
        except PolyforgeError as error:
            return f"{error.message} {getattr(error, 'retry_after', None)}"
        job.attempts = [Attempt(place, 0)]
        self.jobs[number] = job
        self.lent += job.lane is not None
        return job.headroom

    def end(self, number: int, usage: Usage) -> None:
        """A call came to this."""
        self.settlement.settle(self.jobs.pop(number), "ok", usage, http_status=200)

    def stand(self) -> list[tuple[int, int]]:
        """How all limits stand."""
        used = [self.counters.use(each, self.clock.now()) for each in self.book.counters]
        return [(each.used, each.allowed) for each in used]

    def cells(self) -> dict[str, Cell]:
        """What is written of them, without how far."""
        self.counters.write_cells()
        return {name: self.counters.cell(slot, 0)._replace(applied=0) for name, slot in self.counters.slots()}

    def die(self) -> None:
        """As kill -9 leaves it: nothing is written any more that was not."""
        self.journal.close()
        left = (self.folder / "counters").read_bytes()
        self.counters.close()
        (self.folder / "counters").write_bytes(left)

    def close(self) -> None:
        """Stop in good order."""
        self.journal.close()
        self.counters.close()


class Pair:
    """The same calls on both sides: one counts each by itself, the other lends where it can."""

    def __init__(self, folder: Path, limits: tuple[Limit, ...], key: KeyLimits, seed: int) -> None:
        self.sides = [Side(folder / kind.__name__, kind, limits, key) for kind in (LimitCounters, LanedCounters)]
        self._random = random.Random(seed)
        self._number = 0
        self._version = 0

    async def step(self) -> None:
        """One thing happens on both."""
        chance = self._random.random()
        under_way = list(self.sides[0].jobs)
        if chance < 0.47:
            await self._begin()
        elif chance < 0.94:
            if under_way:
                self._end(self._random.choice(under_way))
        elif chance < 0.98:
            self._wait()
        elif chance < 0.99:
            assert self.sides[0].stand() == self.sides[1].stand()
        elif chance < 0.992:
            amount = self._random.randint(1, 40_000)
            told = [await side.hold(amount) for side in self.sides]
            assert told[0] == told[1]
        elif chance < 0.996:
            assert self.sides[0].cells() == self.sides[1].cells()
        else:
            self._change()

    async def _begin(self) -> None:
        self._number += 1
        choose = self._random
        key = KEYS[choose.random() < 0.03]
        model = MODELS[choose.random() < 0.03]
        size, output = choose.randint(40, 400), choose.choice([1, 50, 100, 100, None])
        draws = key == KEYS[0] and choose.random() < 0.03
        told = [await side.begin(self._number, key, model, size, output, draws=draws) for side in self.sides]
        assert _of_headers(told[0]) == _of_headers(told[1])

    def _end(self, number: int) -> None:
        usage = Usage(input=self._random.randint(0, 60), output=self._random.randint(0, 120))
        for side in self.sides:
            side.end(number, usage)

    def _wait(self) -> None:
        seconds = self._random.choice([0.01, 0.3, 0.9, 1.5, 4.0, 7.0, 61.0, 4000.0])
        for side in self.sides:
            side.clock.advance(seconds)
            if seconds >= 1:
                side.counters.write_cells()

    def _change(self) -> None:
        self._version += 1
        place, extra, now = self._random.randrange(6), self._random.randint(-100, 1000), self.sides[0].clock.now()
        reset_at = now if self._random.random() < 0.3 else 0.0
        corrected, since = self._random.randint(-5_000, 5_000), int(window_start("month", now) * MICROS)
        for side in self.sides:
            side.counters.correct(side.book.counters[3].slot, since, corrected)
            counter = side.book.counters[place]
            state = LimitState(counter.limit.id, PROJECT, self._version, reset_at, extra, now + 20)
            side.counters.apply(counter, state)

    def finish(self) -> int:
        """Everything ends, and is the same; gives how many calls came in by what was lent."""
        for number in list(self.sides[0].jobs):
            self._end(number)
        for side in self.sides:
            if side.deposit is not None:
                side.deposit.release()
        assert self.sides[0].stand() == self.sides[1].stand()
        assert self.sides[0].cells() == self.sides[1].cells()
        told = [Counter((each.limit.id, each.share) for each in side.told) for side in self.sides]
        assert told[0] == told[1]
        return self.sides[1].lent

    def close(self) -> None:
        """Close both."""
        for side in self.sides:
            side.close()


def _of_headers(told: str | Headroom | None) -> object:
    if not isinstance(told, Headroom):
        return told
    reset = told.token_reset or told.reset
    limits = told.request_limit, told.token_limit
    return told.requests, told.tokens, round(told.reset, 3), *limits, round(reset, 3) if told.tokens else None


KEY = KeyLimits(rpm=4_000, tpm=600_000, concurrency=900, budget=PLENTY, period="day")
LIMITS = {
    "plenty": (calls_of(requests=PLENTY, tokens=10**12, money=10**12, under_way=1_000), KEY),
    "some": (calls_of(requests=3_000, tokens=900_000, money=2_000_000, under_way=300), KEY),
    "few": (calls_of(requests=500, tokens=120_000, money=300_000, under_way=40), KeyLimits(rpm=300, budget=10**6)),
    "no key": (calls_of(requests=4_000, tokens=900_000, money=3_000_000, under_way=200), KeyLimits()),
    "tokens": (calls_of(requests=PLENTY, tokens=400_000, money=10**12, under_way=500), KeyLimits(tpm=90_000)),
}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", LIMITS)
async def test_what_is_lent_is_counted_as_if_each_call_had_asked(name: str, seed: int, tmp_path: Path) -> None:
    pair = Pair(tmp_path, *LIMITS[name], seed)
    try:
        for _ in range(1_500):
            await pair.step()
        assert pair.finish() > 0
    finally:
        pair.close()


@pytest.fixture
def laned(tmp_path: Path) -> Iterator[Side]:
    side = Side(tmp_path / "laned", LanedCounters, *LIMITS["plenty"])
    yield side
    side.close()


async def busy(side: Side, calls: int = 12, first: int = 0) -> None:
    """So many calls that the last come in by what was lent."""
    for number in range(first, first + calls):
        assert isinstance(await side.begin(number, KEYS[0], "m", 100, 100), Headroom)
    assert side.jobs[first + calls - 1].lane is not None


async def test_no_lane_is_for_a_chain_that_is_not_busy(laned: Side) -> None:
    for number in range(30):
        await laned.begin(number, KEYS[0], "m", 100, 100)
        laned.clock.advance(0.5)
        laned.counters.write_cells()
    assert laned.lent == 0


async def test_who_asks_for_a_slot_of_a_lane_has_it_counted_first(laned: Side) -> None:
    await busy(laned)
    assert [used for used, _ in laned.stand()][::2] == [12, 12, 12 * (100 // 4 + 100)]
    await laned.begin(40, KEYS[0], "m", 100, 100)
    assert laned.jobs[40].lane is None
    laned.counters.write_cells()
    await busy(laned, first=50)


async def test_what_a_lane_lets_in_is_forgotten_with_its_tick(laned: Side) -> None:
    await busy(laned)
    laned.clock.advance(5)
    await busy(laned, calls=2, first=20)
    laned.clock.advance(60)
    assert laned.stand()[0][0] == 2


async def test_a_threshold_is_told_of_with_the_call_that_crosses_it(tmp_path: Path) -> None:
    rules = (limit(id="A" * 26, amount=2_000, window="hour", thresholds=(0.1,)),)
    side = Side(tmp_path / "side", LanedCounters, rules, KeyLimits())
    for number in range(200):
        assert not side.told
        await side.begin(number, KEYS[0], "m", 100, 100)
        side.end(number, Usage())
    assert len(side.told) == 1
    assert side.lent > 100
    side.close()


async def test_tokens_that_a_minute_forgot_come_back_to_nobody(tmp_path: Path) -> None:
    sides = [Side(tmp_path / kind.__name__, kind, *LIMITS["plenty"]) for kind in (LimitCounters, LanedCounters)]
    told: list[object] = []
    for side in sides:
        for number in range(12):
            await side.begin(number, KEYS[0], "n", 100, 1_000)
        side.clock.advance(70)
        for number in range(20, 28):
            await side.begin(number, KEYS[0], "n", 100, 10)
        for number in range(4, 12):
            side.end(number, Usage())
        told.append(_of_headers(await side.begin(40, KEYS[0], "n", 100, 10)))
    assert sides[1].jobs[40].lane is not None
    assert told[0] == told[1]
    for side in sides:
        side.close()


async def test_calls_that_are_larger_than_a_limit_that_only_tells_count_as_they_are(tmp_path: Path) -> None:
    rules = (limit(id="A" * 26, measure="tokens", amount=50, window="minute", hard=False),)
    for kind in (LimitCounters, LanedCounters):
        side = Side(tmp_path / kind.__name__, kind, rules, KeyLimits())
        for number in range(12):
            await side.begin(number, KEYS[0], "m", 100, 1_000)
        for number in range(12):
            side.end(number, Usage(input=100))
        assert side.stand() == [(1_200, 50)]
        side.close()


async def test_what_is_left_of_a_window_that_begins_anew_is_not_more_than_there_is(tmp_path: Path) -> None:
    budget = 1_000_000
    rules = (limit(id="A" * 26, measure="money", amount=budget, window="hour"),)
    side = Side(tmp_path / "side", LanedCounters, rules, KeyLimits(budget=budget, period="day"))
    await busy(side)
    side.clock.advance(86_400)
    slot, now = side.counters.find("d" + KEYS[0]), side.clock.now()
    assert slot is not None
    today = int(window_start("day", now))
    assert side.counters.headroom(slot, side.callers[KEYS[0]].limits, today) == budget
    assert side.counters.left(side.book.counters[0], now) == budget
    side.close()


@pytest.mark.parametrize("settled", [0, 5, 12])
async def test_every_call_counts_once_after_a_kill(settled: int, tmp_path: Path) -> None:
    limits, key = LIMITS["plenty"]
    side = Side(tmp_path / "side", LanedCounters, limits, key)
    await busy(side)
    for number in range(settled):
        side.end(number, Usage(input=10, output=20))
    reserved = [job.reserved for job in side.jobs.values()]
    bounds = [job.token_bound for job in side.jobs.values()]
    side.die()
    again = Side(tmp_path / "side", LanedCounters, limits, key)
    stand = [used for used, _ in again.stand()]
    priced = settled * PRICE.price(Usage(input=10, output=20))
    assert stand[1] == 30 * settled + sum(bounds)
    assert stand[2] == 0
    assert stand[3] == priced + sum(reserved)
    assert stand[5] == 12
    # What was lent of a window without cells counts as used until it is forgotten, and is at most so much.
    assert 12 <= stand[0] <= 12 + 256
    again.clock.advance(70)
    assert again.stand()[0][0] == 0
    again.close()


@pytest.mark.parametrize("settled", [0, 5])
async def test_who_joins_sees_what_calls_under_way_hold(settled: int, tmp_path: Path) -> None:
    limits, key = LIMITS["plenty"]
    side = Side(tmp_path / "side", LanedCounters, limits, key, latecomers=1)
    await busy(side)
    for number in range(settled):
        side.end(number, Usage(input=10, output=20))
    worker = LimitCounters(tmp_path / "side" / "counters", 1, 2, 64, latecomers=1)
    worker.open(1)
    joining = asyncio.create_task(worker.join())
    await asyncio.sleep(0)
    side.counters.write_cells()
    await joining
    theirs = [begun(worker, each) for each in limits]
    assert [worker.use(each, side.clock.now()).used for each in theirs] == [used for used, _ in side.stand()]
    slot = worker.find("d" + KEYS[0])
    assert slot is not None
    today = int(window_start("day", side.clock.now()))
    assert worker.headroom(slot, key, today) == side.counters.headroom(slot, key, today)
    await side.begin(40, KEYS[0], "m", 100, 100)
    assert side.jobs[40].lane is None
    worker.close()
    side.close()


async def test_a_call_that_cannot_be_written_down_holds_nothing(laned: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    await busy(laned)
    with monkeypatch.context() as patched:
        patched.setattr(laned.journal, "intend", _refuse)
        assert str(await laned.begin(40, KEYS[0], "m", 100, 100)).startswith("full")
    for number in range(12):
        laned.end(number, Usage())
    assert [used for used, _ in laned.stand()] == [12, 0, 0, 0, 0, 12]
    assert {(cell.reserved, cell.in_flight) for cell in laned.cells().values()} == {(0, 0)}


def _refuse(_intent: object) -> None:
    raise Unavailable("full")
