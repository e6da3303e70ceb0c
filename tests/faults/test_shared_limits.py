"""Limits that many keys share: exact whoever races whom, all taken or none, and right again after a kill."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.conftest import Serve
from tests.faults.conftest import CHAT, MICROS
from tests.faults.test_budget_race import new_database
from tests.support.behaviours import Answer, Gate, Tokens
from tests.support.clients import Response, call_async, chat
from tests.support.limits import DEBUG, in_force
from tests.support.server import Key, Polyforge
from tests.support.settings import PER_CALL_USD, UPSTREAM_KEY, Pool, settings
from tests.support.upstream import Upstream
from tests.support.waiting import eventually, eventually_async

CALLERS = 200
ROOM = 10
PASSWORD = "a quiet river bends twice"
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def pool() -> Pool:
    """Fewer models than elsewhere: several installations start here, and each reads them all."""
    return Pool(solos=60, pairs=20, prefix="ruled-")


@pytest.fixture(
    scope="module",
    params=[(1, "sqlite"), (4, "sqlite"), (1, "postgres"), (4, "postgres")],
    ids=lambda parameters: f"{parameters[0]}-{parameters[1]}",
)
def place(request: pytest.FixtureRequest, serve: Serve, upstream: Upstream, pool: Pool) -> Polyforge:
    """Polyforge with one worker and with four, on SQLite and on PostgreSQL; two providers of its upstream."""
    workers, database = request.param
    url = new_database(request.getfixturevalue("postgres")) if database == "postgres" else None
    spare = {"use": "openai", "base_url": upstream.url, "api_key": UPSTREAM_KEY}
    first = {"provider": "spare", "model": "ruled-first"}
    second = {"provider": "lab", "model": "ruled-second", "priority": 1}
    models = {
        **pool.settings(),
        "ruled-both": {"deployments": [first, second], "price": {"per_call": PER_CALL_USD}},
        "ruled-spare": {"deployments": [first], "price": {"per_call": PER_CALL_USD}},
    }
    declared = settings(upstream, models, providers={"spare": spare}, telemetry=DEBUG)
    return serve(declared, workers=workers, database_url=url)


def limit(place: Polyforge, **fields: Any) -> str:
    """The id of a new limit that every worker holds to."""
    with in_force(place) as changed:
        made = place.api("POST", "/limits", {"name": f"limit {next(NUMBERS)}", **fields})
        assert made.status == 201, made.body
        changed.append(made.json["id"])
    return made.json["id"]


def standing(place: Polyforge, limit_id: str, **query: str) -> dict[str, Any]:
    path = f"/limits/{limit_id}" + (f"?subject_id={query['subject_id']}" if query else "")
    return place.api("GET", path).json["use"]


def end(place: Polyforge, *limit_ids: str) -> None:
    with in_force(place) as changed:
        for limit_id in limit_ids:
            assert place.api("DELETE", f"/limits/{limit_id}").status == 204
            changed.append(limit_id)


async def race(place: Polyforge, keys: list[Key], request: dict[str, Any], callers: int = CALLERS) -> list[Response]:
    """Everyone at once, each on a connection of their own, with each of the keys in turn."""
    calls = [
        call_async(place.url, CHAT, key=keys[number % len(keys)].key, json=request, seconds=60)
        for number in range(callers)
    ]
    return await asyncio.gather(*calls)


def statuses(responses: list[Response]) -> dict[int, int]:
    return {status: sum(each.status == status for each in responses) for status in {each.status for each in responses}}


def keys_of_a_user(place: Polyforge, count: int) -> tuple[str, list[Key]]:
    """A user, and keys that the user made."""
    person = {"email": f"owner{next(NUMBERS)}@example.com", "password": PASSWORD}
    user = place.api("POST", "/users", {**person, "name": "x", "role": "owner"}).json["id"]
    with httpx.Client(base_url=f"{place.url}/api/v1", headers={"origin": place.url}, timeout=60) as browser:
        assert browser.post("/auth/sign-in", json=person).status_code == 200
        headers = {"x-polyforge-csrf": browser.get("/me").json()["csrf"]}
        answers = [browser.post("/keys", json={"name": "k"}, headers=headers) for _ in range(count)]
    return user, [Key(answer.json()["id"], answer.json()["key"]) for answer in answers]


async def test_a_projects_budget_is_spent_to_the_end_and_no_further(
    place: Polyforge, upstream: Upstream, pool: Pool
) -> None:
    model, keys = pool.solo(), [place.create_key() for _ in range(5)]
    budget = await asyncio.to_thread(
        limit, place, subject="model", subject_id=model, measure="money", amount=ROOM * PER_CALL_USD, window="month"
    )
    responses = await race(place, keys, chat(model))
    assert statuses(responses) == {200: ROOM, 429: CALLERS - ROOM}
    assert len(upstream.requests(model)) == ROOM
    refused = next(response for response in responses if response.status == 429)
    assert refused.error["code"] == "insufficient_quota"
    assert "is used up; it starts again in" in refused.error["message"]
    assert refused.headers["x-should-retry"] == "false"
    use = standing(place, budget)
    assert (use["used"], use["left"], use["percent"]) == (ROOM * PER_CALL_USD, 0, 100)


async def test_a_user_has_one_limit_over_two_keys(place: Polyforge, pool: Pool) -> None:
    user, keys = await asyncio.to_thread(keys_of_a_user, place, 2)
    rule = await asyncio.to_thread(
        limit, place, subject="user", subject_id=user, measure="requests", amount=ROOM, window="day"
    )
    model = pool.solo()
    responses = await race(place, keys, chat(model))
    assert statuses(responses) == {200: ROOM, 429: CALLERS - ROOM}
    refused = next(response for response in responses if response.status == 429)
    assert refused.error["code"] == "rate_limit_exceeded"
    assert 0 < float(refused.headers["retry-after"]) <= 86_400
    assert refused.headers["x-ratelimit-limit-requests"] == str(ROOM)
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    others = await race(place, [place.create_key()], chat(model), 3)
    assert statuses(others) == {200: 3}
    assert standing(place, rule)["used"] == ROOM


async def test_where_the_inner_limit_refuses_the_outer_is_not_used(place: Polyforge, pool: Pool) -> None:
    model, key = pool.solo(), place.create_key()
    inner = await asyncio.to_thread(
        limit, place, subject="key", subject_id=key.id, measure="requests", amount=ROOM, window="hour"
    )
    outer = await asyncio.to_thread(
        limit, place, subject="model", subject_id=model, measure="money", amount=1_000 * PER_CALL_USD, window="total"
    )
    responses = await race(place, [key], chat(model))
    assert statuses(responses) == {200: ROOM, 429: CALLERS - ROOM}
    assert standing(place, inner)["used"] == ROOM
    assert standing(place, outer)["used"] == ROOM * PER_CALL_USD


async def test_a_keys_own_budget_and_a_limit_hold_together(place: Polyforge, pool: Pool) -> None:
    model, rich, poor = pool.solo(), place.create_key(), place.create_key(budget_usd=3 * PER_CALL_USD)
    rule = await asyncio.to_thread(
        limit, place, subject="model", subject_id=model, measure="money", amount=ROOM * PER_CALL_USD, window="day"
    )
    assert statuses(await race(place, [poor], chat(model), 50)) == {200: 3, 429: 47}
    assert statuses(await race(place, [rich], chat(model), 50)) == {200: ROOM - 3, 429: 43}
    assert standing(place, rule)["left"] == 0


async def test_tokens_of_a_day_are_never_overspent(place: Polyforge, upstream: Upstream, pool: Pool) -> None:
    model, keys, used = pool.solo(), [place.create_key() for _ in range(3)], Tokens(20, 40)
    upstream.script(model, Answer(tokens=used))
    rule = await asyncio.to_thread(
        limit, place, subject="model", subject_id=model, measure="tokens", amount=6_000, window="day"
    )
    served = 0
    responses: list[Response] = []
    while not responses or any(response.status == 200 for response in responses):
        responses = await race(place, keys, chat(model, max_tokens=used.completion), 50)
        served += sum(response.status == 200 for response in responses)
    assert 0.8 * 6_000 <= served * 60 <= 6_000
    assert standing(place, rule)["used"] == served * 60


async def test_calls_under_way_of_an_end_user(place: Polyforge, upstream: Upstream, pool: Pool) -> None:
    model, gate, key = pool.solo(), Gate(), place.create_key()
    rule = await asyncio.to_thread(limit, place, subject="end_user", measure="concurrency", amount=3)
    upstream.script(model, Answer(before_head=gate))
    calls = [
        asyncio.create_task(call_async(place.url, CHAT, key=key.key, json=chat(model, user="jo"), seconds=60))
        for _ in range(30)
    ]
    await eventually_async(lambda: sum(call.done() for call in calls) >= 27, "all others being refused")
    other = asyncio.create_task(call_async(place.url, CHAT, key=key.key, json=chat(model, user="al"), seconds=60))
    assert len(await asyncio.to_thread(upstream.wait_for, model, 4)) == 4
    gate.open()
    assert statuses(await asyncio.gather(*calls)) == {200: 3, 429: 27}
    assert (await other).status == 200
    assert standing(place, rule, subject_id="jo")["used"] == 0
    await asyncio.to_thread(end, place, rule)


async def test_a_provider_that_is_full_is_passed_over(place: Polyforge, upstream: Upstream) -> None:
    key, before = place.create_key(), len(upstream.requests("ruled-first"))
    rule = await asyncio.to_thread(
        limit, place, subject="provider", subject_id="spare", measure="requests", amount=ROOM, window="total"
    )
    more = ROOM - int(standing(place, rule)["used"])
    responses = await race(place, [key], chat("ruled-both"), 40)
    assert statuses(responses) == {200: 40}
    assert len(upstream.requests("ruled-first")) - before == more
    alone = await race(place, [key], chat("ruled-spare"), 1)
    assert statuses(alone) == {429: 1}
    assert alone[0].error["code"] == "rate_limit_exceeded"
    assert standing(place, rule)["used"] == ROOM
    await asyncio.to_thread(end, place, rule)


async def test_a_reset_a_top_up_and_a_transfer_count_at_once(place: Polyforge, pool: Pool) -> None:
    first, second, key = pool.solo(), pool.solo(), place.create_key()
    poor, rich = [
        await asyncio.to_thread(
            limit, place, subject="model", subject_id=model, measure="money", amount=amount, window="month"
        )
        for model, amount in ((first, 2.0), (second, 5.0))
    ]
    assert statuses(await race(place, [key], chat(first), 10)) == {200: 2, 429: 8}
    with in_force(place) as changed:
        changed.append(poor)
        assert place.api("POST", f"/limits/{poor}/reset").status == 200
    assert statuses(await race(place, [key], chat(first), 10)) == {200: 2, 429: 8}
    with in_force(place) as changed:
        changed.append(poor)
        assert place.api("POST", f"/limits/{poor}/top-up", {"amount": 3.0}).json["use"]["allowed"] == 5.0
    assert statuses(await race(place, [key], chat(first), 10)) == {200: 3, 429: 7}
    assert statuses(await race(place, [key], chat(second), 1)) == {200: 1}
    too_much = place.api("POST", f"/limits/{rich}/transfer", {"to": poor, "amount": 4.5})
    assert (too_much.status, "only 4 USD are left" in too_much.body.decode()) == (409, True)
    with in_force(place) as changed:
        changed += [poor, rich]
        given = place.api("POST", f"/limits/{rich}/transfer", {"to": poor, "amount": 3.0})
        assert given.status == 200, given.body
    assert statuses(await race(place, [key], chat(second), 10)) == {200: 1, 429: 9}
    assert statuses(await race(place, [key], chat(first), 10)) == {200: 3, 429: 7}


async def test_thresholds_are_told_once(place: Polyforge, pool: Pool) -> None:
    model, key = pool.solo(), place.create_key()
    rule = await asyncio.to_thread(
        limit,
        place,
        subject="model",
        subject_id=model,
        measure="requests",
        amount=ROOM,
        window="day",
        thresholds=[0.5, 0.8],
    )
    await race(place, [key], chat(model), 40)

    def told() -> list[tuple[str, float | None]]:
        events = place.api("GET", "/events/recent?streams=budgets&limit=1000").json["data"]
        mine = [event for event in events if event["resource_id"] == rule and "threshold" in event["data"]]
        return sorted((event["kind"], event["data"]["threshold"] or 0) for event in mine)

    expected = [("limit.reached", 0), ("limit.threshold", 0.5), ("limit.threshold", 0.8)]
    await asyncio.to_thread(eventually, lambda: told() == expected, "the thresholds being told")


async def test_totals_survive_kills_and_a_restart(place: Polyforge, pool: Pool) -> None:
    model, keys = pool.solo(), [place.create_key() for _ in range(4)]
    rule = await asyncio.to_thread(
        limit, place, subject="model", subject_id=model, measure="money", amount=100 * PER_CALL_USD, window="month"
    )
    served = 0
    place.clean = False
    for _ in range(3):
        calls = asyncio.gather(*(until_broken(place, key, model) for key in keys))
        await asyncio.sleep(0.4)
        await asyncio.to_thread(place.kill, "gateway")
        served += sum(await calls)
        await asyncio.to_thread(eventually, answers(place), "the worker being there again")
    used = standing(place, rule)["used"]
    # Who was cut off may have been charged: at most one call of each key and kill.
    assert served * PER_CALL_USD <= used <= (served + 3 * len(keys)) * PER_CALL_USD
    left = int(100 - used / PER_CALL_USD)
    assert statuses(await race(place, keys, chat(model), left + 20)) == {200: left, 429: 20}
    await asyncio.to_thread(place.restart)
    assert statuses(await race(place, keys, chat(model), 5)) == {429: 5}
    assert standing(place, rule)["used"] == 100 * PER_CALL_USD
    records = [record for record in place.records() if record["model"] == model]
    assert sum(record["price_micros"] for record in records) == 100 * PER_CALL_USD * MICROS


def answers(place: Polyforge) -> Callable[[], bool]:
    return lambda: place.call("/readyz", method="GET").status == 200


async def until_broken(place: Polyforge, key: Key, model: str) -> int:
    """How many of a few calls were answered until a connection broke."""
    served = 0
    for _ in range(7):
        try:
            response = await call_async(place.url, CHAT, key=key.key, json=chat(model), seconds=30)
        except OSError:
            break
        if response.status != 200:
            break
        served += 1
        await asyncio.sleep(0.05)
    return served
