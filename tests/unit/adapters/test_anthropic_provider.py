"""The Anthropic provider against a scripted server, call by call."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest

from polyforge.adapters.providers.anthropic import Anthropic, Settings
from polyforge.dialects.anthropic_messages.facts import decode_count, decode_messages
from polyforge.kernel.chat import ChatRequest, ChatResult, Message, Text, Thinking
from polyforge.kernel.errors import (
    NotConfigured,
    PolyforgeError,
    RateLimited,
    Unavailable,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamRefused,
)
from polyforge.kernel.hidden import Hidden
from polyforge.kernel.tasks import InferenceRequest
from polyforge.kernel.usage import NO_USAGE, Usage
from polyforge.ports.provider import KEY_HEADER, Call, StreamEvent, Timeouts
from tests.support.scripted.anthropic import COUNTED, SCRIPTED_MODELS, AnthropicServer
from tests.support.scripted.scenarios import SCENARIOS
from tests.support.upstream import Received
from tests.support.vault import Secrets


@pytest.fixture(scope="module")
def server() -> Iterator[AnthropicServer]:
    one = AnthropicServer()
    one.start()
    yield one
    one.stop()


def made(server: AnthropicServer, **settings: Any) -> Anthropic:
    fields = {"base_url": f"{server.origin}/v1", "api_key": "sk-ours", **settings}
    return Anthropic(Settings.model_validate(fields), connect_timeout=5)


@pytest.fixture
async def provider(server: AnthropicServer) -> AsyncGenerator[Anthropic]:
    one = made(server)
    yield one
    await one.close()


def passing(model: str, *, stream: bool = False, **fields: Any) -> InferenceRequest:
    body = {"model": "named", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}], "stream": stream}
    request = decode_messages(json.dumps({**body, **fields}).encode())
    request.model = model
    return request


def call(request: InferenceRequest, chat: ChatRequest | None = None, **headers: str) -> Call:
    now = asyncio.get_running_loop().time()
    return Call(request, "id", request.model, None, Timeouts(), now, now + 30, headers, chat)


async def events_of(provider: Anthropic, asked: Call) -> list[StreamEvent]:
    return [event async for batch in provider.stream(asked) for event in batch]


def last(server: AnthropicServer) -> Received:
    return server.requests()[-1]


async def test_an_answer_passes_and_its_usage_is_read(provider: Anthropic, server: AnthropicServer) -> None:
    reply = await provider.send(call(passing("cached")))
    assert bytes(reply.body or b"") == server.provider.whole(SCENARIOS["cached"]).chunks[0]
    assert (reply.usage, reply.finish, reply.result) == (Usage(5, 1000, 0, 2), "end_turn", None)
    request = last(server)
    assert (request.path, request.json["model"]) == ("/v1/messages", "cached")
    assert request.headers["x-api-key"] == "sk-ours"
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert "anthropic-beta" not in request.headers


async def test_a_stream_passes_event_by_event(provider: Anthropic, server: AnthropicServer) -> None:
    events = await events_of(provider, call(passing("thinking", stream=True)))
    played = server.provider.stream(SCENARIOS["thinking"]).chunks
    assert [event.frame for event in events] == list(played)
    assert [event.end for event in events] == [False] * (len(played) - 1) + [True]
    assert events[-1].usage == Usage(input=5, output=30, reasoning=20)
    assert [event.finish for event in events if event.finish] == ["end_turn"]
    assert sum(event.size for event in events) == len("First I multiply.42")
    assert not any(event.content for event in events[:3])


async def test_the_caller_of_another_dialect_gets_the_canonical_answer(
    provider: Anthropic, server: AnthropicServer
) -> None:
    chat = ChatRequest(messages=[Message("user", [Text("hi")])])
    request = passing("text")
    reply = await provider.send(call(request, chat))
    assert isinstance(reply.result, ChatResult)
    assert reply.result.choices[0].content == [Text(SCENARIOS["text"].text)]
    assert last(server).json["max_tokens"] == 4096
    events = await events_of(provider, call(passing("text", stream=True), chat))
    assert events[-1].end
    assert any(event.content for event in events)
    assert last(server).json["stream"] is True


async def test_settings_shape_what_is_asked(server: AnthropicServer) -> None:
    provider = made(server, default_max_tokens=77, thinking="budget", betas=["a-1", "b-2"], headers={"x-plain": "y"})
    chat = ChatRequest(messages=[Message("user", [Text("hi")])], thinking=Thinking(effort="low"))
    await provider.send(call(passing("text"), chat, **{"anthropic-beta": "c-3"}))
    request = last(server)
    assert (request.json["max_tokens"], request.json["thinking"]["budget_tokens"]) == (77 + 2048, 2048)
    assert request.headers["anthropic-beta"] == "a-1,b-2,c-3"
    assert [name for name, _ in request.all_headers].count("anthropic-beta") == 1
    assert request.headers["x-plain"] == "y"
    await provider.close()


async def test_tokens_are_counted_there(provider: Anthropic, server: AnthropicServer) -> None:
    request = decode_count(b'{"model":"named","messages":[{"role":"user","content":"x"}]}')
    request.model = "text"
    reply = await provider.send(call(request))
    assert json.loads(bytes(reply.body or b"")) == {"input_tokens": COUNTED}
    assert reply.usage == NO_USAGE
    assert last(server).path == "/v1/messages/count_tokens"


async def test_models_are_listed(provider: Anthropic) -> None:
    assert await provider.models() == list(SCRIPTED_MODELS)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("failure", "error", "wait"),
    [
        ("rate", RateLimited, 7.0),
        ("quota", RateLimited, None),
        ("overloaded", Unavailable, 7.0),
        ("server", UpstreamFailed, None),
        ("denied", UpstreamDenied, None),
        ("invalid", UpstreamRefused, None),
        ("context", UpstreamRefused, None),
        ("not_found", UpstreamRefused, None),
    ],
)
async def test_refusals(
    provider: Anthropic, failure: str, error: type[PolyforgeError], wait: float | None, stream: bool
) -> None:
    asked = call(passing(f"fail-{failure}", stream=stream))
    with pytest.raises(error) as caught:
        await (events_of(provider, asked) if stream else provider.send(asked))
    if wait is not None:
        assert caught.value.retry_after == wait
    if failure == "context":
        assert caught.value.code == "context_length_exceeded"
    if failure == "invalid":
        assert caught.value.param == "temperature"


@pytest.mark.parametrize("canonical", [False, True])
@pytest.mark.parametrize("fault", ["broken-text", "error-text"])
async def test_a_stream_without_its_end_is_a_failure(provider: Anthropic, fault: str, canonical: bool) -> None:
    chat = ChatRequest(messages=[Message("user", [Text("hi")])]) if canonical else None
    with pytest.raises((UpstreamFailed, Unavailable)):
        await events_of(provider, call(passing(fault, stream=True), chat))


async def test_a_brought_key_replaces_all_that_tells_of_our_account(server: AnthropicServer) -> None:
    provider = made(server, headers={"Authorization": "Bearer ours", "x-plain": "kept"})
    asked = call(passing("text"))
    asked.key = Hidden("brought")
    await provider.send(asked)
    headers = last(server).headers
    assert (headers["x-api-key"], headers["x-plain"]) == ("brought", "kept")
    assert "authorization" not in headers
    refused = call(passing("fail-denied"))
    refused.key = Hidden("brought")
    with pytest.raises(UpstreamRefused, match=KEY_HEADER):
        await provider.send(refused)
    await provider.close()


async def test_a_key_of_the_database_is_followed(server: AnthropicServer) -> None:
    provider, secrets = made(server, api_key="secret:k"), Secrets()
    await provider.open(secrets)
    with pytest.raises(NotConfigured):
        await provider.send(call(passing("text")))
    for value in ("first", "second"):
        secrets.put("k", value)
        await provider.send(call(passing("text")))
        assert last(server).headers["x-api-key"] == value
    await provider.close()
    assert secrets.watchers == []


def test_an_address_must_be_one() -> None:
    with pytest.raises(ValueError, match="http"):
        Settings.model_validate({"base_url": "ftp://x"})
