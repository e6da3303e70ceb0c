"""Money as a running gateway tells of it: published prices, corrections that budgets follow, comparisons."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Serve
from tests.support.clients import chat
from tests.support.server import Polyforge
from tests.support.settings import settings
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

CHAT = "/v1/chat/completions"
MODELS: dict[str, Any] = {
    "dollar": {"deployments": [{"provider": "lab", "model": "dollar"}], "price": {"per_call": 1.0}},
    "mini": {"deployments": [{"provider": "lab", "model": "gpt-4o-mini", "cost": {"input": 100, "output": 100}}]},
    "as-listed": {"deployments": [{"provider": "lab", "model": "ours", "cost_as": "anthropic/claude-haiku-4-5"}]},
    "hosted/*": {"deployments": [{"provider": "hosted"}]},
    "unknown": {"deployments": [{"provider": "lab", "model": "unknown"}]},
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    server = Upstream().start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def site(serve: Serve, upstream: Upstream) -> Polyforge:
    hosted = {"use": "openai", "api_key": "sk-nobody-calls-it"}
    return serve(settings(upstream, MODELS, providers={"hosted": hosted}), workers=2)


@pytest.mark.parametrize(
    ("model", "origin", "rates"),
    [
        ("mini", "declared", (100, 100, 100)),
        ("as-listed", "catalogue genai-prices", (1, 0.1, 5)),
        ("hosted/gpt-4o-mini", "catalogue genai-prices", (0.15, 0.075, 0.6)),
        ("hosted/no-such-thing", "estimated", (5, 5, 15)),
        ("unknown", "estimated", (5, 5, 15)),
        ("polyforge/static-minilm", "own machines", (0, 0, 0)),
    ],
)
def test_every_price_says_where_it_comes_from(
    site: Polyforge, model: str, origin: str, rates: tuple[float, float, float]
) -> None:
    (place,) = site.api("GET", f"/models/{model}").json["deployments"]
    assert place["cost"]["origin"].startswith(origin)
    assert (place["cost"]["input"], place["cost"]["cached_input"], place["cost"]["output"]) == rates
    assert place["price"] == place["cost"]


def test_a_correction_gives_budget_back_in_every_worker(site: Polyforge) -> None:
    key = site.create_key(budget_usd=2.0)

    def call() -> int:
        return site.call(CHAT, key=key.key, json=chat("dollar")).status

    assert [call() for _ in range(3)] == [200, 200, 429]
    first = site.settled(key, 2)[0]
    made = site.api("POST", "/usage/corrections", {"record_id": first["id"], "price_change_usd": -1, "reason": "test"})
    assert made.status == 201, made.body
    eventually(lambda: call() == 200, "the budget that was given back")
    assert [call() for _ in range(4)] == [429] * 4
    taken = site.api("POST", "/usage/corrections", {"key_id": key.id, "price_change_usd": 5, "reason": "test"})
    assert taken.status == 201
    site.api("PATCH", f"/keys/{key.id}", {"budget_usd": 6.5})
    assert call() == 429
    eventually(lambda: _price_of(site, key.id) == 7.0, "the third call in the ledger")
    site.settled(key, 5)


def _price_of(site: Polyforge, key_id: str) -> float:
    rows = site.api("GET", "/usage?group_by=key").json["data"]
    return next(row["price_usd"] for row in rows if row["key"] == key_id)


def test_the_same_traffic_elsewhere(site: Polyforge) -> None:
    key = site.create_key()
    assert site.call(CHAT, key=key.key, json=chat("mini")).status == 200
    assert site.call(CHAT, key=key.key, json=chat("unknown")).status == 200
    site.settled(key, 2)
    answer = site.api("GET", "/usage/compare?providers=openai,azure&models=anthropic/claude-haiku-4-5,mini")
    assert answer.status == 200, answer.body
    openai, azure, haiku, mini = answer.json["candidates"]
    assert "unknown" in openai["unknown"]
    assert openai["covered_requests"] == 1
    assert openai["cost_usd"] == azure["cost_usd"] < openai["actual_cost_usd"]
    assert openai["origins"][0].startswith("catalogue genai-prices")
    assert haiku["covered_requests"] == mini["covered_requests"] == answer.json["requests"]
    assert mini["origins"] == ["declared"]
    assert site.api("GET", "/usage/compare?models=no/such").json["code"] == "model_not_found"
    assert site.api("GET", "/usage/compare").status == 400
    assert site.api("GET", "/usage/compare?providers=" + ",".join(f"p{n}" for n in range(30))).status == 400
    limited = site.create_key(scopes=["inference", "models:read"])
    refused = site.call("/api/v1/usage/compare?providers=openai", method="GET", key=limited.key)
    assert refused.status == 403
