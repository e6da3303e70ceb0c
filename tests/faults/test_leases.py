"""Two machines that share limits through Redis and keys through PostgreSQL: nothing is ever spent twice."""

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.conftest import Serve
from tests.faults.conftest import CHAT, MICROS
from tests.faults.test_budget_race import new_database
from tests.support.behaviours import Answer, Gate, Tokens
from tests.support.clients import Response, call_async, chat
from tests.support.limits import DEBUG, in_force
from tests.support.postgres import Postgres
from tests.support.redis import RedisServer
from tests.support.server import Key, Polyforge
from tests.support.settings import PER_CALL_USD, UPSTREAM_KEY, Pool, settings
from tests.support.upstream import Upstream
from tests.support.waiting import eventually_async

CALLERS = 200
ROOM = 10
USED = Tokens(prompt=20, completion=40)
RATES = {"input": 1000.0, "output": 2000.0}
CALL_MICROS = USED.prompt * 1000 + USED.completion * 2000
NUMBERS = itertools.count(1)


class Pair(NamedTuple):
    """Two machines, and what they share limits through. The admin key is that of the second, which started last."""

    first: Polyforge
    second: Polyforge
    redis: RedisServer

    @property
    def both(self) -> tuple[Polyforge, Polyforge]:
        return self.first, self.second


@pytest.fixture(scope="module")
def pool() -> Pool:
    """Fewer models than elsewhere: two installations start here, and each reads them all."""
    return Pool(solos=20, prefix="leased-")


@pytest.fixture(scope="module")
def pair(serve: Serve, upstream: Upstream, pool: Pool, postgres: Postgres) -> Iterator[Pair]:
    """Two machines with data folders of their own, one with two workers."""
    redis = RedisServer()
    try:
        redis.start()
        url = new_database(postgres)
        metered = {"deployments": [{"provider": "lab", "model": "leased-metered"}], "price": RATES}
        spare = {"deployments": [{"provider": "spare", "model": "leased-spare"}], "price": {"per_call": PER_CALL_USD}}
        models = {**pool.settings(), "leased-metered": metered, "leased-spare": spare}
        upstream.script("leased-metered", Answer(tokens=USED))
        providers = {"spare": {"use": "openai", "base_url": upstream.url, "api_key": UPSTREAM_KEY}}
        shared = {"use": "redis", "url": redis.url}
        declared = settings(upstream, models, providers=providers, shared_limits=shared, telemetry=DEBUG)
        yield Pair(serve(declared, database_url=url), serve(declared, workers=2, database_url=url), redis)
    finally:
        redis.remove()


async def race(places: tuple[Polyforge, ...], key: Key, request: dict[str, Any], callers: int) -> list[Response]:
    """Everyone at once, each on a connection of their own, `callers` on each machine."""
    calls = [call_async(place.url, CHAT, key=key.key, json=request, seconds=60) for place in places * callers]
    return await asyncio.gather(*calls)


def served(responses: list[Response]) -> int:
    """How many were served; the others were refused as they should be."""
    assert {response.status for response in responses} <= {200, 429}, [each.body for each in responses][:3]
    return sum(response.status == 200 for response in responses)


async def serves(place: Polyforge, key: Key, model: str) -> None:
    """Wait until a machine knows how much is left again; it takes one call."""

    async def is_served() -> bool:
        return (await race((place,), key, chat(model), 1))[0].status == 200

    for _ in range(200):
        if await is_served():
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"not served again\n{place.tail()}")


async def test_a_budget_is_spent_to_the_end_and_no_further(pair: Pair, upstream: Upstream, pool: Pool) -> None:
    model, key = pool.solo(), pair.second.create_key(budget_usd=ROOM * PER_CALL_USD)
    assert served(await race(pair.both, key, chat(model), CALLERS)) == ROOM
    assert len(upstream.requests(model)) == ROOM


async def test_a_limit_of_many_keys_holds_over_both(pair: Pair, upstream: Upstream, pool: Pool) -> None:
    model, key = pool.solo(), pair.second.create_key()
    rule = {"subject": "model", "subject_id": model, "measure": "requests", "amount": ROOM, "window": "day"}
    with in_force(*pair.both) as changed:
        made = pair.second.api("POST", "/limits", {"name": f"leased {next(NUMBERS)}", **rule})
        assert made.status == 201, made.body
        changed.append(made.json["id"])
    assert served(await race(pair.both, key, chat(model), CALLERS)) == ROOM
    assert len(upstream.requests(model)) == ROOM
    assert pair.second.api("GET", f"/limits/{made.json['id']}").json["use"]["used"] == ROOM


async def test_a_budget_of_tokens_is_usable_and_never_passed(pair: Pair) -> None:
    key = pair.second.create_key(budget_usd=50 * CALL_MICROS / MICROS)
    count = 0
    for _ in range(20):
        some = served(await race(pair.both, key, chat("leased-metered", max_tokens=USED.completion), 10))
        count += some
        if not some:
            break
    assert 40 <= count <= 50


async def test_a_rate_holds_over_both(pair: Pair, pool: Pool) -> None:
    key = pair.second.create_key(rpm=20)
    assert served(await race(pair.both, key, chat(pool.solo()), 40)) == 20


async def test_calls_under_way_are_counted_over_both(pair: Pair, upstream: Upstream, pool: Pool) -> None:
    model, gate, key = pool.solo(), Gate(), pair.second.create_key(concurrency=4)
    upstream.script(model, Answer(before_head=gate))
    calls = [
        asyncio.create_task(call_async(place.url, CHAT, key=key.key, json=chat(model), seconds=60))
        for place in pair.both * 20
    ]
    await eventually_async(lambda: sum(call.done() for call in calls) >= 36, "all others being refused")
    gate.open()
    assert served(await asyncio.gather(*calls)) == 4


async def test_a_providers_limit_holds_over_both(pair: Pair, upstream: Upstream) -> None:
    key = pair.second.create_key()
    rule = {"subject": "provider", "subject_id": "spare", "measure": "requests", "amount": ROOM, "window": "total"}
    with in_force(*pair.both) as changed:
        made = pair.second.api("POST", "/limits", {"name": f"leased {next(NUMBERS)}", **rule})
        assert made.status == 201, made.body
        changed.append(made.json["id"])
    responses = await race(pair.both, key, chat("leased-spare"), 30)
    assert served(responses) == len(upstream.requests("leased-spare"))
    # Who found the provider full asked for no more by itself: one look later the rest is used.
    for _ in range(5):
        responses += await race(pair.both, key, chat("leased-spare"), 10)
        await asyncio.sleep(0.5)
    assert served(responses) == ROOM
    assert pair.second.api("DELETE", f"/limits/{made.json['id']}").status == 204


async def test_what_a_killed_machine_held_is_usable_when_it_is_back(pair: Pair, pool: Pool) -> None:
    model, key = pool.solo(), pair.second.create_key(budget_usd=100 * PER_CALL_USD)
    count = served(await race(pair.both, key, chat(model), 10))
    assert count == 20
    await asyncio.to_thread(pair.second.kill_tree)
    count += served(await race((pair.first,), key, chat(model), 5))
    await asyncio.to_thread(pair.second.start)
    for _ in range(30):
        some = served(await race(pair.both, key, chat(model), 20))
        count += some
        if not some and count == 100:
            break
        await asyncio.sleep(0.5)
    assert count == 100


async def test_a_worker_that_is_killed_changes_nothing(pair: Pair, pool: Pool) -> None:
    model, key = pool.solo(), pair.second.create_key(budget_usd=40 * PER_CALL_USD)
    count = served(await race(pair.both, key, chat(model), 10))
    await asyncio.to_thread(pair.second.kill, "gateway")
    await asyncio.sleep(3)
    for _ in range(10):
        count += served(await race(pair.both, key, chat(model), 20))
        await asyncio.sleep(0.3)
    assert count == 40


async def test_a_flushed_redis_costs_nobody_anything(pair: Pair, pool: Pool) -> None:
    model, key = pool.solo(), pair.second.create_key(budget_usd=60 * PER_CALL_USD)
    count = served(await race(pair.both, key, chat(model), 15))
    assert count == 30
    pair.redis.command("FLUSHALL")
    for place in pair.both:
        await serves(place, key, model)
        count += 1
    for _ in range(20):
        responses = await race(pair.both, key, chat(model), 20)
        count += sum(response.status == 200 for response in responses)
        await asyncio.sleep(0.5)
    assert count == 60


async def test_without_redis_what_is_held_goes_on_and_no_more(pair: Pair, pool: Pool) -> None:
    model, key = pool.solo(), pair.second.create_key(budget_usd=100 * PER_CALL_USD)
    rated, count = pair.second.create_key(rpm=30), 0
    assert served(await race(pair.both, rated, chat(model), 2)) == 4
    count += served(await race(pair.both, key, chat(model), 2))
    await asyncio.to_thread(pair.redis.kill)
    refused: list[Response] = []
    for _ in range(3):
        responses = await race(pair.both, key, chat(model), 60)
        count += sum(response.status == 200 for response in responses)
        refused += [response for response in responses if response.status != 200]
        await asyncio.sleep(1)
    assert count <= 100
    assert {response.status for response in refused} == {503}
    # Each has half of a rate, in the minute in which it had a part of the whole.
    assert 4 < served(await race(pair.both, rated, chat(model), 40)) + 4 <= 34
    await asyncio.to_thread(pair.redis.start)
    for _ in range(60):
        responses = await race(pair.both, key, chat(model), 20)
        count += sum(response.status == 200 for response in responses)
        if {response.status for response in responses} == {429}:
            break
        await asyncio.sleep(0.5)
    assert count == 100


async def until_spent(pair: Pair, key: Key, model: str) -> int:
    """How many calls are served until both machines say that the budget is used up."""
    count = 0
    for _ in range(60):
        responses = await race(pair.both, key, chat(model), 10)
        count += sum(response.status == 200 for response in responses)
        if {response.status for response in responses} == {429}:
            return count
        await asyncio.sleep(0.5)
    raise AssertionError(f"{count} calls were served, and the budget is not used up\n{pair.first.tail()}")


async def test_a_flush_while_a_machine_is_down_waits_for_what_that_one_used(pair: Pair, pool: Pool) -> None:
    model, key = pool.solo(), pair.second.create_key(budget_usd=60 * PER_CALL_USD)
    count = served(await race(pair.both, key, chat(model), 10))
    assert count == 20
    await asyncio.to_thread(pair.second.kill_tree)
    pair.redis.command("FLUSHALL")
    await asyncio.sleep(2.5)
    responses = await race((pair.first,), key, chat(model), 60)
    some = sum(response.status == 200 for response in responses)
    assert some <= 40
    assert {response.status for response in responses if response.status != 200} == {503}
    await asyncio.to_thread(pair.second.start)
    assert count + some + await until_spent(pair, key, model) == 60


async def test_everything_being_killed_at_once_loses_nothing(pair: Pair, pool: Pool) -> None:
    model, key = pool.solo(), pair.second.create_key(budget_usd=50 * PER_CALL_USD)
    count = served(await race(pair.both, key, chat(model), 10))
    assert count == 20
    for end in (pair.first.kill_tree, pair.second.kill_tree, pair.redis.kill):
        await asyncio.to_thread(end)
    for start in (pair.redis.start, pair.first.start, pair.second.start):
        await asyncio.to_thread(start)
    assert count + await until_spent(pair, key, model) == 50
