"""The overview's pure parts: latencies in steps, what was dropped, what needs attention, and what is kept a moment."""

import asyncio

import msgspec
import pytest

from polyforge.kernel.clock import FakeClock
from polyforge.operations.overview import attention
from polyforge.operations.overview.drops import LATELY_SECONDS, Drops
from polyforge.operations.overview.fresh import Fresh
from polyforge.operations.overview.schemas import CoolingView
from polyforge.operations.overview.traffic import Minute, percentile, total
from polyforge.telemetry.aggregation import Totals
from polyforge.telemetry.families import PAYLOADS_DROPPED
from polyforge.tenancy.limits.own import OwnBudget


@pytest.mark.parametrize(("share", "wanted"), [(0.5, 20.0), (0.95, 38.0), (1.0, 81.5), (0.0, 1.0)])
def test_a_percentile_is_the_latency_that_this_share_did_not_exceed(share: float, wanted: float) -> None:
    assert percentile(dict.fromkeys([*range(1, 40), 80], 1), share) == wanted


def test_without_requests_there_is_no_percentile() -> None:
    assert percentile({}, 0.5) is None


def test_minutes_add_up() -> None:
    first = Minute(4, 1, 2, 40, 10, {10: 3, 248: 1})
    assert total([first, Minute(1, 0, 0, 5, 5, {10: 1}), Minute()]) == Minute(5, 1, 2, 45, 15, {10: 4, 248: 1})


def totals(count: float) -> Totals:
    return {(PAYLOADS_DROPPED.name, ()): [count]}


def test_only_what_was_dropped_lately_is_told() -> None:
    clock = FakeClock()
    drops = Drops(clock)
    assert drops.since_lately(totals(5)) == {}
    clock.advance(60)
    assert drops.since_lately(totals(8)) == {"payloads of requests": 3}
    for _ in range(int(LATELY_SECONDS / 60)):
        clock.advance(60)
        drops.since_lately(totals(8))
    assert drops.since_lately(totals(8)) == {}


def budget(used: int, *, hard: bool = True) -> OwnBudget:
    return OwnBudget(None, "id", "team", "key", "id", "day", 1_000_000, used, hard=hard, starts_again=None)


def test_budgets_need_attention_when_they_are_nearly_spent_and_more_when_they_are() -> None:
    found = attention.of_budgets([budget(799_999), budget(800_000), budget(1_000_000), budget(2_000_000, hard=False)])
    assert [(each.code, each.severity) for each in found] == [
        ("budget_nearly_spent", "warning"),
        ("budget_spent", "critical"),
        ("budget_spent", "warning"),
    ]
    assert "1.00 USD of 1.00 USD are used; calls are refused" in found[1].message
    assert all(each.hint for each in found)


def test_the_most_severe_comes_first_and_there_is_an_end() -> None:
    cooling = CoolingView(model="m", provider="p", deployment="d", cause="rate", seconds=3.4)
    many = attention.of_cooling([cooling] * 200) + attention.of_budgets([budget(1_000_000)])
    found = attention.sorted_by_severity([attention.of_console(), *many])
    assert len(found) == attention.MOST
    assert found[0].code == "budget_spent"
    assert found[1].message == "d at p is left alone for 3 s more, because it had too many requests."


class _Counted(msgspec.Struct):
    looks: int = 0

    async def look(self) -> int:
        self.looks += 1
        await asyncio.sleep(0)
        return self.looks


async def test_one_look_serves_all_who_ask_within_its_time() -> None:
    clock, counted = FakeClock(), _Counted()
    fresh: Fresh[str, int] = Fresh("looks", clock, 2.0, 2)
    assert await asyncio.gather(*(fresh.get("a", counted.look) for _ in range(5))) == [1] * 5
    clock.advance(1.9)
    assert await fresh.get("a", counted.look) == 1
    clock.advance(0.1)
    assert await fresh.get("a", counted.look) == 2
    await fresh.close()


async def test_a_look_that_fails_is_not_kept() -> None:
    counted = _Counted()
    fresh: Fresh[str, int] = Fresh("looks", FakeClock(), 2.0, 2)

    async def fail() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await fresh.get("a", fail)
    assert await fresh.get("a", counted.look) == 1
    assert await fresh.get("b", counted.look) == 2
    assert await fresh.get("c", counted.look) == 3
    # The one that was asked for first made room.
    assert await fresh.get("a", counted.look) == 4
