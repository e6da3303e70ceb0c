"""Azure OpenAI and Hugging Face against scripted servers that speak their wire formats."""

import asyncio
import json
import struct
from collections.abc import AsyncGenerator, Iterator
from typing import Any
from urllib.parse import parse_qs

import openai
import pytest
from pydantic import ValidationError

from polyforge.adapters.providers import azure_openai, huggingface
from polyforge.adapters.providers.azure_openai import AzureOpenAI
from polyforge.adapters.providers.huggingface import HuggingFace
from polyforge.dialects.azure_errors import decode_error as decode_azure_error
from polyforge.dialects.huggingface import decode_error, read_features
from polyforge.dialects.openai_chat.facts import decode_chat
from polyforge.kernel.chat import ChatRequest, Message, Text
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import (
    Invalid,
    PolyforgeError,
    RateLimited,
    Unavailable,
    Unsupported,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamRefused,
)
from polyforge.kernel.hidden import Hidden
from polyforge.kernel.tasks import EmbeddingResult, InferenceRequest
from polyforge.ports.provider import Call, StreamEvent, Timeouts
from tests.support.behaviours import Answer, Behaviour, Fail, Play
from tests.support.behaviours import Exchange as Asked
from tests.support.scripted.azure_openai import VERSION
from tests.support.scripted.azure_openai import AzureOpenAI as ScriptedAzure
from tests.support.scripted.huggingface import HuggingFace as ScriptedHuggingFace
from tests.support.scripted.scenarios import SCENARIOS
from tests.support.scripted.server import ScriptedServer
from tests.support.upstream import Received, Upstream

ENTRA = {"tenant_id": "tenant", "client_id": "app", "client_secret": "s3cret-of-app"}
HOUR = 3600.0


class Resource(Upstream):
    """A resource of Azure that takes tokens, and the endpoint that gives them out; only the last one is good."""

    def __init__(self) -> None:
        super().__init__()
        self.issued: list[str] = []

    def note(self, request: Received) -> Behaviour:
        super().note(request)
        if request.path == "/token":
            return Play(self._give)
        good = bool(self.issued) and request.headers.get("authorization") == f"Bearer {self.issued[-1]}"
        if not good:
            return Fail(401)
        if request.path.startswith("/openai/models"):
            return Play(_list)
        return Answer()

    async def _give(self, exchange: Asked) -> None:
        self.issued.append(f"token-{len(self.issued)}")
        await _send(exchange, {"access_token": self.issued[-1], "expires_in": HOUR, "token_type": "Bearer"})


async def _send(exchange: Asked, content: object) -> None:
    body = json.dumps(content).encode()
    await exchange.head(200, {"content-type": "application/json"}, len(body))
    await exchange.body(body)
    await exchange.end()


async def _list(exchange: Asked) -> None:
    await _send(exchange, {"data": [{"id": "gpt-4o"}], "object": "list"})


@pytest.fixture(scope="module")
def azure() -> Iterator[ScriptedServer]:
    server = ScriptedServer(ScriptedAzure())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def resource() -> Iterator[Resource]:
    server = Resource()
    server.start()
    yield server
    server.stop()


def origin(server: Upstream) -> str:
    return server.url.removesuffix("/v1")


def call(model: str = "text", *, stream: bool = False, key: str | None = None) -> Call:
    """A chat in OpenAI's dialect."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    now = asyncio.get_running_loop().time()
    brought = None if key is None else Hidden(key)
    request = decode_chat(json.dumps(body).encode())
    return Call(request, "id", model, None, Timeouts(), now, now + 30, {}, None, brought)


async def events_of(provider: AzureOpenAI, asked: Call) -> list[StreamEvent]:
    return [event async for batch in provider.stream(asked) for event in batch]


@pytest.fixture
async def provider(azure: ScriptedServer) -> AsyncGenerator[AzureOpenAI]:
    one = AzureOpenAI(azure_openai.Settings(endpoint=origin(azure), api_key="sk-scripted"), 5.0)  # pyright: ignore[reportArgumentType]  # pydantic reads it
    yield one
    await one.close()


def with_tokens(server: Resource, clock: FakeClock, **more: Any) -> AzureOpenAI:
    settings = {"endpoint": origin(server), **ENTRA, "token_url": f"{origin(server)}/token", **more}
    return AzureOpenAI(azure_openai.Settings.model_validate(settings), 5.0, clock)


# --- Azure ---


def test_the_official_client_reads_the_scripted_azure(azure: ScriptedServer) -> None:
    made = openai.AzureOpenAI(azure_endpoint=origin(azure), api_key="sk-scripted", api_version=VERSION, max_retries=0)
    with made as client:
        answer = client.chat.completions.create(model="text", messages=[{"role": "user", "content": "hi"}])
        assert answer.choices[0].message.content == SCENARIOS["text"].text
        chunks = list(
            client.chat.completions.create(model="text", messages=[{"role": "user", "content": "hi"}], stream=True)
        )
        said = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        assert "".join(said) == SCENARIOS["text"].text
        assert chunks[0].choices == []
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="fail-rate", messages=[{"role": "user", "content": "hi"}])


async def test_a_deployment_stands_in_the_path_and_the_key_in_its_header(
    provider: AzureOpenAI, azure: ScriptedServer
) -> None:
    reply = await provider.send(call())
    sent = azure.requests()[-1]
    assert sent.path == f"/openai/deployments/text/chat/completions?api-version={VERSION}"
    assert sent.headers["api-key"] == "sk-scripted"
    assert "authorization" not in sent.headers
    assert reply.usage is not None
    assert b"prompt_filter_results" in bytes(reply.body or b"")
    await provider.send(call(key="sk-of-the-caller"))
    assert azure.requests()[-1].headers["api-key"] == "sk-of-the-caller"


async def test_what_the_filter_says_first_is_no_content(provider: AzureOpenAI) -> None:
    events = await events_of(provider, call(stream=True))
    assert events[0].usage_only
    assert not events[0].content
    assert events[-1].end


async def test_v1_names_the_deployment_in_the_body(resource: Resource, clock: FakeClock) -> None:
    provider = with_tokens(resource, clock, style="v1")
    await provider.send(call("gpt"))
    sent = resource.requests()[-1]
    assert (sent.path, sent.json["model"]) == ("/openai/v1/chat/completions", "gpt")
    await provider.close()


@pytest.mark.parametrize("model", [".", ".."])
async def test_a_model_cannot_leave_the_path(provider: AzureOpenAI, model: str) -> None:
    with pytest.raises(Invalid) as refused:
        await provider.send(call(model))
    assert refused.value.param == "model"


async def test_a_deployment_with_odd_characters_stays_one_segment(resource: Resource, clock: FakeClock) -> None:
    provider = with_tokens(resource, clock)
    await provider.send(call("a/../b?c"))
    assert resource.requests()[-1].path.startswith("/openai/deployments/a%2F..%2Fb%3Fc/chat/completions?")
    await provider.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def test_a_token_of_entra_is_fetched_once_and_used_again(resource: Resource, clock: FakeClock) -> None:
    provider = with_tokens(resource, clock)
    await asyncio.gather(*(provider.send(call()) for _ in range(5)))
    assert (await events_of(provider, call(stream=True)))[-1].end
    assert await provider.models() == ["gpt-4o"]
    assert resource.issued == ["token-0"]
    form = parse_qs(next(one for one in resource.requests() if one.path == "/token").body.decode())
    assert form == {
        "grant_type": ["client_credentials"],
        "client_id": ["app"],
        "client_secret": ["s3cret-of-app"],
        "scope": ["https://cognitiveservices.azure.com/.default"],
    }
    await provider.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_token_that_is_refused_is_fetched_anew(resource: Resource, clock: FakeClock, stream: bool) -> None:
    provider = with_tokens(resource, clock)
    await provider.send(call())
    resource.issued.append("another")
    clock.advance(61)
    with pytest.raises(UpstreamDenied) as denied:
        await (events_of(provider, call(stream=True)) if stream else provider.send(call()))
    assert "token-0" not in str(denied.value)
    await provider.send(call())
    assert resource.issued[-1] == "token-2"
    await provider.close()


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("fail-rate", RateLimited),
        ("fail-denied", UpstreamDenied),
        ("fail-not_found", UpstreamRefused),
        ("fail-context", UpstreamRefused),
        ("fail-server", UpstreamFailed),
    ],
)
async def test_refusals_of_azure_keep_their_meaning(
    provider: AzureOpenAI, model: str, error: type[PolyforgeError]
) -> None:
    with pytest.raises(error) as refused:
        await provider.send(call(model))
    assert refused.value.retry_after == (7.0 if model == "fail-rate" else None)


def test_what_the_filter_refuses_is_told() -> None:
    body = b"""{"error":{"message":"The response was filtered","type":null,"param":"prompt","code":"content_filter",
    "status":400,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}"""
    said = decode_azure_error(body)
    assert (said.cause, said.param, said.code, said.retry_after) == ("content", "prompt", "content_filter", None)


@pytest.mark.parametrize(
    ("words", "wait"),
    [("Please retry after 26 seconds.", 26.0), ("Try later", None), ("retry after 250 milliseconds", 0.25)],
)
def test_how_long_to_wait_is_read_out_of_words(words: str, wait: float | None) -> None:
    assert decode_azure_error(json.dumps({"error": {"code": "429", "message": words}}).encode()).retry_after == wait


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"api_key": "k", **ENTRA},
        {"tenant_id": "t", "client_id": "c"},
        {"api_key": "k", "endpoint": "ftp://x"},
        {"api_key": "k", "api_version": "2024&x=1"},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        azure_openai.Settings.model_validate({"endpoint": "https://x.openai.azure.com", **wrong})


async def test_moderations_are_not_azures(provider: AzureOpenAI) -> None:
    assert "moderation" not in provider.capabilities.tasks
    asked = call()
    asked.request = InferenceRequest(task="rerank", dialect="openai", model="m", body=b"{}")
    with pytest.raises(Unsupported):
        await provider.send(asked)


# --- Hugging Face ---


class Features(Upstream):
    """Feature extraction: two numbers for each text."""

    def note(self, request: Received) -> Behaviour:
        super().note(request)
        return Play(_embed)


async def _embed(exchange: Asked) -> None:
    await _send(exchange, [[float(len(text)), 0.5] for text in exchange.json["inputs"]])


@pytest.fixture
def features() -> Iterator[Features]:
    server = Features()
    server.start()
    yield server
    server.stop()


def embedding(model: str, inputs: list[str] | list[list[int]]) -> Call:
    asked = call(model)
    asked.request = InferenceRequest(task="embedding", dialect="openai", model="m", body=b"{}", inputs=inputs)
    return asked


def at_router(server: Upstream, **more: Any) -> HuggingFace:
    settings = {"router": origin(server), "api_key": "hf_scripted", **more}
    return HuggingFace(huggingface.Settings.model_validate(settings), 5.0)


async def test_embeddings_at_the_router_are_features(features: Features) -> None:
    provider = at_router(features, bill_to="acme")
    reply = await provider.send(embedding("sentence-transformers/all-MiniLM-L6-v2", ["one", "three"]))
    sent = features.requests()[-1]
    assert sent.path == "/hf-inference/models/sentence-transformers/all-MiniLM-L6-v2/pipeline/feature-extraction"
    assert (sent.json, sent.headers["x-hf-bill-to"]) == ({"inputs": ["one", "three"]}, "acme")
    assert isinstance(reply.result, EmbeddingResult)
    assert struct.unpack("<4f", reply.result.data) == (3.0, 0.5, 5.0, 0.5)
    assert reply.usage is not None
    assert not reply.usage.exact
    for model in ("..", "a/b/c", "../../v1/x", "a?b"):
        with pytest.raises(Invalid):
            await provider.send(embedding(model, ["x"]))
    with pytest.raises(Unsupported):
        await provider.send(embedding("a/b", [[1, 2]]))
    await provider.close()


@pytest.mark.parametrize("body", [b"{}", b"[[[0.5]]]", b"[[0.5],[0.5,1]]", b"[[0.5]]", b"[", b"[[],[]]"])
def test_features_that_are_none_are_a_failure(body: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        read_features(body, ["a", "b"])


async def test_an_endpoint_of_ones_own_is_called_as_openai_is() -> None:
    server = ScriptedServer(ScriptedHuggingFace())
    server.start()
    settings = huggingface.Settings.model_validate({"endpoint": f"{origin(server)}/v1", "api_key": "hf_x"})
    provider = HuggingFace(settings, 5.0)
    await provider.send(call())
    assert server.requests()[-1].path == "/v1/chat/completions"
    asked = call()
    asked.chat = ChatRequest(messages=[Message("developer", [Text("Be brief.")]), Message("user", [Text("hi")])])
    await provider.send(asked)
    assert [message["role"] for message in server.requests()[-1].json["messages"]] == ["system", "user"]
    with pytest.raises(Unavailable) as loading:
        await provider.send(call("fail-overloaded"))
    assert loading.value.retry_after == 7.0
    await provider.close()
    server.stop()


def test_credit_that_is_spent_is_a_quota() -> None:
    body = b'{"error":"You have exceeded your monthly included credits for Inference Providers."}'
    assert decode_error(body).cause == "quota"
    assert decode_error(b"<html>").cause is None
