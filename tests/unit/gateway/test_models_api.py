"""The management API of models: what there is, how it does, and where a request would go."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx
import msgspec
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from polyforge.gateway.api import router
from polyforge.gateway.guide import ModelGuide
from polyforge.gateway.health import Health
from polyforge.gateway.hosted import HostedModels
from polyforge.gateway.hosting.service import HostedService
from polyforge.gateway.lineup import Lineup, Lineups
from polyforge.gateway.service import Gateway
from polyforge.gateway.settings import GatewaySettings
from polyforge.guardrails.rules import Rulebook
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import PolyforgeError, Unavailable
from polyforge.ports.model_backend import ModelBackend
from polyforge.ports.provider import Capabilities
from polyforge.registry.catalog import LOCAL, build_catalog
from polyforge.registry.settings import ModelSettings
from polyforge.serving.reporting import VersionReport, report_of
from polyforge.serving.repository import HostedModel, State
from polyforge.tenancy.callers import Caller

ABLE = Capabilities(tasks=frozenset({"chat"}), dialects=frozenset({"openai"}))
OURS = Capabilities(tasks=frozenset({"embedding"}), dialects=frozenset({"oip"}), free=True)
PLACES = [
    {"provider": "lab", "model": "big", "weight": 3, "limits": {"context": 100_000}, "cost": {"input": 2, "output": 4}},
    {"provider": "lab", "model": "small", "limits": {"context": 1_000}, "cost": {"input": 1}, "tags": ["eu"]},
    {
        "provider": "openai",
        "model": "blind",
        "priority": 1,
        "capabilities": {"vision": False},
        "region": "us",
        "cost": {"input": 3, "tiers": [{"above": 10, "input": 6}], "batch": {"input": 1.5}, "per_image": 0.5},
    },
]
MODELS: dict[str, Any] = {
    "assistant": {"deployments": PLACES, "price": {"input": 9}},
    "quick/one": {"deployments": PLACES[:2], "routing": {"strategy": "least_latency"}, "on_context_overflow": "larger"},
    "hidden": {"deployments": PLACES[:1]},
    "open/*": {"deployments": [{"provider": "openai"}]},
    "ours": {"task": "embedding", "deployments": [{"provider": "local", "model": "minilm"}]},
}


class Host:
    """The model host, which says of its models what a test has it say."""

    def __init__(self) -> None:
        self.models: dict[str, tuple[State, str]] = {}
        self.down = False

    async def reports(self) -> tuple[list[VersionReport], frozenset[str]]:
        if self.down:
            raise Unavailable("the model server is not running")
        found: list[VersionReport] = []
        for name, (state, reason) in self.models.items():
            report = report_of(HostedModel(name, cast(ModelBackend, None)), None, 0, 0)
            found.append(msgspec.structs.replace(report, state=state, reason=reason))
        return found, frozenset()


class House:
    """The routes over a lineup."""

    def __init__(self, folder: Path, overrides: str = "all") -> None:
        self.clock = FakeClock()
        read = {name: ModelSettings.model_validate(model) for name, model in MODELS.items()}
        catalog = build_catalog(read, {"lab": ABLE, "openai": ABLE, LOCAL: OURS}, None)
        self.health = Health(folder / "health", catalog.deployment_count(), self.clock)
        self.health.open()
        lineup = Lineup(catalog, {}, {}, self.health, Rulebook(()), cast(Gateway, None))
        lineups = Lineups(lineup, cast(Any, None), cast(Any, None))
        settings = GatewaySettings.model_validate({"route_overrides": overrides, "attempts": 2})
        app = FastAPI()
        self.host = Host()
        hosted = HostedService(cast(HostedModels, self.host), cast(Any, None), lineups, self.clock)
        app.include_router(router(ModelGuide(lineups, settings, self.clock), hosted))
        app.exception_handler(PolyforgeError)(_render)
        app.middleware("http")(self._identify)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")
        self.scopes = {"models:read", "usage:read"}

    async def get(self, path: str, status: int = 200, **query: Any) -> Any:
        answer = await self.client.get(f"/api/v1/models{path}", params=query)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def explain(self, name: str, **query: Any) -> tuple[list[str], dict[str, str]]:
        """The attempts in order, and why the others are left out."""
        found = await self.get(f"/{name}/explain", **query)
        assert [each["attempt"] for each in found["attempts"]] == list(range(1, len(found["attempts"]) + 1))
        return [each["model"] for each in found["attempts"]], {each["model"]: each["why"] for each in found["left_out"]}

    async def _identify(self, request: Request, proceed: Any) -> Any:
        models = ("assistant", "quick/*", "open/*", "ours")
        request.state.caller = Caller("k", "k", "o", "p", frozenset(self.scopes), models)
        return await proceed(request)


async def _render(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PolyforgeError)
    return JSONResponse({"code": error.code, "message": error.message, "param": error.param}, error.status)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    yield made
    await made.client.aclose()
    made.health.close()


async def test_models_are_listed_with_their_deployments_prices_and_health(house: House) -> None:
    house.health.cool(2, 30, "quota")
    house.health.observe(0, True, 0.5)
    listed = (await house.get(""))["data"]
    assert [model["name"] for model in listed] == ["assistant", "quick/one", "ours", "open/*"]
    big, _, blind = listed[0]["deployments"]
    assert (big["context"], big["weight"], big["health"]["first_token_seconds"]) == (100_000, 3, 0.5)
    assert (big["cost"]["input"], big["cost"]["output"], big["cost"]["cached_input"]) == (2, 4, 2)
    assert (big["price"]["input"], big["price"]["origin"]) == (9, "declared")
    assert blind["health"] == {
        "state": "cooling",
        "reason": None,
        "cooling_seconds": pytest.approx(30),
        "cause": "quota",
        "first_token_seconds": None,
        "answer_seconds": None,
    }
    assert blind["cost"]["tiers"][0]["above"] == 10
    assert (blind["cost"]["tiers"][0]["input"], blind["cost"]["batch"]["input"]) == (6, 1.5)
    assert (blind["cost"]["per_image"], blind["vision"], blind["region"]) == (0.5, False, "us")
    assert listed[1]["strategy"] == "least_latency"
    assert listed[1]["on_context_overflow"] == "larger"
    assert listed[3]["deployments"][0]["price"] is None


@pytest.mark.parametrize(
    ("said", "state", "reason"),
    [
        (("READY", ""), "ready", None),
        (("LOADING", "being restarted"), "loading", None),
        (("UNAVAILABLE", "model.onnx is no graph"), "unavailable", "model.onnx is no graph"),
        (None, "unavailable", "the model host does not have it"),
    ],
)
async def test_a_model_of_our_own_host_does_as_the_host_says(
    house: House, said: tuple[State, str] | None, state: str, reason: str | None
) -> None:
    house.host.models = {"other": ("READY", "")} if said is None else {"minilm": said}
    health = (await house.get("/ours"))["deployments"][0]["health"]
    assert (health["state"], health["reason"]) == (state, reason)


async def test_while_the_host_is_away_its_models_are_and_no_others(house: House) -> None:
    house.host.down = True
    states = {model["name"]: model["deployments"][0]["health"] for model in (await house.get(""))["data"]}
    assert states["ours"]["state"] == "unavailable"
    assert "the model server is not running" in states["ours"]["reason"]
    assert states["assistant"]["state"] == "ready"


async def test_costs_are_for_those_who_may_read_usage(house: House) -> None:
    house.scopes = {"models:read"}
    for place in (await house.get("/assistant"))["deployments"]:
        assert place["cost"] is None
        assert place["price"] is not None
    house.scopes = {"usage:read"}
    assert (await house.get("", 403))["code"] == "permission_denied"
    assert (await house.get("/assistant/explain", 403))["code"] == "permission_denied"


async def test_a_model_that_is_hidden_and_one_that_is_absent_look_the_same(house: House) -> None:
    for path in ("/hidden", "/absent", "/hidden/explain", "/absent/explain"):
        answer = await house.get(path, 404)
        assert answer["code"] == "model_not_found"
    assert (await house.get("/open/gpt"))["deployments"][0]["model"] == "gpt"


async def test_attempts_come_in_order_with_why(house: House) -> None:
    found = await house.get("/assistant/explain")
    assert [(each["model"], each["why"]) for each in found["attempts"]] == [
        ("big", "priority 0; first of these for 75% of requests"),
        ("small", "priority 0; first of these for 25% of requests"),
    ]
    assert [(each["model"], each["why"]) for each in found["left_out"]] == [
        ("blind", "comes after the 2 attempts that a request has")
    ]


async def test_what_does_not_fit_or_cools_down_is_left_out_with_why(house: House) -> None:
    attempts, left = await house.explain("assistant", input_tokens=50_000, images=1)
    assert (attempts, left) == (["big", "small"], {"blind": "takes no images and files"})
    attempts, left = await house.explain("assistant", input_tokens=50_000)
    assert (attempts, left) == (["big", "blind"], {"small": "has too small a context"})
    house.health.cool(0, 12, "rate")
    attempts, left = await house.explain("assistant")
    assert attempts == ["small", "blind"]
    assert left["big"] == "is left alone for 12.0 s more, because it had too many requests"


async def test_what_a_caller_asks_for_is_obeyed(house: House) -> None:
    attempts, left = await house.explain("assistant", tag="eu")
    assert (attempts, left["big"]) == (["small"], "lacks a tag that was asked for")
    attempts, left = await house.explain("assistant", region="us")
    assert (attempts, left["big"]) == (["blind"], "is not in the region that was asked for")
    found = await house.get("/assistant/explain", strategy="least_cost", output_tokens=0)
    assert found["strategy"] == "least_cost"
    assert [(each["model"], each["why"]) for each in found["attempts"]] == [
        ("small", "priority 0; about 0.001 USD"),
        ("big", "priority 0; about 0.002 USD"),
    ]


async def test_least_latency_tells_what_it_measured(house: House) -> None:
    house.health.observe(3, True, 0.25)
    found = await house.get("/quick/one/explain", stream=True)
    assert [each["why"] for each in found["attempts"]] == [
        "priority 0; not measured lately, so tried first",
        "priority 0; 0.25 s to the first token lately",
    ]


async def test_questions_that_make_no_sense_are_refused(house: House) -> None:
    for query in ({"input_tokens": -1}, {"strategy": "luck"}, {"hardware": "tpu"}):
        answer = await house.client.get("/api/v1/models/assistant/explain", params=query)
        assert answer.status_code == 422, answer.text
    assert (await house.get("/assistant/explain", 400, tag="a b"))["param"] == "x-polyforge-route"


async def test_the_policy_holds_for_questions_as_for_requests(tmp_path: Path) -> None:
    house = House(tmp_path, overrides="tags")
    await house.get("/assistant/explain", tag="eu")
    assert (await house.get("/assistant/explain", 403, provider="lab"))["code"] == "permission_denied"
