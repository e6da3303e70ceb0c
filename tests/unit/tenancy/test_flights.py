"""Look-ups that one makes and many wait for."""

import asyncio

import pytest

from polyforge.kernel.errors import NotFound, Unavailable
from polyforge.tenancy.flights import Flights


class Library:
    """Looks things up when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.open = asyncio.Event()

    async def look(self) -> int:
        self.asked += 1
        await self.open.wait()
        return self.asked


async def test_many_who_ask_for_the_same_wait_for_one_look_up() -> None:
    library, flights = Library(), Flights[str, int]("books", 1)
    waiting = [asyncio.create_task(flights.join("a", library.look)) for _ in range(50)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    library.open.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == [1] * 49
    assert await flights.join("a", library.look) == 2


async def test_so_many_at_once_and_no_more() -> None:
    library, flights = Library(), Flights[str, int]("books", 2)
    waiting = [asyncio.create_task(flights.join(name, library.look)) for name in "abab"]
    await asyncio.sleep(0)
    assert len(flights) == 2
    with pytest.raises(Unavailable, match="too many books at once"):
        await flights.join("c", library.look)
    library.open.set()
    assert len(await asyncio.gather(*waiting)) == 4
    assert len(flights) == 0


async def test_a_failure_is_everybodys_and_the_next_one_looks_again() -> None:
    flights = Flights[str, int]("books", 1)

    async def lost() -> int:
        raise NotFound("lost")

    answers = await asyncio.gather(*(flights.join("a", lost) for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [NotFound] * 3
    library = Library()
    library.open.set()
    assert await flights.join("a", library.look) == 1


async def test_who_still_waits_at_the_end_is_let_go() -> None:
    library, flights = Library(), Flights[str, int]("books", 1)
    waiting = asyncio.create_task(flights.join("a", library.look))
    await asyncio.sleep(0)
    await flights.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert len(flights) == 0
