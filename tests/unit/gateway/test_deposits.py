"""Calls that draw on money that is held for them: let in, bounded, settled."""

from pathlib import Path
from typing import Any

import pytest

from polyforge.gateway.admission import Admission
from polyforge.gateway.asking import Asker, Asking
from polyforge.gateway.job import Attempt, Job
from polyforge.gateway.limiting import Limiting
from polyforge.gateway.settings import GatewaySettings
from polyforge.gateway.settlement import Settlement
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import BudgetSpent, Unavailable, UpstreamFailed
from polyforge.kernel.money import Micros
from polyforge.kernel.tasks import InferenceRequest
from polyforge.kernel.usage import Usage
from polyforge.ports.provider import Reply
from polyforge.registry.catalog import Deployment, Model
from polyforge.registry.tariffs import Tariff
from polyforge.telemetry.hops import Hops
from polyforge.tenancy.callers import Caller, KeyLimits
from polyforge.tenancy.ledger.journal import Journal
from polyforge.tenancy.ledger.records import NOTHING_SPENT, Balance
from polyforge.tenancy.limits.book import Rules
from polyforge.tenancy.limits.counters import Counter
from polyforge.tenancy.limits.deposits import Deposit, deposit_now, drawing_on
from tests.unit.limits.limit_samples import NOW, begun, limit, opened

USD = 1_000_000
BY_CALL = Tariff(per_call=USD)


class Book:
    """Limits of every caller."""

    def __init__(self) -> None:
        self.rules: list[Counter] = []

    @property
    def any(self) -> bool:
        return bool(self.rules)

    def find(self, _caller: Caller, _model: str) -> Rules | None:
        return Rules(tuple(self.rules), (), (), frozenset({"money"}), ready=True) if self.rules else None

    def counters_of_money(self, _caller: Caller) -> list[Counter]:
        return self.rules

    async def ready(self, _counters: object) -> None:
        """They are."""


class House:
    """Admission and settlement over counters of their own."""

    def __init__(self, folder: Path, budget: float | None = None, *rules: dict[str, Any]) -> None:
        self.clock, self.counters = FakeClock(NOW), opened(folder)
        self.journal = Journal(folder / "journal", "0" * 26, 0, 1)
        self.journal.open()
        self.book: Any = Book()
        self.book.rules = [begun(self.counters, limit(measure="money", **rule)) for rule in rules]
        limiting = Limiting(self.book, self.counters, self.journal, self.clock)
        self.admission = Admission(GatewaySettings(), self.counters, limiting, self.journal, _nothing_spent, self.clock)
        self.settlement = Settlement(self.counters, self.journal, self.clock)
        own = None if budget is None else round(budget * USD)
        self.limits = KeyLimits(budget=own, period="day")
        self.caller = Caller("k" * 26, "k", "o", "p", frozenset(), limits=self.limits)
        self._calls = 0

    def job(self, tariff: Tariff = BY_CALL, output: int | None = 1, deposit: Deposit | None = None) -> Job:
        self._calls += 1
        place = Deployment(0, "p0", "m", 1, 0, None, None, tariff, tariff)
        request = InferenceRequest("chat", "openai", "m", b"{}", output_limit=output)
        job = Job(f"call {self._calls}", self.caller, request, Model("m", "chat", (place,)), Hops(), NOW, 9e9)
        job.deposit = deposit
        return job

    async def call(self, deposit: Deposit | None = None) -> None:
        job = self.job(deposit=deposit)
        await self.admission.admit(job)
        job.attempts = [Attempt(job.model.deployments[0], 0)]
        self.settlement.settle(job, "ok", Usage(input=1, output=1), http_status=200)

    def left(self) -> Micros:
        """Of the key's budget, or of the first limit."""
        if self.book.rules:
            return self.counters.left(self.book.rules[0], NOW)
        slot = self.counters.find("d" + self.caller.key_id)
        assert slot is not None
        return self.counters.headroom(slot, self.limits, int(NOW // 86_400) * 86_400)

    def close(self) -> None:
        self.journal.close()
        self.counters.close()


async def _nothing_spent(_key: str, _period: int) -> Balance:
    return NOTHING_SPENT


@pytest.fixture(params=["key", "limit", "rolling", "both"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Three dollars to spend, whoever counts them."""
    amount, kind = 3 * USD, request.param
    rules = {
        "key": [],
        "limit": [{"amount": amount}],
        "rolling": [{"amount": amount, "window": "rolling:3600"}],
        "both": [{"amount": amount}],
    }
    made = House(tmp_path, 3.0 if kind in ("key", "both") else None, *rules[kind])
    yield made
    made.close()


async def test_who_holds_all_of_a_budget_can_use_it_up(house: House) -> None:
    deposit = await house.admission.hold(house.caller, 3 * USD)
    with pytest.raises(BudgetSpent):
        await house.call()
    for _ in range(3):
        await house.call(deposit)
    with pytest.raises(BudgetSpent):
        await house.call(deposit)
    deposit.release()
    assert house.left() == 0


async def test_two_ceilings_do_not_both_fit(house: House) -> None:
    first = await house.admission.hold(house.caller, 2 * USD)
    with pytest.raises(BudgetSpent, match="has less left than 2 USD"):
        await house.admission.check(house.caller, 2 * USD)
    with pytest.raises(BudgetSpent, match="has less left than 2 USD"):
        await house.admission.hold(house.caller, 2 * USD)
    await house.admission.check(house.caller, USD)
    await house.call(first)
    first.release()
    assert house.left() == 2 * USD
    (await house.admission.hold(house.caller, 2 * USD)).release()
    assert house.left() == 2 * USD


async def test_a_call_without_a_limit_on_its_output_counts_what_is_held_for_it(house: House) -> None:
    tariff = Tariff(output=1_000_000_000)
    job = house.job(tariff, output=None)
    await house.admission.admit(job)
    house.settlement.settle(job, "error", None, http_status=500)
    deposit = await house.admission.hold(house.caller, 3 * USD)
    drawing = house.job(tariff, output=None, deposit=deposit)
    await house.admission.admit(drawing)
    assert drawing.output_limit == job.output_limit
    assert house.left() == 0
    house.settlement.settle(drawing, "error", None, http_status=500)
    assert house.left() == 0
    deposit.release()
    assert house.left() == 3 * USD


async def test_what_cannot_be_written_down_is_put_back(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    deposit = await house.admission.hold(house.caller, 2 * USD)

    def refuse(_intent: object) -> None:
        raise Unavailable("the journal cannot be written")

    with monkeypatch.context() as patched:
        patched.setattr(house.journal, "intend", refuse)
        with pytest.raises(Unavailable):
            await house.call(deposit)
    assert house.left() == USD
    await house.call(deposit)
    assert house.left() == USD
    deposit.release()
    assert house.left() == 2 * USD


async def test_what_a_window_forgot_while_a_call_went_on_is_held_by_nobody(tmp_path: Path) -> None:
    house = House(tmp_path, None, {"amount": 3 * USD, "window": "minute"})
    deposit = await house.admission.hold(house.caller, 3 * USD)
    long = house.job(deposit=deposit)
    await house.admission.admit(long)
    house.clock.advance(70)
    await house.call()
    house.settlement.settle(long, "error", None, http_status=500)
    assert house.counters.use(house.book.rules[0], house.clock.now()).used == 3 * USD
    deposit.release()
    assert house.counters.use(house.book.rules[0], house.clock.now()).used == USD
    house.close()


async def test_who_counts_for_no_budget_holds_nothing(tmp_path: Path) -> None:
    house = House(tmp_path)
    deposit = await house.admission.hold(house.caller, 3 * USD)
    await house.admission.check(house.caller, 3 * USD)
    await house.call(deposit)
    deposit.release()
    house.close()


async def test_calls_find_what_they_draw_on_where_they_are_made(house: House) -> None:
    deposit = await house.admission.hold(house.caller, USD)
    assert deposit_now() is None
    with drawing_on(deposit):
        assert deposit_now() is deposit
        with drawing_on(None):
            assert deposit_now() is None
    assert deposit_now() is None


async def test_what_is_asked_beside_a_call_draws_too(house: House) -> None:
    jobs: list[Job] = []

    async def complete(job: Job) -> Reply:
        jobs.append(job)
        raise UpstreamFailed("enough is known")

    catalog: Any = Models()
    asking, asker = Asking(complete, catalog, house.clock), Asker(house.caller, 9e9, judging=True)
    deposit = await house.admission.hold(house.caller, USD)
    with drawing_on(deposit), pytest.raises(UpstreamFailed):
        await asking.embed(asker, "m", ["text"])
    with pytest.raises(UpstreamFailed):
        await asking.embed(asker, "m", ["text"])
    assert [job.deposit for job in jobs] == [deposit, None]


class Models:
    """A catalog of one model."""

    def find(self, _name: str) -> Model:
        return Model("m", "embedding", ())
