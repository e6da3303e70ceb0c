"""The ceilings of runs on one budget: nothing is overspent, nothing is held for longer than its run is at work."""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from tests.conftest import Serve
from tests.faults.conftest import CHAT
from tests.faults.test_budget_race import new_database
from tests.support.behaviours import Answer, Gate
from tests.support.clients import Response, call_async, chat
from tests.support.flows import flow, node
from tests.support.limits import DEBUG
from tests.support.postgres import Postgres
from tests.support.redis import RedisServer
from tests.support.server import ALL, Key, Polyforge
from tests.support.settings import Pool, settings
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

SCOPES = ["inference", "flows:run", "flows:read"]
OVER = ("succeeded", "failed", "cancelled")


@pytest.fixture(scope="module")
def pool() -> Pool:
    """Models of a dollar a call."""
    return Pool(solos=30, prefix="held-")


@pytest.fixture(scope="module", params=["sqlite", "postgres", "shared"])
def place(request: pytest.FixtureRequest, serve: Serve, upstream: Upstream, pool: Pool) -> Any:
    """Polyforge with a worker: on SQLite, on PostgreSQL, and with limits that it shares through Redis."""
    redis = RedisServer() if request.param == "shared" else None
    try:
        more: dict[str, Any] = {}
        if redis is not None:
            redis.start()
            more = {"shared_limits": {"use": "redis", "url": redis.url}}
        url = None if request.param == "sqlite" else new_database(request.getfixturevalue("postgres"))
        declared = settings(upstream, pool.settings(), telemetry=DEBUG, **more)
        yield serve(declared, database_url=url, roles=ALL)
    finally:
        if redis is not None:
            redis.remove()


class Budget:
    """A key, and a limit of so many dollars a month on it."""

    def __init__(self, place: Polyforge, usd: float, *others: Polyforge) -> None:
        self._place = place
        places = [(each, len(each.log)) for each in (place, *others)]
        self.key: Key = place.create_key(scopes=SCOPES)
        rule = {"name": f"of {self.key.id}", "subject": "key", "subject_id": self.key.id, "measure": "money"}
        made = place.api("POST", "/limits", {**rule, "amount": usd, "window": "month"})
        assert made.status == 201, made.body
        self.id: str = made.json["id"]
        for each in places:
            eventually(partial(self._is_known, *each), "the limit in both processes")

    def _is_known(self, place: Polyforge, since: int) -> bool:
        lines = place.log[since:].splitlines()
        told = [line for line in lines if "limits are in force" in line and self.id in line]
        return all(any(f'"{role}' in line for line in told) for role in ("gateway", "worker"))

    @property
    def used(self) -> float:
        return self._place.api("GET", f"/limits/{self.id}").json["use"]["used"]

    def spent(self) -> float:
        """What the ledger says."""
        return sum(row["price_micros"] for row in self._place.records(self.key.id)) / 1e6


def made(place: Polyforge, model: str, *more: str) -> str:
    """A flow that calls a model, does something else or calls another model, and so on; its name."""
    nodes: dict[str, Any] = {
        "n0": node("model.chat", {"model": {"$ref": f"model:{model}"}, "prompt": "Say something."})
    }
    last = ("n0", "text")
    for number, kind in enumerate(more, 1):
        name = f"n{number}"
        if kind == "ask":
            ask = {"question": "Go on?", "assignees": ["role:admin"], "expires_in_s": 3_600}
            nodes[name] = node("human.approval", ask, show=last)
            continue
        prompt = {"model": {"$ref": f"model:{kind}"}, "prompt": "{{a}}"}
        nodes[name] = node("model.chat", prompt, a=last)
        last = (name, "text")
    slug = model.replace(".", "-")
    follows = [*nodes, "out"]
    control = [{"from": [f"n{n}", "approved"], "to": follows[n + 1]} for n, kind in enumerate(more, 1) if kind == "ask"]
    nodes["out"] = node("flow.output", {"name": "text"}, value=last)
    interface = {"inputs": {}, "outputs": {"text": {"type": "text"}}}
    answer = place.api("POST", "/flows", {"slug": slug, "document": flow(nodes, control=control, interface=interface)})
    assert answer.status == 201, answer.body
    committed = place.api("POST", f"/flows/{slug}/commit", {"message": "first"})
    assert committed.status in (200, 201), committed.body
    return slug


async def begin(place: Polyforge, key: Key, slug: str, most: float) -> Response:
    body = {"mode": "async", "max_cost_usd": most}
    return await call_async(place.url, f"/api/v1/flows/{slug}/run", key=key.key, json=body, seconds=60)


def state(place: Polyforge, run: str) -> dict[str, Any]:
    found = place.api("GET", f"/flow-runs/{run}")
    assert found.status == 200, found.body
    return found.json


def over(place: Polyforge, run: str) -> dict[str, Any]:
    eventually(lambda: state(place, run)["state"] in OVER, "its end")
    return state(place, run)


async def test_runs_that_race_hold_no_more_than_there_is(place: Polyforge, upstream: Upstream, pool: Pool) -> None:
    model, gate = pool.solo(), Gate()
    upstream.script(model, Answer(before_head=gate))
    budget, slug = await asyncio.to_thread(Budget, place, 5.0), await asyncio.to_thread(made, place, model)
    answers = await asyncio.gather(*(begin(place, budget.key, slug, 3.0) for _ in range(12)))
    assert {each.status for each in answers} <= {202, 402}
    runs = [each.json["id"] for each in answers if each.status == 202]
    await asyncio.to_thread(upstream.wait_for, model, 1)

    def ended() -> list[dict[str, Any]]:
        assert budget.used <= 5
        return [found for run in runs if (found := state(place, run))["state"] in OVER]

    await asyncio.to_thread(eventually, lambda: len(ended()) == len(runs) - 1, "all others being refused")
    refused = ended()
    assert {(each["state"], each["error"]["code"]) for each in refused} <= {("failed", "insufficient_quota")}
    assert all("max_cost_usd" in each["error"]["hint"] for each in refused)
    assert len(upstream.requests(model)) == 1
    assert budget.used == 3
    plain = await begin(place, budget.key, slug, 3.0)
    assert (plain.status, plain.json["code"]) == (402, "insufficient_quota"), plain.body
    calls = await asyncio.gather(
        *(call_async(place.url, CHAT, key=budget.key.key, json=chat("well"), seconds=60) for _ in range(6))
    )
    assert sorted(each.status for each in calls) == [200] * 2 + [429] * 4, "others use what is not held"
    assert budget.used == 5
    gate.open()
    (first,) = [run for run in runs if run not in {each["id"] for each in refused}]
    assert (await asyncio.to_thread(over, place, first))["state"] == "succeeded"
    await asyncio.to_thread(eventually, lambda: budget.used == 3, "what was not spent being free")
    await asyncio.to_thread(eventually, lambda: budget.spent() == 3, "the ledger saying so")


async def test_one_run_can_use_up_all_of_a_budget(place: Polyforge, pool: Pool) -> None:
    first, second = pool.solo(), pool.solo()
    budget, slug = await asyncio.to_thread(Budget, place, 2.0), await asyncio.to_thread(made, place, first, second)
    answer = await begin(place, budget.key, slug, 2.0)
    assert answer.status == 202, answer.body
    done = await asyncio.to_thread(over, place, answer.json["id"])
    assert (done["state"], done["cost_usd"]) == ("succeeded", 2.0), done
    assert budget.used == 2


async def test_cancelling_frees_what_is_held(place: Polyforge, upstream: Upstream, pool: Pool) -> None:
    model, gate = pool.solo(), Gate()
    upstream.script(model, Answer(before_head=gate))
    budget, slug = await asyncio.to_thread(Budget, place, 5.0), await asyncio.to_thread(made, place, model)
    run = (await begin(place, budget.key, slug, 5.0)).json["id"]
    await asyncio.to_thread(upstream.wait_for, model, 1)
    assert budget.used == 5
    assert place.api("POST", f"/flow-runs/{run}/cancel").status in (200, 202)
    assert (await asyncio.to_thread(over, place, run))["state"] == "cancelled"
    await asyncio.to_thread(eventually, lambda: budget.used <= 1, "all but the call that was broken off being free")
    gate.open()
    await asyncio.to_thread(eventually, lambda: budget.spent() == budget.used, "the ledger saying the same")


async def test_a_run_that_waits_holds_until_its_worker_is_killed_and_again_when_it_goes_on(
    place: Polyforge, upstream: Upstream, pool: Pool
) -> None:
    first, last, gate = pool.solo(), pool.solo(), Gate()
    upstream.script(last, Answer(before_head=gate))
    budget, slug = await asyncio.to_thread(Budget, place, 5.0), await asyncio.to_thread(made, place, first, "ask", last)
    run = (await begin(place, budget.key, slug, 4.0)).json["id"]
    approval = await asyncio.to_thread(eventually, asked(place, run), "the question")
    await asyncio.to_thread(eventually, lambda: budget.used == 4, "one that is spent, and three that are held")
    place.clean = False
    pid = place.kill("worker")
    await asyncio.to_thread(eventually, lambda: set(place.pids("worker")) - {pid}, "another worker")
    await asyncio.to_thread(eventually, lambda: budget.used == 1, "what was held being free")
    decided = place.api("POST", f"/approvals/{approval}/decide", {"decision": "approve"})
    assert decided.status == 200, decided.body
    await asyncio.to_thread(upstream.wait_for, last, 1)
    assert budget.used == 4
    gate.open()
    assert (await asyncio.to_thread(over, place, run))["state"] == "succeeded"
    await asyncio.to_thread(eventually, lambda: budget.used == 2, "what was not spent being free")
    await asyncio.to_thread(eventually, lambda: budget.spent() == 2, "the ledger saying so")


async def test_a_worker_that_is_killed_in_a_call_leaves_the_budget_right(
    place: Polyforge, upstream: Upstream, pool: Pool
) -> None:
    model, gate = pool.solo(), Gate()
    upstream.script(model, Answer(before_head=gate))
    budget, slug = await asyncio.to_thread(Budget, place, 8.0), await asyncio.to_thread(made, place, model)
    run = (await begin(place, budget.key, slug, 4.0)).json["id"]
    await asyncio.to_thread(upstream.wait_for, model, 1)
    assert budget.used == 4
    place.clean = False
    place.kill("worker")
    await asyncio.to_thread(upstream.wait_for, model, 2)
    assert budget.used == 5, "the call that was killed counts in full, and the run holds anew"
    gate.open()
    assert (await asyncio.to_thread(over, place, run))["state"] == "succeeded"
    await asyncio.to_thread(eventually, lambda: budget.used == 2, "what was not spent being free")


def asked(place: Polyforge, run: str) -> Callable[[], str | None]:
    def found() -> str | None:
        waiting = place.api("GET", "/approvals?state=pending").json["data"]
        return next((each["id"] for each in waiting if each["run_id"] == run), None)

    return found


@pytest.fixture
def pair(serve: Serve, upstream: Upstream, pool: Pool, postgres: Postgres) -> Iterator[tuple[Polyforge, Polyforge]]:
    """Two machines, each with a worker, that share limits and the queue of runs."""
    redis = RedisServer()
    try:
        redis.start()
        shared = {"use": "redis", "url": redis.url}
        declared = settings(upstream, pool.settings(), telemetry=DEBUG, shared_limits=shared)
        url = new_database(postgres)
        first = serve(declared, database_url=url, roles=ALL)
        master = {"secrets": {"master_key": f"file:{first.data / 'master.key'}"}}
        yield first, serve({**declared, **master}, database_url=url, roles=ALL)
    finally:
        redis.remove()


async def test_runs_that_race_on_two_machines_hold_no_more_than_there_is(
    pair: tuple[Polyforge, Polyforge], upstream: Upstream, pool: Pool
) -> None:
    place, other = pair[1], pair[0]
    model, gate = pool.solo(), Gate()
    upstream.script(model, Answer(before_head=gate))
    budget = await asyncio.to_thread(Budget, place, 5.0, other)
    slug = await asyncio.to_thread(made, place, model)
    answers = await asyncio.gather(*(begin(pair[n % 2], budget.key, slug, 3.0) for n in range(12)))
    assert {each.status for each in answers} <= {202, 402}
    runs = [each.json["id"] for each in answers if each.status == 202]
    await asyncio.to_thread(upstream.wait_for, model, 1)

    def failed() -> list[str]:
        return [run for run in runs if state(place, run)["state"] in OVER]

    await asyncio.to_thread(eventually, lambda: len(failed()) == len(runs) - 1, "all others being refused")
    assert len(upstream.requests(model)) == 1
    (first,) = set(runs) - set(failed())
    gate.open()
    assert (await asyncio.to_thread(over, place, first))["state"] == "succeeded"
    await asyncio.to_thread(eventually, lambda: budget.used == 1, "what was not spent being free")
    await asyncio.to_thread(eventually, lambda: budget.spent() == 1, "the ledger saying so")
