"""The management API of counting tokens."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from polyforge.gateway.health import Health
from polyforge.gateway.lineup import Lineup, Lineups
from polyforge.gateway.service import Gateway
from polyforge.gateway.tokenizing.api import router
from polyforge.gateway.tokenizing.service import TokenizingService, tokenizer_files
from polyforge.guardrails.rules import Rulebook
from polyforge.kernel.errors import PolyforgeError
from polyforge.ports.provider import Capabilities
from polyforge.registry.catalog import build_catalog
from polyforge.registry.settings import ModelSettings
from polyforge.tenancy.callers import Caller
from polyforge.tokens.counter import TokenCounter
from polyforge.tokens.encodings import Encodings
from polyforge.tokens.settings import TokenSettings

ABLE = Capabilities(tasks=frozenset({"chat", "embedding"}), dialects=frozenset({"openai"}))
MODELS: dict[str, Any] = {
    "assistant": {"deployments": [{"provider": "lab", "model": "gpt-4o"}]},
    "other": {"deployments": [{"provider": "lab", "model": "claude-sonnet-4-5"}]},
    "hidden": {"deployments": [{"provider": "lab"}]},
    "open/*": {"deployments": [{"provider": "lab"}]},
}


class House:
    """The route over some models."""

    def __init__(self) -> None:
        read = {name: ModelSettings.model_validate(model) for name, model in MODELS.items()}
        catalog = build_catalog(read, {"lab": ABLE}, None)
        lineup = Lineup(catalog, {}, {}, cast(Health, None), Rulebook(()), cast(Gateway, None))
        lineups = Lineups(lineup, cast(Any, None), cast(Any, None))
        app = FastAPI()
        app.include_router(router(TokenizingService(lineups, TokenCounter(Encodings(), {}))))
        app.exception_handler(PolyforgeError)(_render)
        app.middleware("http")(self._identify)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")
        self.scopes = {"inference"}

    async def post(self, status: int = 200, **body: Any) -> Any:
        answer = await self.client.post("/api/v1/tokenize", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def _identify(self, request: Request, proceed: Any) -> Any:
        models = ("assistant", "other", "open/*")
        request.state.caller = Caller("k", "k", "o", "p", frozenset(self.scopes), models)
        return await proceed(request)


async def _render(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PolyforgeError)
    return JSONResponse({"code": error.code, "message": error.message, "param": error.param}, error.status)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    made = House()
    yield made
    await made.client.aclose()


async def test_a_text_is_counted_as_the_deployment_counts(house: House) -> None:
    counted = await house.post(model="assistant", text="hello world", with_tokens=True)
    assert counted == {
        "tokens": 2,
        "exact": True,
        "low": 2,
        "high": 2,
        "tokenizer": "o200k_base",
        "ids": [24912, 2375],
    }
    assert (await house.post(model="open/gpt-4", text="hello world"))["tokenizer"] == "cl100k_base"


async def test_a_conversation_is_counted_with_what_is_added(house: House) -> None:
    messages = [{"role": "user", "content": "hello world"}]
    counted = await house.post(model="assistant", messages=messages)
    assert (counted["tokens"], counted["exact"], counted["ids"]) == (9, True, None)
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    offered = await house.post(model="assistant", messages=messages, tools=tools)
    assert offered["low"] < offered["tokens"] < offered["high"]
    assert not offered["exact"]


async def test_inputs_of_an_embedding_are_counted_together(house: House) -> None:
    assert (await house.post(model="assistant", input=["hello", "world"]))["tokens"] == 2
    assert (await house.post(model="assistant", input="hello world"))["tokens"] == 2


async def test_an_estimate_says_so(house: House) -> None:
    counted = await house.post(model="other", text="hello world")
    assert not counted["exact"]
    assert counted["tokenizer"] == "estimate"
    assert counted["low"] <= 2 <= counted["high"]
    refused = await house.post(400, model="other", text="hello world", with_tokens=True)
    assert refused["param"] == "with_tokens"


async def test_wrong_bodies_are_refused(house: House) -> None:
    await house.post(422, model="assistant")
    await house.post(422, model="assistant", text="a", input="b")
    await house.post(422, model="assistant", input="b", with_tokens=True)
    assert (await house.post(400, model="assistant", messages=[{"role": "nobody"}]))["param"].startswith("messages")


async def test_hidden_and_absent_models_look_the_same_and_a_permission_is_needed(house: House) -> None:
    for name in ("hidden", "absent"):
        assert (await house.post(404, model=name, text="a"))["code"] == "model_not_found"
    house.scopes = {"models:read"}
    await house.post(403, model="assistant", text="a")


def test_local_models_bring_their_tokenizer() -> None:
    local = ModelSettings.model_validate({"task": "embedding", "source": "file:///srv/my%20model"})
    files = tokenizer_files(TokenSettings(files={"mistral-*": Path("/srv/m.json")}), {"mine": local})
    assert files == {"mistral-*": Path("/srv/m.json"), "mine": Path("/srv/my model/tokenizer.json")}
