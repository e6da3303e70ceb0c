"""A key never spends more than its budget and can use it up, whoever races whom: workers, databases, restarts."""

import asyncio
import secrets
from typing import Any

import pytest

from tests.conftest import Serve
from tests.faults.conftest import CHAT, MICROS, ask
from tests.support.behaviours import Answer, Fail, Gate, Tokens
from tests.support.clients import Response, call_async, chat
from tests.support.postgres import Postgres
from tests.support.server import Key, Polyforge
from tests.support.settings import PER_CALL_USD, Pool, settings
from tests.support.upstream import Upstream
from tests.support.waiting import eventually, eventually_async

CALLERS = 200
ROOM = 10
OUTPUT_LIMIT = 64
USED = Tokens(prompt=20, completion=40)
RATES = {"input": 1000.0, "output": 2000.0}
CALL_MICROS = USED.prompt * 1000 + USED.completion * 2000
TOKEN_BUDGET_CALLS = 50
TOKEN_BUDGET = TOKEN_BUDGET_CALLS * CALL_MICROS


@pytest.fixture(scope="module")
def pool() -> Pool:
    """Fewer models than elsewhere: several installations start here, and each reads them all."""
    return Pool(solos=40, prefix="raced-")


@pytest.fixture(
    scope="module",
    params=[(1, "sqlite"), (4, "sqlite"), (1, "postgres"), (4, "postgres")],
    ids=lambda parameters: f"{parameters[0]}-{parameters[1]}",
)
def installation(request: pytest.FixtureRequest, serve: Serve, upstream: Upstream, pool: Pool) -> Polyforge:
    """Polyforge with one worker and with four, on SQLite and on PostgreSQL."""
    workers, database = request.param
    url = new_database(request.getfixturevalue("postgres")) if database == "postgres" else None
    deployment = {"provider": "lab", "model": "metered", "limits": {"output": OUTPUT_LIMIT}}
    models = {**pool.settings(), "metered": {"deployments": [deployment], "price": RATES}}
    upstream.script("metered", Answer(tokens=USED))
    return serve(settings(upstream, models), workers=workers, database_url=url)


def new_database(postgres: Postgres) -> str:
    """The address of an empty database."""
    name = f"race_{secrets.token_hex(4)}"
    postgres.execute(f"CREATE DATABASE {name}")
    return postgres.url(name)


async def race(server: Polyforge, key: Key, request: dict[str, Any], callers: int = CALLERS) -> list[Response]:
    """Everyone at once, each on a connection of their own."""
    calls = [call_async(server.url, CHAT, key=key.key, json=request, seconds=60) for _ in range(callers)]
    return await asyncio.gather(*calls)


def assert_refused_for_good(response: Response) -> None:
    assert response.status == 429
    assert response.error["code"] == "insufficient_quota"
    assert response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("stream", [False, True])
async def test_as_many_are_served_as_there_is_room_for(
    installation: Polyforge, upstream: Upstream, pool: Pool, stream: bool
) -> None:
    model = pool.solo()
    key = installation.create_key(budget_usd=ROOM * PER_CALL_USD)
    responses = await race(installation, key, chat(model, stream=stream))
    served = [response for response in responses if response.status == 200]
    assert len(served) == ROOM
    assert {response.text for response in served} == {Answer().text}
    assert len(upstream.requests(model)) == ROOM
    for response in responses:
        if response not in served:
            assert_refused_for_good(response)
    records = await asyncio.to_thread(eventually, lambda: priced(installation, key, ROOM))
    assert {record["id"] for record in records} == {response.request_id for response in served}
    groups = installation.api("GET", "/usage?group_by=key").json["data"]
    (group,) = [group for group in groups if group["key"] == key.id]
    assert (group["requests"], group["errors"], group["price_usd"]) == (ROOM, 0, ROOM * PER_CALL_USD)


def priced(server: Polyforge, key: Key, count: int) -> list[dict[str, Any]]:
    """The records of `key` that cost something, once there are `count`."""
    records = [record for record in server.records(key.id) if record["price_micros"]]
    return records if len(records) >= count else []


async def test_calls_in_flight_hold_their_part(installation: Polyforge, upstream: Upstream, pool: Pool) -> None:
    model, gate = pool.solo(), Gate()
    upstream.script(model, Answer(before_head=gate))
    key = installation.create_key(budget_usd=ROOM * PER_CALL_USD)
    calls = [
        asyncio.create_task(call_async(installation.url, CHAT, key=key.key, json=chat(model), seconds=60))
        for _ in range(CALLERS)
    ]
    await eventually_async(lambda: sum(call.done() for call in calls) >= CALLERS - ROOM, "all others being refused")
    assert len(await asyncio.to_thread(upstream.wait_for, model, ROOM)) == ROOM
    gate.open()
    statuses = sorted(response.status for response in await asyncio.gather(*calls))
    assert statuses == [200] * ROOM + [429] * (CALLERS - ROOM)


async def test_what_failed_can_be_spent_again(installation: Polyforge, upstream: Upstream, pool: Pool) -> None:
    key = installation.create_key(budget_usd=ROOM * PER_CALL_USD)
    broken = pool.solo()
    upstream.script(broken, Fail(400))
    failed = await race(installation, key, chat(broken), ROOM)
    assert {response.status for response in failed} == {400}
    served = await race(installation, key, chat(pool.solo()), 2 * ROOM)
    assert sorted(response.status for response in served) == [200] * ROOM + [429] * ROOM


@pytest.mark.parametrize("limited", [True, False], ids=["max_tokens", "no max_tokens"])
@pytest.mark.parametrize("concurrent", [True, False], ids=["concurrent", "sequential"])
async def test_token_prices_use_most_of_the_budget_and_never_more(
    installation: Polyforge, upstream: Upstream, limited: bool, concurrent: bool
) -> None:
    key = installation.create_key(budget_usd=TOKEN_BUDGET / MICROS)
    request = chat("metered", max_tokens=USED.completion) if limited else chat("metered")
    served = 0
    if concurrent:
        served += sum(response.status == 200 for response in await race(installation, key, request, 100))
    response = await call_async(installation.url, CHAT, key=key.key, json=request)
    while response.status == 200:
        served += 1
        response = await call_async(installation.url, CHAT, key=key.key, json=request)
    assert_refused_for_good(response)
    records = await asyncio.to_thread(eventually, lambda: priced(installation, key, served))
    spent = sum(record["price_micros"] for record in records)
    assert 0.8 * TOKEN_BUDGET <= spent <= TOKEN_BUDGET


def test_output_is_bounded_upstream_where_a_budget_applies(installation: Polyforge, upstream: Upstream) -> None:
    budgeted = installation.create_key(budget_usd=TOKEN_BUDGET / MICROS)
    assert ask(installation, budgeted, "metered").status == 200
    limits = upstream.wait_for("metered")[-1].json
    assert (limits.get("max_tokens") or limits.get("max_completion_tokens")) == OUTPUT_LIMIT


def test_one_call_that_could_cost_more_than_there_is_gets_refused(installation: Polyforge) -> None:
    key = installation.create_key(budget_usd=CALL_MICROS / MICROS)
    assert_refused_for_good(ask(installation, key, "metered", max_tokens=OUTPUT_LIMIT, messages=long_conversation()))


def long_conversation() -> list[dict[str, str]]:
    return [{"role": "user", "content": "many words " * 1000}]


async def test_what_is_spent_stays_spent_over_a_restart(installation: Polyforge, pool: Pool) -> None:
    spent, half = (installation.create_key(budget_usd=ROOM * PER_CALL_USD) for _ in range(2))
    model = pool.solo()
    await race(installation, spent, chat(model), 2 * ROOM)
    await race(installation, half, chat(model), ROOM // 2)
    await asyncio.to_thread(installation.restart)
    assert_refused_for_good(await call_async(installation.url, CHAT, key=spent.key, json=chat(model)))
    after = await race(installation, half, chat(model), 2 * ROOM)
    assert sum(response.status == 200 for response in after) == ROOM - ROOM // 2
