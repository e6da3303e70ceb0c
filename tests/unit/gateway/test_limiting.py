"""Limits of providers, attempt by attempt, and what callers are told of limits."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from polyforge.gateway.limiting import Limiting, explain, finite
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import BudgetSpent, LimitReached, UpstreamFailed
from polyforge.tenancy.ledger.counters import Headroom
from polyforge.tenancy.ledger.journal import Journal, read, segments
from polyforge.tenancy.ledger.records import Intent
from polyforge.tenancy.limits.counters import Counter, LimitCounters, Over, counter_of
from polyforge.tenancy.limits.windows import NEVER
from tests.unit.gateway.test_dispatch import OK, House, Scripted
from tests.unit.limits.limit_samples import NOW, begun, limit, opened

NO_BOOK: Any = None
"""Which limits there are was looked up before."""


class Limited(House):
    """A dispatch over scripted providers of which some have limits."""

    def __init__(self, folder: Path, *providers: Scripted) -> None:
        super().__init__(folder, *providers)
        self.clock = FakeClock(NOW)
        self.counters: LimitCounters = opened(folder)
        self.journal = Journal(folder / "journal", "0" * 26, 0, 1)
        self.journal.open()
        self.dispatch._limiting = Limiting(NO_BOOK, self.counters, self.journal, self.clock)
        self.ceilings: dict[str, tuple[Counter, ...]] = {}

    def limit(self, provider: str, **fields: Any) -> Counter:
        rule = limit(**{"subject": "provider", "subject_id": provider, "amount": 1, **fields})
        counter = begun(self.counters, rule, subject_id=provider)
        self.ceilings[provider] = (*self.ceilings.get(provider, ()), counter)
        return counter

    async def ask(self) -> list[str]:
        """Who was asked, in order."""
        job = self.job()
        job.ceilings = self.ceilings
        self.journal.intend(Intent(job.id, "k", "o", "p", "chat", "m", NOW, 0, ""))
        try:
            await self.dispatch.send(job, self.dispatch.route(job))
        finally:
            self.counters.settle_many(job.attempt_takes, 1, 10, 20, NOW)
        return [attempt.deployment.provider for attempt in job.attempts]

    def used(self, counter: Counter) -> int:
        return self.counters.use(counter, NOW).used


async def test_a_provider_without_room_is_passed_over(tmp_path: Path) -> None:
    house = Limited(tmp_path, Scripted(OK), Scripted(OK))
    full = house.limit("p0")
    assert await house.ask() == ["p0"]
    assert await house.ask() == ["p1"]
    assert house.used(full) == 1


async def test_when_all_are_full_the_soonest_is_told(tmp_path: Path) -> None:
    house = Limited(tmp_path, Scripted(), Scripted())
    house.limit("p0", amount=0)
    house.limit("p1", amount=0, window="hour")
    with pytest.raises(LimitReached) as caught:
        await house.ask()
    assert caught.value.retry_after == 2760


async def test_without_end_there_is_nothing_to_wait_for(tmp_path: Path) -> None:
    house = Limited(tmp_path, Scripted())
    house.limit("p0", amount=0, window="total")
    with pytest.raises(LimitReached) as caught:
        await house.ask()
    assert caught.value.retry_after is None


async def test_an_attempt_that_failed_was_a_request_and_no_more(tmp_path: Path) -> None:
    house = Limited(tmp_path, Scripted(UpstreamFailed("no")), Scripted(OK))
    requests, flights = house.limit("p0", amount=5), house.limit("p0", id="B" * 26, measure="concurrency", window="")
    other = house.limit("p1", amount=5)
    assert await house.ask() == ["p0", "p1"]
    assert [house.used(each) for each in (requests, flights, other)] == [1, 0, 1]


async def test_what_a_failed_attempt_held_is_held_no_more_where_the_next_provider_has_no_limits(tmp_path: Path) -> None:
    house = Limited(tmp_path, Scripted(UpstreamFailed("no")), Scripted(OK))
    house.limit("p0", measure="money", amount=5)
    assert await house.ask() == ["p0", "p1"]
    path = tmp_path / "journal" / str(segments(tmp_path / "journal")[0])
    held = [len(entry.record.holds) for entry in read(path) if isinstance(entry.record, Intent)]
    assert held == [0, 1, 0]


def test_money_is_left_in_windows_that_roll_too_and_tokens_are_not_asked_for(tmp_path: Path) -> None:
    house = Limited(tmp_path)
    limiting = house.dispatch._limiting
    rolling = [
        begun(house.counters, limit(id=id_ * 26, measure=measure, amount=7, window="rolling:600"))
        for id_, measure in (("A", "money"), ("B", "tokens"))
    ]
    assert limiting.left(rolling, "money") == 7
    assert limiting.left(rolling, "tokens") is None


async def test_who_is_full_by_the_time_of_its_turn_is_no_failure(tmp_path: Path) -> None:
    house = Limited(tmp_path, Scripted(OK), Scripted(OK))
    full = house.limit("p0")
    jobs = [house.job(), house.job()]
    plans = []
    for job in jobs:
        job.ceilings = house.ceilings
        plans.append(house.dispatch.route(job))
    await asyncio.gather(*(house.dispatch.send(job, plan) for job, plan in zip(jobs, plans, strict=True)))
    asked = [[attempt.deployment.provider for attempt in job.attempts] for job in jobs]
    assert asked == [["p0"], ["p0", "p1"]]
    assert house.health.cooling_until(0) == 0.0
    assert house.used(full) == 1


@pytest.mark.parametrize(
    ("fields", "wait", "error", "message"),
    [
        (
            {"measure": "money", "amount": 2_500_000, "window": "month"},
            3_600.0,
            BudgetSpent,
            "the limit 'sample' of this project, 2.5 USD per month, is used up; it starts again in 61 minutes",
        ),
        (
            {"window": "total", "subject": "user"},
            NEVER,
            BudgetSpent,
            "the limit 'sample' of this user, 10 requests in all, is used up",
        ),
        (
            {"measure": "tokens", "window": "minute", "subject": "end_user"},
            2.5,
            LimitReached,
            "the limit 'sample' of end user 'x' allows 10 tokens per minute; there is room again in 3 s",
        ),
        (
            {"window": "rolling:600", "subject": "model"},
            9.0,
            LimitReached,
            "the limit 'sample' of model 'x' allows 10 requests in 600 s; there is room again in 10 s",
        ),
        (
            {"measure": "concurrency", "window": "", "subject": "group"},
            1.0,
            LimitReached,
            "the limit 'sample' of group 'x' allows 10 requests in flight at once",
        ),
    ],
)
def test_a_refusal_names_the_limit(fields: dict[str, Any], wait: float, error: type[Exception], message: str) -> None:
    told = explain(Over(counter_of(limit(**fields), "x"), wait, Headroom()))
    assert type(told) is error
    assert told.message == message
    assert told.retry_after == (finite(wait) if error is LimitReached else None)
