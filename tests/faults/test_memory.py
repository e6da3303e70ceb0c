"""Memory is flat: whatever happens to many requests, and however many streams are open, nothing piles up."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from tests.conftest import Serve
from tests.faults.conftest import CHAT
from tests.support.behaviours import Answer, Fail, Gate
from tests.support.clients import Response, call_async, chat, request_bytes
from tests.support.server import Polyforge
from tests.support.settings import UPSTREAM_KEY, settings, solo
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

IN_A_SOAK, OTHERWISE = 200_000, 2_000
FIRST_PART = 10
"""Memory is looked at after a tenth of the requests, and after all of them."""
GROWTH = 1.1
AT_ONCE = 24
QUESTIONS = 40
PATIENCE = 60.0
IDLE_STREAMS = 2_000
MOST_WITH_IDLE_STREAMS = 400_000_000
MB = 1_000_000
MODELS: dict[str, Any] = {
    **solo("plain", price={"input": 1.0, "output": 2.0}),
    **solo("kept", price={"input": 1.0, "output": 2.0}, cache={"ttl": 600}),
    **solo("slow"),
    **solo("cut"),
    **solo("lost"),
    **solo("down"),
    **solo("guarded", guardrails=["mail"]),
    **solo("scarce"),
    **solo("idle", provider="roomy"),
}
SECTIONS: dict[str, Any] = {
    "guardrails": {"mail": {"use": "pii", "on": ["input"], "action": "block", "kinds": ["email"]}},
    "limits": {
        "none": {"subject": "model", "subject_id": "scarce", "measure": "requests", "amount": 0, "window": "day"},
        "many": {"subject": "key", "measure": "requests", "amount": 10**9, "window": "minute"},
        "tokens": {"subject": "project", "measure": "tokens", "amount": 10**12, "window": "month"},
        "budget": {"subject": "project", "measure": "money", "amount": 10**6, "window": "month"},
    },
    "cache": {"max_bytes": 2 * 1024 * 1024},
    "gateway": {"cooldown_seconds": 0},
}
PERSONAL = "Write to jane.doe@acme.co."


@pytest.fixture(scope="module")
def forgetful() -> Iterator[Upstream]:
    """An upstream that does not pile up requests itself."""
    server = Upstream(api_key=UPSTREAM_KEY, remembers=False).start()
    server.script("slow", Answer(pieces=200, gap=0.05))
    server.script("cut", Answer(ending="reset", after=2))
    server.script("lost", Answer(ending="reset"))
    server.script("down", Fail(500))
    yield server
    server.stop()


@pytest.fixture
def place(serve: Serve, forgetful: Upstream) -> Polyforge:
    roomy = {"use": "openai", "base_url": forgetful.url, "api_key": UPSTREAM_KEY, "max_connections": IDLE_STREAMS}
    return serve(settings(forgetful, MODELS, providers={"roomy": roomy}, **SECTIONS))


def resident(server: Polyforge) -> int:
    """Bytes that the gateways hold."""
    return sum(psutil.Process(pid).memory_info().rss for pid in server.pids("gateway"))


def proportional(server: Polyforge) -> int:
    """Bytes that all of its processes hold, what they share counted once."""
    family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    return sum(process.memory_full_info().pss for process in family)


class Crowd:
    """Callers of all kinds, good and bad; what each must see is asserted."""

    def __init__(self, server: Polyforge) -> None:
        self._url = server.url
        self._key = server.create_key(rpm=10**6, concurrency=1_000, budget_usd=1_000_000).key
        self._numbers: Iterator[int] = iter(())
        self.seen: Counter[str] = Counter()
        self._turns: list[Callable[[int], Awaitable[object]]] = [
            self._whole,
            self._streamed,
            self._known,
            self._leaves,
            self._new,
            partial(self._fails, "cut", 200, stream=True),
            self._known,
            partial(self._fails, "guarded", 400, content=PERSONAL),
            self._whole,
            partial(self._fails, "scarce", 429),
            self._streamed,
            partial(self._fails, "lost", 502),
            self._known,
            partial(self._fails, "down", 502),
            partial(self._fails, "guarded", 400, content=PERSONAL, stream=True),
            partial(self._fails, "nobody", 404),
        ]

    async def call(self, numbers: range) -> None:
        """Make the requests of these numbers, some at a time."""
        self._numbers = iter(numbers)
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._take_turns())

    async def _take_turns(self) -> None:
        for number in self._numbers:
            await self._turns[number % len(self._turns)](number)

    async def _ask(self, model: str, content: str, **more: Any) -> Response:
        request = chat(model, content, **more)
        answer = await call_async(self._url, CHAT, key=self._key, json=request, seconds=PATIENCE)
        self.seen[f"{model} {answer.status}"] += 1
        return answer

    async def _whole(self, number: int) -> None:
        answer = await self._ask("plain", f"question {number}")
        assert (answer.status, answer.complete) == (200, True), answer

    async def _streamed(self, number: int) -> None:
        answer = await self._ask("plain", f"question {number}", stream=True)
        assert (answer.status, answer.complete, answer.finished) == (200, True, True), answer

    async def _known(self, number: int) -> None:
        answer = await self._ask("kept", f"known {number % QUESTIONS}", stream=number % 2 == 0)
        assert (answer.status, answer.complete) == (200, True), answer
        self.seen[answer.headers["x-polyforge-cache"]] += 1

    async def _new(self, number: int) -> None:
        answer = await self._ask("kept", f"new {number}")
        assert (answer.status, answer.headers["x-polyforge-cache"]) == (200, "miss"), answer

    async def _leaves(self, number: int) -> None:
        """Hang up in the middle of a stream."""
        opened, written = await open_stream(self._url, self._key, "slow", f"question {number}")
        await opened.readuntil(b"data: ")
        written.transport.abort()
        self.seen["left"] += 1

    async def _fails(self, model: str, status: int, number: int, content: str = "question", **more: Any) -> None:
        answer = await self._ask(model, f"{content} {number}", **more)
        assert answer.status == status, answer
        assert not answer.finished, answer


async def open_stream(
    url: str, key: str, model: str, content: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which a stream was asked for."""
    parts = urlsplit(url)
    opened, written = await asyncio.open_connection(parts.hostname, parts.port)
    written.write(request_bytes("POST", CHAT, key=key, json=chat(model, content, stream=True)))
    return opened, written


@pytest.mark.soak
@pytest.mark.timeout(7_200)
async def test_memory_is_flat_over_many_requests_streams_and_faults(place: Polyforge, soak: bool) -> None:
    """A hundredth in `make test`: a tenth takes minutes."""
    count = IN_A_SOAK if soak else OTHERWISE
    crowd = Crowd(place)
    await crowd.call(range(count // FIRST_PART))
    before = resident(place)
    await crowd.call(range(count // FIRST_PART, count))
    after = resident(place)
    print(f"{before / MB:.1f} MB after {count // FIRST_PART} requests, {after / MB:.1f} MB after {count}: {crowd.seen}")
    assert crowd.seen["hit"] > count // 10
    assert after <= before * GROWTH
    eventually(lambda: _in_flight(place) == 0, "nothing in flight")


def _in_flight(server: Polyforge) -> float:
    lines = server.call("/metrics", method="GET").body.decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("polyforge_in_flight"))


@pytest.mark.soak
async def test_idle_streams_are_small(place: Polyforge, forgetful: Upstream, soak: bool) -> None:
    """Some of them tell what one takes, and with that what all would."""
    count = IDLE_STREAMS if soak else IDLE_STREAMS // 10
    gate, key = Gate(), place.create_key().key
    forgetful.script("idle", Answer(pauses={1: gate}))
    before = proportional(place)
    streams = [await open_stream(place.url, key, "idle", f"question {number}") for number in range(count)]
    for opened, _ in streams:
        await opened.readuntil(b"data: ")
    held = proportional(place)
    each = (held - before) / count
    print(f"{before / MB:.1f} MB, with {count} idle streams {held / MB:.1f} MB: {each / 1000:.1f} kB each")
    gate.open()
    for opened, written in streams:
        assert b"[DONE]" in await opened.read()
        written.close()
    assert before + IDLE_STREAMS * each < MOST_WITH_IDLE_STREAMS
