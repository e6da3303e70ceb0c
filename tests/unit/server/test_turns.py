"""Turns of what is no inference."""

import asyncio

import pytest

from polyforge.kernel.errors import Unavailable
from polyforge.server.turns import Turns


async def _settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_no_more_than_so_many_are_worked_on_and_in_the_order_they_came() -> None:
    turns, began, go_on = Turns(at_once=2, hold_seconds=60), list[int](), asyncio.Event()

    async def ask(number: int) -> None:
        async with turns.taken():
            began.append(number)
            await go_on.wait()

    asking = [asyncio.create_task(ask(number)) for number in range(5)]
    await _settled()
    assert began == [0, 1]
    go_on.set()
    await asyncio.gather(*asking)
    assert began == [0, 1, 2, 3, 4]


async def test_one_that_takes_long_goes_on_without_its_turn_which_is_given_back_once() -> None:
    turns, long, went = Turns(at_once=1, hold_seconds=0.01), asyncio.Event(), list[str]()

    async def wait_long() -> None:
        async with turns.taken():
            await long.wait()
            went.append("long")

    async def ask(name: str, until: asyncio.Event) -> None:
        async with turns.taken():
            went.append(name)
            await until.wait()

    waiting = asyncio.create_task(wait_long())
    await _settled()
    over = asyncio.Event()
    over.set()
    await ask("short", over)
    assert went == ["short"]
    long.set()
    await waiting
    assert went == ["short", "long"]
    # Were the turn of the long one given back twice, two would be worked on at once now.
    first = asyncio.create_task(ask("first", asyncio.Event()))
    second = asyncio.create_task(ask("second", over))
    await _settled()
    assert went == ["short", "long", "first"]
    first.cancel()
    await second
    assert went[-1] == "second"


async def _hold(turns: Turns, until: asyncio.Event) -> None:
    async with turns.taken():
        await until.wait()


async def test_who_comes_when_too_many_wait_is_told_to_come_again() -> None:
    turns, over = Turns(at_once=1, most_waiting=2, hold_seconds=60), asyncio.Event()
    asking = [asyncio.create_task(_hold(turns, over)) for _ in range(3)]
    await _settled()
    with pytest.raises(Unavailable) as refused:
        await _hold(turns, over)
    assert refused.value.retry_after == 1.0
    over.set()
    await asyncio.gather(*asking)
    await _hold(turns, over)


async def test_a_request_that_is_given_up_takes_no_turn_with_it() -> None:
    turns, over = Turns(at_once=1, hold_seconds=60), asyncio.Event()
    first, second = (asyncio.create_task(_hold(turns, over)) for _ in range(2))
    await _settled()
    second.cancel()
    first.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    over.set()
    await asyncio.wait_for(_hold(turns, over), 10)
