"""Limits as a key's owner relies on them: exact across workers, and right again after a worker was killed."""

import asyncio
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyforge.kernel.errors import Unavailable
from polyforge.tenancy.callers import KeyLimits
from polyforge.tenancy.ledger import counters as counting
from polyforge.tenancy.ledger.counters import Cell, Headroom, Refusal, SharedCounters

NOW = 1_700_000_040.0
"""A moment 0 seconds into a minute."""


def opened(path: Path, worker: int = 0, workers: int = 2, incarnation: int = 1, capacity: int = 64) -> SharedCounters:
    counters = SharedCounters(path, worker, workers, capacity)
    counters.open(incarnation)
    counters.live()
    return counters


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[SharedCounters, SharedCounters]]:
    first, second = opened(tmp_path / "counters", 0), opened(tmp_path / "counters", 1)
    yield first, second
    first.close()
    second.close()


def test_a_budget_is_shared_by_the_workers(pair: tuple[SharedCounters, SharedCounters]) -> None:
    first, second = pair
    limits = KeyLimits(budget=100)
    slot = first.create("tkey", 0, 40)
    assert second.find("tkey") == slot
    assert isinstance(first.reserve(slot, limits, NOW, 0, 30, 0), Headroom)
    assert isinstance(second.reserve(slot, limits, NOW, 0, 30, 0), Headroom)
    assert second.reserve(slot, limits, NOW, 0, 1, 0) == Refusal("budget")
    first.settle(slot, 0, 30, 10, 1)
    assert second.headroom(slot, limits, 0) == 20
    assert isinstance(second.reserve(slot, limits, NOW, 0, 20, 0), Headroom)


def test_the_first_worker_to_make_a_slot_says_what_was_spent(pair: tuple[SharedCounters, SharedCounters]) -> None:
    first, second = pair
    assert first.create("tkey", 0, 40) == second.create("tkey", 0, 99)
    assert second.headroom(second.create("tkey", 0, 0), KeyLimits(budget=100), 0) == 60


def test_a_new_period_starts_from_nothing_and_late_settlements_do_not_count_in_it(
    pair: tuple[SharedCounters, SharedCounters],
) -> None:
    first, _ = pair
    limits = KeyLimits(budget=100, concurrency=2)
    slot = first.create("dkey", 10, 100)
    assert first.reserve(slot, limits, NOW, 10, 1, 0) == Refusal("budget")
    assert isinstance(first.reserve(slot, limits, NOW, 20, 60, 0), Headroom)
    assert isinstance(first.reserve(slot, limits, NOW, 30, 60, 0), Headroom)
    first.settle(slot, 20, 60, 60, 1)
    assert first.headroom(slot, limits, 30) == 40
    assert first.cell(slot, 0).in_flight == 1


def test_requests_per_minute_hold_in_every_minute(pair: tuple[SharedCounters, SharedCounters]) -> None:
    first, second = pair
    limits = KeyLimits(rpm=10)
    slot = first.create("tkey", 0, 0)
    for turn in range(10):
        assert isinstance((first, second)[turn % 2].reserve(slot, limits, NOW + 3 * turn, 0, 0, 0), Headroom)
    refused = second.reserve(slot, limits, NOW + 31, 0, 0, 0)
    assert isinstance(refused, Refusal)
    assert (refused.limit, refused.headroom.requests) == ("rpm", 0)
    later = NOW + 31 + refused.retry_after
    assert NOW + 60 <= later <= NOW + 65
    assert isinstance(second.reserve(slot, limits, later - 0.01, 0, 0, 0), Refusal)
    assert isinstance(second.reserve(slot, limits, later, 0, 0, 0), Headroom)
    assert isinstance(second.reserve(slot, limits, later, 0, 0, 0), Headroom)
    assert isinstance(second.reserve(slot, limits, later, 0, 0, 0), Refusal)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5), st.lists(st.floats(0, 40), max_size=40))
def test_no_minute_holds_more_than_the_limit(
    tmp_path_factory: pytest.TempPathFactory, limit: int, gaps: list[float]
) -> None:
    counters = opened(tmp_path_factory.mktemp("counters") / "counters")
    slot = counters.create("tkey", 0, 0)
    served: list[float] = []
    now = NOW
    for gap in gaps:
        now += gap
        outcome = counters.reserve(slot, KeyLimits(rpm=limit), now, 0, 0, 0)
        if isinstance(outcome, Headroom):
            served.append(now)
        else:
            assert 0 < outcome.retry_after <= 65
    assert all(sum(1 for other in served if moment <= other < moment + 60) <= limit for moment in served)
    counters.close()


def test_tokens_are_corrected_after_the_call(pair: tuple[SharedCounters, SharedCounters]) -> None:
    first, second = pair
    limits = KeyLimits(tpm=100)
    slot = first.create("tkey", 0, 0)
    assert isinstance(first.reserve(slot, limits, NOW, 0, 0, 90), Headroom)
    assert isinstance(second.reserve(slot, limits, NOW, 0, 0, 20), Refusal)
    first.add_tokens(slot, NOW, -60)
    assert isinstance(second.reserve(slot, limits, NOW, 0, 0, 20), Headroom)


def test_concurrency_counts_every_worker(pair: tuple[SharedCounters, SharedCounters]) -> None:
    first, second = pair
    limits = KeyLimits(concurrency=2)
    slot = first.create("tkey", 0, 0)
    assert isinstance(first.reserve(slot, limits, NOW, 0, 0, 0), Headroom)
    assert isinstance(second.reserve(slot, limits, NOW, 0, 0, 0), Headroom)
    assert first.reserve(slot, limits, NOW, 0, 0, 0) == Refusal("concurrency", 1.0)
    second.release(slot, 0, 0)
    assert isinstance(first.reserve(slot, limits, NOW, 0, 0, 0), Headroom)


def test_a_refusal_takes_nothing(pair: tuple[SharedCounters, SharedCounters]) -> None:
    first, _ = pair
    limits = KeyLimits(rpm=1, budget=10)
    slot = first.create("tkey", 0, 0)
    refused = first.reserve(slot, limits, NOW, 0, 11, 0)
    assert isinstance(refused, Refusal)
    assert refused.limit == "budget"
    assert isinstance(first.reserve(slot, limits, NOW, 0, 10, 0), Headroom)


def late(path: Path, worker: int, early: int = 1) -> SharedCounters:
    counters = SharedCounters(path, worker, early + 1, 64, latecomers=1)
    counters.open(1)
    counters.live()
    return counters


async def test_a_latecomer_counts_once_the_others_know_of_it(tmp_path: Path) -> None:
    gateway, worker = late(tmp_path / "counters", 0), late(tmp_path / "counters", 1)
    limits, slot = KeyLimits(budget=100), gateway.create("tkey", 0, 0)
    assert isinstance(gateway.reserve(slot, limits, NOW, 0, 60, 0), Headroom)
    gateway.settle(slot, 0, 60, 60, 1)
    assert (gateway.apart, worker.apart) == (False, True)
    joining = asyncio.create_task(worker.join())
    await asyncio.sleep(0.05)
    assert not joining.done(), "it waits for the gateway, which lives"
    gateway.write_cells()
    await joining
    assert not worker.apart
    assert worker.headroom(slot, limits, 0) == 40
    assert isinstance(worker.reserve(slot, limits, NOW, 0, 30, 0), Headroom)
    assert gateway.reserve(slot, limits, NOW, 0, 20, 0) == Refusal("budget")
    assert isinstance(gateway.reserve(slot, limits, NOW, 0, 10, 0), Headroom)
    assert worker.headroom(slot, limits, 0) == 0, "what the gateway takes is written at once from now on"
    gateway.close()
    worker.close()


async def test_a_latecomer_sees_the_calls_that_are_under_way(tmp_path: Path) -> None:
    gateway, worker = late(tmp_path / "counters", 0), late(tmp_path / "counters", 1)
    limits, slot = KeyLimits(concurrency=3, budget=100), gateway.create("tkey", 0, 0)
    for _ in range(3):
        assert isinstance(gateway.reserve(slot, limits, NOW, 0, 20, 0), Headroom)
    joining = asyncio.create_task(worker.join())
    await asyncio.sleep(0)
    gateway.write_cells()
    await joining
    assert worker.headroom(slot, limits, 0) == 40
    assert worker.reserve(slot, limits, NOW, 0, 20, 0) == Refusal("concurrency", 1.0)
    gateway.close()
    worker.close()


async def test_a_latecomer_does_not_wait_for_who_does_not_run_and_who_starts_knows_of_it(tmp_path: Path) -> None:
    worker = late(tmp_path / "counters", 2, early=2)
    await worker.join()
    slot, limits = worker.create("tkey", 0, 0), KeyLimits(budget=100)
    assert isinstance(worker.reserve(slot, limits, NOW, 0, 90, 0), Headroom)
    gateway = late(tmp_path / "counters", 1, early=2)
    assert gateway.headroom(slot, limits, 0) == 10
    worker.close()
    again = late(tmp_path / "counters", 2, early=2)
    await again.join()
    gateway.close()
    again.close()


async def test_a_latecomer_waits_for_the_next_start_of_who_was_killed(tmp_path: Path) -> None:
    gateway, worker = late(tmp_path / "counters", 0), late(tmp_path / "counters", 1)
    gateway.close()
    joining = asyncio.create_task(worker.join())
    await asyncio.sleep(0.05)
    assert not joining.done(), "what it used last is in its journal alone"
    again = late(tmp_path / "counters", 0)
    await joining
    again.close()
    worker.close()


async def test_a_latecomer_does_not_wait_for_ever_for_who_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "_JOIN_SECONDS", 0.04)
    gateway, worker = late(tmp_path / "counters", 0), late(tmp_path / "counters", 1)
    with pytest.raises(Unavailable, match="does not answer"):
        await worker.join()
    gateway.close()
    await worker.join()
    assert not worker.apart
    worker.close()


def test_a_latecomer_alone_need_not_join(tmp_path: Path) -> None:
    alone = late(tmp_path / "counters", 0, early=0)
    assert not alone.apart
    alone.close()


def _join_and_spend(path: str) -> None:
    counters = SharedCounters(Path(path), 1, 2, 64, latecomers=1)
    counters.open(1)
    counters.live()
    asyncio.run(counters.join())
    _spend(counters)


def _serve_alone_then_meet(path: str) -> None:
    counters = SharedCounters(Path(path), 0, 2, 64, latecomers=1)
    counters.open(1)
    counters.live()
    _spend(counters)


def _spend(counters: SharedCounters) -> None:
    limits, slot, taken = KeyLimits(budget=10_000), counters.create("tkey", 0, 0), 0
    while isinstance(counters.reserve(slot, limits, NOW, 0, 1, 0), Headroom):
        taken += 1
        counters.settle(slot, 0, 1, 1, taken)
        if taken % 100 == 0:
            counters.write_cells()
    counters.close()


def test_a_budget_is_used_up_exactly_while_a_latecomer_joins(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=what, args=(str(path),)) for what in (_serve_alone_then_meet, _join_and_spend)]
    for each in both:
        each.start()
    for each in both:
        each.join(60)
        assert each.exitcode == 0
    seen = opened(path, 0, 2, incarnation=2)
    slot = seen.create("tkey", 0, 0)
    assert sum(seen.cell(slot, worker).spent for worker in (0, 1)) == 10_000
    seen.close()


def test_a_full_table_says_so(tmp_path: Path) -> None:
    counters = opened(tmp_path / "counters", capacity=4)
    for number in range(4):
        counters.create(f"tkey{number}", 0, 0)
    with pytest.raises(Unavailable, match="max_limited_keys"):
        counters.create("tkey4", 0, 0)
    counters.close()


def test_slots_in_use_are_found_wherever_they_lie(tmp_path: Path) -> None:
    first, second = (opened(tmp_path / "counters", worker, capacity=1000) for worker in (0, 1))
    made = {(name, first.create(name, 0, 0)) for name in [f"tkey{number}" for number in range(300)]}
    assert set(second.slots()) == made
    assert len({slot // 256 for _, slot in made}) == 4
    first.close()
    second.close()
    with pytest.raises(Unavailable, match="closed"):
        list(second.slots())


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what is mapped")
def test_looking_for_the_slots_in_use_takes_no_memory_for_those_that_are_not(tmp_path: Path) -> None:
    counters = opened(tmp_path / "counters", capacity=65_536)
    counters.create("tkey", 0, 0)
    before = shared_pages()
    assert len(list(counters.slots())) == 1
    assert shared_pages() - before < 100
    counters.close()


def shared_pages() -> int:
    return int(Path("/proc/self/statm").read_text().split()[2])


def test_a_torn_copy_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    counters = opened(path)
    limits = KeyLimits(budget=100)
    slot = counters.create("tkey", 0, 0)
    counters.reserve(slot, limits, NOW, 0, 10, 0)
    before = counters.cell(slot, 0)
    counters.settle(slot, 0, 10, 7, 1)
    after = counters.cell(slot, 0)
    counters.close()
    content = path.read_bytes()
    newest = content.rindex((7).to_bytes(8, "little"))
    path.write_bytes(content[:newest] + b"\xff" + content[newest + 1 :])
    again = opened(path, incarnation=2)
    assert again.cell(slot, 0) == before != after
    again.close()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 40), st.integers(0, 40)), max_size=40))
def test_spent_and_reserved_never_pass_the_budget(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[int, int, int]]
) -> None:
    path = tmp_path_factory.mktemp("counters") / "counters"
    workers = [opened(path, worker) for worker in (0, 1)]
    limits = KeyLimits(budget=100)
    slot = workers[0].create("tkey", 0, 0)
    spent = 0
    for number, (worker, bound, price) in enumerate(calls):
        outcome = workers[worker].reserve(slot, limits, NOW, 0, bound, 0)
        assert isinstance(outcome, Headroom) == (spent + bound <= 100)
        if isinstance(outcome, Headroom):
            workers[worker].settle(slot, 0, bound, min(price, bound), number)
            spent += min(price, bound)
        assert workers[1 - worker].headroom(slot, limits, 0) == 100 - spent
    for counters in workers:
        counters.close()


def _hammer(path: str, worker: int) -> None:
    counters = opened(Path(path), worker, workers=4)
    slot = counters.create("tkey", 0, 0)
    limits = KeyLimits(budget=1_000)
    while isinstance(counters.reserve(slot, limits, NOW, 0, 1, 0), Headroom):
        counters.settle(slot, 0, 1, 1, 0)


def test_processes_that_race_use_a_budget_up_exactly(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    context = multiprocessing.get_context("spawn")
    racers = [context.Process(target=_hammer, args=(str(path), worker)) for worker in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
    counters = opened(path, 0, workers=4, incarnation=2)
    slot = counters.create("tkey", 0, 0)
    assert sum(counters.cell(slot, worker).spent for worker in range(4)) == 1_000
    counters.close()


def _hold_lock_and_die(path: str) -> None:
    counters = opened(Path(path), 0)
    counters.reserve(counters.create("tkey", 0, 0), KeyLimits(budget=100), NOW, 0, 10, 0)
    os.kill(os.getpid(), signal.SIGKILL)


def test_calls_of_a_killed_worker_are_no_longer_under_way_but_their_price_stays_reserved(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    victim = multiprocessing.get_context("spawn").Process(target=_hold_lock_and_die, args=(str(path),))
    victim.start()
    victim.join(60)
    counters = opened(path, 1)
    slot = counters.create("tkey", 0, 0)
    assert counters.cell(slot, 0) == Cell(1, 0, 0, 0, 10, 1)
    assert isinstance(counters.reserve(slot, KeyLimits(concurrency=1), NOW, 0, 0, 0), Headroom)
    assert isinstance(counters.reserve(slot, KeyLimits(concurrency=1), NOW, 0, 0, 0), Refusal)
    assert counters.headroom(slot, KeyLimits(budget=100), 0) == 90
    counters.close()


def test_corrections_count_in_their_period_only_and_are_absolute(
    pair: tuple[SharedCounters, SharedCounters],
) -> None:
    first, second = pair
    slot = first.create("dkey", 10, 100, -30)
    limits = KeyLimits(budget=1_000)
    assert second.headroom(slot, limits, 10) == 930
    for _ in range(3):
        second.correct(slot, 10, 50)
    assert first.headroom(slot, limits, 10) == 850
    first.correct(slot, 5, 7_000)
    assert first.headroom(slot, limits, 10) == 850
    assert first.headroom(slot, limits, 20) == 1_000
    first.correct(slot, 20, 300)
    assert second.headroom(slot, limits, 20) == 700
