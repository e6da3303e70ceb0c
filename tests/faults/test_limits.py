"""Requests and tokens per minute, and calls in flight, hold across workers."""

import asyncio
import time
from typing import Any

import pytest

from tests.conftest import Serve
from tests.faults.conftest import CHAT, ask
from tests.support.behaviours import Answer, Fail, Gate, Tokens
from tests.support.clients import Response, call_async, chat
from tests.support.server import Key, Polyforge
from tests.support.settings import Pool, settings
from tests.support.upstream import Upstream
from tests.support.waiting import eventually_async

MINUTE = 60.0
CALLERS = 60


@pytest.fixture(scope="module")
def pool() -> Pool:
    """Fewer models than elsewhere: several installations start here, and each reads them all."""
    return Pool(solos=40, prefix="limited-")


@pytest.fixture(scope="module", params=[1, 4], ids=["1 worker", "4 workers"])
def installation(request: pytest.FixtureRequest, serve: Serve, upstream: Upstream, pool: Pool) -> Polyforge:
    """Polyforge with one worker and with four."""
    return serve(settings(upstream, pool.settings()), workers=request.param)


async def race(server: Polyforge, key: Key, model: str, callers: int = CALLERS, **more: Any) -> list[Response]:
    request = chat(model, **more)
    calls = [call_async(server.url, CHAT, key=key.key, json=request, seconds=60) for _ in range(callers)]
    return await asyncio.gather(*calls)


def assert_refused_for_now(responses: list[Response]) -> None:
    for response in responses:
        assert (response.status, response.error["code"]) == (429, "rate_limit_exceeded"), response.body
        assert 0 < float(response.headers["retry-after"]) <= 2 * MINUTE
        assert response.headers.get("x-should-retry") != "false"


def assert_tells_limits(responses: list[Response]) -> None:
    for response in responses:
        assert response.headers["x-ratelimit-limit-requests"]
        assert response.headers["x-ratelimit-remaining-requests"] == "0"


def split(responses: list[Response]) -> tuple[list[Response], list[Response]]:
    served = [response for response in responses if response.status == 200]
    return served, [response for response in responses if response.status != 200]


async def test_requests_per_minute(installation: Polyforge, upstream: Upstream, pool: Pool) -> None:
    model, limit = pool.solo(), 5
    key = installation.create_key(rpm=limit)
    started = time.monotonic()
    served, refused = split(await race(installation, key, model))
    regained = limit * (time.monotonic() - started) / MINUTE
    assert limit <= len(served) <= limit + regained
    assert_refused_for_now(refused)
    assert_tells_limits(refused)
    assert len(upstream.requests(model)) == len(served)


@pytest.mark.parametrize("concurrent", [True, False], ids=["concurrent", "sequential"])
async def test_tokens_per_minute(installation: Polyforge, upstream: Upstream, pool: Pool, concurrent: bool) -> None:
    model, limit, used = pool.solo(), 4000, Tokens(20, 40)
    per_call = used.prompt + used.completion
    upstream.script(model, Answer(tokens=used))
    key = installation.create_key(tpm=limit)
    started = time.monotonic()
    responses: list[Response] = []
    while not responses or responses[-1].status == 200:
        responses += await race(installation, key, model, 100 if concurrent else 1, max_tokens=used.completion)
    served, refused = split(responses)
    allowed = limit * (1 + (time.monotonic() - started) / MINUTE)
    assert len(served) * per_call <= allowed
    assert concurrent or len(served) * per_call >= limit / 2
    assert served
    assert_refused_for_now(refused)


@pytest.mark.parametrize("stream", [False, True])
async def test_calls_in_flight(installation: Polyforge, upstream: Upstream, pool: Pool, stream: bool) -> None:
    model, limit, gate = pool.solo(), 3, Gate()
    upstream.script(model, Answer(pauses={1: gate}) if stream else Answer(before_head=gate))
    key = installation.create_key(concurrency=limit)
    request = chat(model, stream=stream)
    calls = [
        asyncio.create_task(call_async(installation.url, CHAT, key=key.key, json=request, seconds=60))
        for _ in range(CALLERS)
    ]
    await eventually_async(lambda: sum(call.done() for call in calls) >= CALLERS - limit, "all others being refused")
    assert len(await asyncio.to_thread(upstream.wait_for, model, limit)) == limit
    gate.open()
    served, refused = split(await asyncio.gather(*calls))
    assert len(served) == limit
    assert_refused_for_now(refused)
    again = await race(installation, key, pool.solo(), limit)
    assert [response.status for response in again] == [200] * limit


def test_failed_calls_give_their_tokens_back(installation: Polyforge, upstream: Upstream, pool: Pool) -> None:
    model, key = pool.solo(), installation.create_key(tpm=1000)
    upstream.script(model, Fail(400))
    assert [ask(installation, key, model, max_tokens=400).status for _ in range(10)] == [400] * 10


def test_limits_are_told_with_every_answer(installation: Polyforge, pool: Pool) -> None:
    key = installation.create_key(rpm=10, tpm=100_000)
    first, second = (ask(installation, key, pool.solo()) for _ in range(2))
    assert first.headers["x-ratelimit-limit-requests"] == "10"
    assert first.headers["x-ratelimit-limit-tokens"] == "100000"
    remaining = [int(response.headers["x-ratelimit-remaining-requests"]) for response in (first, second)]
    assert remaining == [9, 8]
    assert 0 <= int(second.headers["x-ratelimit-remaining-tokens"]) < 100_000
    assert second.headers["x-ratelimit-reset-requests"]


def test_keys_do_not_share_limits(installation: Polyforge, pool: Pool) -> None:
    model = pool.solo()
    keys = [installation.create_key(rpm=1) for _ in range(3)]
    assert [ask(installation, key, model).status for key in keys] == [200, 200, 200]
