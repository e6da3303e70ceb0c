"""What a run says is written in its order, once, and bounded; a database that is away is waited for."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from polyforge.flows.running import notes as module
from polyforge.flows.running.notes import Page, RunNotes, Said
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import Unavailable
from tests.support.flow_runs import MemoryPages

NOTHING = Said()


def noting(pages: Any, said: Said = NOTHING, most: int = 1_000) -> RunNotes:
    return RunNotes(pages, FakeClock(), said, most)


async def test_events_are_written_in_groups_and_in_order() -> None:
    pages = MemoryPages()
    notes = noting(pages)
    notes.event("run.started")
    for name in ("a", "b", "c"):
        notes.event("node.started", name)
        notes.event("node.finished", name, outputs={})
    assert pages.last == 0, "nothing waits for them"
    assert await notes.flush()
    assert len(pages.states) == 1
    assert [(row.type, row.node) for row in pages.rows.values()][:3] == [
        ("run.started", ""),
        ("node.started", "a"),
        ("node.finished", "a"),
    ]


async def test_nothing_is_said_twice_after_a_kill() -> None:
    pages = MemoryPages()
    notes = noting(pages)
    notes.event("node.finished", "a")
    await notes.flush()
    again = noting(pages, pages.said())
    again.event("node.started", "a")
    again.event("node.finished", "a")
    again.event("node.finished", "b")
    await again.flush()
    assert [(row.type, row.node) for row in pages.rows.values()] == [("node.finished", "a"), ("node.finished", "b")]


async def test_text_is_put_together_and_goes_with_the_result() -> None:
    pages = MemoryPages()
    notes = noting(pages)
    for piece in ("a", "b", "c"):
        notes.token("chat", "", piece)
    await notes.flush()
    notes.token("chat", "", "d")
    await notes.flush()
    assert [row.payload["text"] for row in pages.rows.values()] == ["abc", "d"]
    killed = noting(pages, pages.said())
    killed.event("node.started", "chat")
    killed.token("chat", "", "anew")
    await killed.flush()
    assert [row.payload.get("text") for row in pages.rows.values()] == [None, "anew"]
    killed.token("chat", "", " and on")
    killed.event("node.finished", "chat")
    await killed.flush()
    assert [row.type for row in pages.rows.values()] == ["node.started", "node.finished"]


class Piece(str):
    """A piece of text that counts how often somebody asks for its length."""

    __slots__ = ()
    asked = 0

    def __len__(self) -> int:
        Piece.asked += 1
        return super().__len__()


async def test_pieces_are_measured_once_and_empty_ones_are_nothing() -> None:
    pages = MemoryPages()
    notes = noting(pages)
    for _ in range(100):
        notes.token("chat", "", "")
    await notes.flush()
    assert pages.last == 0
    for _ in range(100):
        notes.token("chat", "", Piece("a"))
    assert Piece.asked <= 200, "each by itself, not all that wait for each"
    await notes.flush()
    assert [row.payload["text"] for row in pages.rows.values()] == ["a" * 100]


class Away(MemoryPages):
    """A database that comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.away = True

    async def write(self, page: Page) -> Sequence[int]:
        """Add events, if it is there."""
        if self.away:
            raise Unavailable("not now")
        return await super().write(page)


async def test_what_cannot_be_written_now_is_written_later() -> None:
    pages = Away()
    notes = noting(pages)
    notes.event("node.started", "a")
    notes.token("a", "", "text")
    assert not await notes.flush()
    notes.event("node.finished", "a", outputs={"x": 1})
    assert not await notes.flush()
    pages.away = False
    assert await notes.flush()
    assert [row.type for row in pages.rows.values()] == ["node.started", "node.finished"]


class Slow(MemoryPages):
    """A database that takes until it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def write(self, page: Page) -> Sequence[int]:
        """Add events, later."""
        self.reached.set()
        await self.go_on.wait()
        return await super().write(page)


async def test_what_is_written_while_somebody_gives_up_counts_as_written() -> None:
    pages = Slow()
    notes = noting(pages)
    notes.event("node.started", "a")
    flushing = asyncio.create_task(notes.flush())
    await pages.reached.wait()
    flushing.cancel()
    await asyncio.sleep(0)
    pages.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await flushing
    assert await notes.flush()
    assert [row.type for row in pages.rows.values()] == ["node.started"]


async def test_the_text_of_a_node_that_ends_while_it_is_written_goes_all_the_same() -> None:
    pages = Slow()
    notes = noting(pages)
    notes.token("chat", "", "text")
    flushing = asyncio.create_task(notes.flush())
    await pages.reached.wait()
    notes.event("node.finished", "chat")
    pages.go_on.set()
    await flushing
    await notes.flush()
    assert [row.type for row in pages.rows.values()] == ["node.finished"]


async def test_a_run_that_says_too_much_needs_no_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    pages = MemoryPages()
    notes = noting(pages)
    for number in range(4):
        notes.event("node.finished", f"n{number}", outputs={"x": 1}, key=f"n{number}")
    await notes.flush()
    assert ["outputs" in row.payload for row in pages.rows.values()] == [True, True, False, False]


async def test_a_run_has_so_many_events_and_its_end() -> None:
    pages = MemoryPages()
    notes = noting(pages, most=3)
    for number in range(6):
        notes.event("node.finished", f"n{number}")
    notes.end("run.succeeded", {"state": "succeeded"})
    await notes.flush()
    assert [row.type for row in pages.rows.values()] == [
        "node.finished",
        "node.finished",
        "node.finished",
        "events.left_out",
        "run.succeeded",
    ]
