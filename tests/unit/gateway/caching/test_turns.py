"""Of many requests that are the same and come at once, one is answered upstream."""

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from polyforge.adapters.caches.memory import MemoryCache, Settings
from polyforge.gateway.caching.lookup import Lookup
from polyforge.gateway.caching.service import AnswerCache
from polyforge.gateway.caching.turns import Turns
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.tasks import InferenceRequest
from polyforge.kernel.usage import Usage
from polyforge.ports.provider import Reply
from polyforge.registry.caching import CacheRules
from polyforge.telemetry.hops import Hops
from polyforge.tenancy.callers import Caller
from polyforge.wiring.caching import load_likeness

CLOCK = FakeClock()
RULES = CacheRules(True, 60.0, 60.0, "project", 0.0, None)
ANSWER = Reply(Usage(1, output=1), b'{"said": "hello"}', finish="stop")
NO_EMBED: Any = None


class House:
    """A cache, and an upstream that answers when it is let."""

    def __init__(self, answer: Reply = ANSWER) -> None:
        self.cache = AnswerCache(MemoryCache(Settings(), CLOCK), 1024, CLOCK, load_likeness)
        self.answer = answer
        self.asked = 0
        self.failing = False
        self.may_answer = asyncio.Event()

    async def ask(self, key: str = "k", *, stream: bool = False, seconds: float = 60.0) -> str:
        """What came of a request: `made`, `hit` or `failed`."""
        job = _job(stream, seconds)
        lookup = job.lookup = Lookup(RULES, "use", 60.0, body=job.request.body, key=key)
        try:
            found = self.cache.events if stream else self.cache.reply
            if await found(job, lookup, NO_EMBED) is not None:
                return "hit"
            self.asked += 1
            await self.may_answer.wait()
            job.status = "error" if self.failing else "ok"
            if not self.failing:
                self.cache.keep_reply(job, lookup, self.answer)
            return "failed" if self.failing else "made"
        except asyncio.CancelledError:
            job.status = "cancelled"
            raise
        finally:
            self.cache.leave(job, lookup)

    @property
    def turns(self) -> int:
        return len(self.cache._turns)


def _job(stream: bool, seconds: float) -> Any:
    request = InferenceRequest("chat", "openai", "m", b"{}", stream=stream)
    deadline = asyncio.get_running_loop().time() + seconds
    caller = Caller("k", "k", "o", "p", frozenset())
    hops = Hops()
    rest: Any = {
        "canonical": False,
        "takes": [],
        "lane": None,
        "reserved": 0,
        "output_limit": None,
        "cost": 0,
        "price": 0,
    }
    return SimpleNamespace(request=request, caller=caller, deadline=deadline, hops=hops, status="ok", **rest)


async def settled(house: House, asked: int) -> None:
    """Until nobody gets any further."""
    for _ in range(20):
        await asyncio.sleep(0)
    assert house.asked == asked


async def test_one_asks_and_the_others_are_given_what_it_got() -> None:
    house = House()
    others = [asyncio.create_task(house.ask("other"))]
    tasks = [asyncio.create_task(house.ask()) for _ in range(8)]
    await settled(house, 2)
    house.may_answer.set()
    assert sorted(await asyncio.gather(*tasks)) == ["hit"] * 7 + ["made"]
    assert await others[0] == "made"
    assert (house.asked, house.turns) == (2, 0)


async def test_when_the_first_gives_up_another_takes_its_place() -> None:
    house = House()
    first = asyncio.create_task(house.ask())
    tasks = [asyncio.create_task(house.ask()) for _ in range(8)]
    await settled(house, 1)
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first
    await settled(house, 2)
    house.may_answer.set()
    assert sorted(await asyncio.gather(*tasks)) == ["hit"] * 7 + ["made"]
    assert (house.asked, house.turns) == (2, 0)


async def test_who_waits_may_give_up_and_nobody_else_does() -> None:
    house = House()
    tasks = [asyncio.create_task(house.ask()) for _ in range(3)]
    await settled(house, 1)
    tasks[1].cancel()
    await settled(house, 1)
    house.may_answer.set()
    assert await tasks[0] == "made"
    assert await tasks[2] == "hit"
    assert tasks[1].cancelled()


@pytest.mark.parametrize(
    ("failing", "answer"),
    [(True, ANSWER), (False, Reply(None, b"{}", finish="content_filter"))],
    ids=["error", "filter"],
)
async def test_what_is_not_kept_holds_the_others_up_once_only(failing: bool, answer: Reply) -> None:
    house = House(answer)
    house.failing = failing
    tasks = [asyncio.create_task(house.ask()) for _ in range(4)]
    await settled(house, 1)
    house.may_answer.set()
    assert set(await asyncio.gather(*tasks)) == {"failed" if failing else "made"}
    assert (house.asked, house.turns) == (4, 0)


async def test_nobody_waits_past_half_of_its_time() -> None:
    house = House()
    slow = asyncio.create_task(house.ask())
    await settled(house, 1)
    hasty = asyncio.create_task(house.ask(seconds=0.02))
    async with asyncio.timeout(30):
        while house.asked < 2:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.005)
    house.may_answer.set()
    assert await asyncio.gather(slow, hasty) == ["made", "made"]
    assert house.turns == 0


async def test_streams_neither_wait_nor_are_waited_for() -> None:
    house = House()
    tasks = [asyncio.create_task(house.ask(stream=stream)) for stream in (True, False, True)]
    await settled(house, 3)
    house.may_answer.set()
    assert await asyncio.gather(*tasks) == ["made"] * 3


async def test_the_time_of_waiting_is_an_upstreams() -> None:
    turns, house = Turns(), House()
    assert await turns.take("k", 1.0)
    house.cache._turns = turns
    job = _job(stream=False, seconds=60.0)
    lookup = Lookup(RULES, "use", 60.0, body=job.request.body, key="k")
    waiting = asyncio.create_task(house.cache.reply(job, lookup, NO_EMBED))
    await settled(house, 0)
    turns.end("k", through=True)
    assert await waiting is None
    assert job.hops.waited > 0
    assert not lookup.turn
