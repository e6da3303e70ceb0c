"""The Gemini API and Vertex AI against scripted servers that speak their wire formats."""

import asyncio
import json
import struct
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest

from polyforge.adapters.providers import gemini, vertex, vertex_anthropic
from polyforge.adapters.providers.gemini import Gemini
from polyforge.adapters.providers.vertex import Vertex
from polyforge.adapters.providers.vertex_anthropic import VertexAnthropic
from polyforge.dialects.anthropic_messages.facts import decode_messages
from polyforge.kernel.chat import ChatRequest, ChatResult, Finished, Message, Text, TextDelta, Tool, text_of
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import (
    ModelNotFound,
    NotConfigured,
    RateLimited,
    SettingsError,
    Unavailable,
    Unsupported,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamRefused,
)
from polyforge.kernel.hidden import Hidden
from polyforge.kernel.tasks import EmbeddingResult, InferenceRequest
from polyforge.kernel.usage import Usage
from polyforge.ports.provider import Call, Provider, StreamEvent, Timeouts
from tests.support.behaviours import vector_of
from tests.support.scripted import gemini as scripted
from tests.support.scripted.gemini import GeminiServer
from tests.support.scripted.scenarios import SCENARIOS, Played
from tests.support.scripted.vertex import TOKEN_PATH, VertexServer, key_file
from tests.support.scripted.vertex import Vertex as ScriptedVertex
from tests.support.scripted.vertex import VertexAnthropic as ScriptedVertexAnthropic
from tests.support.vault import Secrets
from tests.support.waiting import eventually_async

HALF_AN_HOUR = 1800.0


@pytest.fixture(scope="module")
def google() -> Iterator[GeminiServer]:
    server = GeminiServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def cloud() -> Iterator[VertexServer]:
    server = VertexServer(ScriptedVertex())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(time.time())


@pytest.fixture
async def studio(google: GeminiServer) -> AsyncGenerator[Gemini]:
    provider = Gemini(gemini.Settings.model_validate(without_use(google.settings())), 5.0)
    yield provider
    await provider.close()


@pytest.fixture
async def project(cloud: VertexServer, clock: FakeClock) -> AsyncGenerator[Vertex]:
    provider = Vertex(vertex.Settings.model_validate(without_use(cloud.settings())), 5.0, clock)
    yield provider
    await provider.close()


def without_use(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "use"}


def call(model: str = "text", *, stream: bool = False, key: str | None = None) -> Call:
    request = InferenceRequest(task="chat", dialect="openai", model="m", body=b"{}", stream=stream)
    chat = ChatRequest(messages=[Message("user", [Text("hi")])], tools=[Tool("get_weather"), Tool("get_time")])
    now = asyncio.get_running_loop().time()
    brought = None if key is None else Hidden(key)
    return Call(request, "id", model, None, Timeouts(), now, now + 30, {}, chat, brought)


def embedding(texts: list[str] | list[list[int]], dimensions: int | None = None, *, stream: bool = False) -> Call:
    asked = call("embedder", stream=stream)
    asked.chat = None
    asked.request = InferenceRequest(
        task="embedding", dialect="openai", model="m", body=b"{}", inputs=texts, dimensions=dimensions
    )
    return asked


async def text_from(provider: Provider, asked: Call) -> str:
    result = (await provider.send(asked)).result
    assert isinstance(result, ChatResult)
    return text_of(result.choices[0].content)


async def events_of(provider: Provider, asked: Call) -> list[StreamEvent]:
    return [event async for batch in provider.stream(asked) for event in batch]


def text_in(events: list[StreamEvent]) -> str:
    return "".join(delta.text for event in events for delta in event.deltas if isinstance(delta, TextDelta))


# --- the Gemini API ---


async def test_an_answer_comes_whole_and_in_pieces(studio: Gemini, google: GeminiServer) -> None:
    reply = await studio.send(call())
    assert isinstance(reply.result, ChatResult)
    assert text_of(reply.result.choices[0].content) == SCENARIOS["text"].text
    assert (reply.usage, reply.finish) == (Usage(input=11, output=7), "stop")
    sent = google.requests()[-1]
    assert sent.path == "/v1beta/models/text:generateContent"
    assert sent.headers["x-goog-api-key"] == "sk-scripted"
    events = await events_of(studio, call(stream=True))
    assert google.requests()[-1].path == "/v1beta/models/text:streamGenerateContent?alt=sse"
    assert text_in(events) == SCENARIOS["text"].text
    assert len([delta for event in events for delta in event.deltas if isinstance(delta, TextDelta)]) == 5
    assert events[-1].end
    assert isinstance(events[-1].deltas[-1], Finished)
    assert [event.usage for event in events if event.usage][-1] == Usage(input=11, output=7)


async def test_refusals_keep_their_meaning(studio: Gemini) -> None:
    with pytest.raises(RateLimited) as slow:
        await studio.send(call("fail-rate"))
    assert slow.value.retry_after == 7.0
    with pytest.raises(RateLimited, match="quota"):
        await studio.send(call("fail-quota"))
    with pytest.raises(Unavailable):
        await studio.send(call("fail-overloaded"))
    with pytest.raises(UpstreamFailed):
        await studio.send(call("fail-server"))
    with pytest.raises(UpstreamDenied):
        await studio.send(call("fail-denied"))
    with pytest.raises(UpstreamRefused) as brought:
        await studio.send(call("fail-denied", key="callers"))
    assert brought.value.status == 401
    for failure, status, code in (("invalid", 400, "invalid_argument"), ("context", 400, "context_length_exceeded")):
        with pytest.raises(UpstreamRefused) as refused:
            await events_of(studio, call(f"fail-{failure}", stream=True))
        assert (refused.value.status, refused.value.code) == (status, code)
    with pytest.raises(UpstreamRefused) as missing:
        await studio.send(call("fail-not_found"))
    assert missing.value.status == 404


@pytest.mark.parametrize("model", ["broken-text", "error-text"])
async def test_a_stream_that_breaks_off_never_ends_clean(studio: Gemini, model: str) -> None:
    with pytest.raises(UpstreamFailed):
        await events_of(studio, call(model, stream=True))


async def test_a_brought_key_replaces_ours(studio: Gemini, google: GeminiServer) -> None:
    await studio.send(call(key="callers"))
    sent = google.requests()[-1]
    assert sent.headers["x-goog-api-key"] == "callers"
    assert "sk-scripted" not in str(sent.all_headers)


async def test_names_that_lead_elsewhere_are_not_called(studio: Gemini, google: GeminiServer) -> None:
    before = len(google.requests())
    with pytest.raises(ModelNotFound):
        await studio.send(call("../cachedContents"))
    with pytest.raises(ModelNotFound):
        await events_of(studio, call("a:b?c", stream=True))
    assert len(google.requests()) == before


async def test_models_are_listed_over_all_pages(studio: Gemini) -> None:
    assert await studio.models() == ["gemini-scripted", "embedding-scripted", "gemini-scripted-pro"]


async def test_texts_are_embedded_in_one_call(studio: Gemini, google: GeminiServer) -> None:
    reply = await studio.send(embedding(["one", "two"], 3))
    assert google.requests()[-1].path == "/v1beta/models/embedder:batchEmbedContents"
    result = reply.result
    assert isinstance(result, EmbeddingResult)
    assert (result.rows, result.dimensions, result.usage) == (2, 3, Usage(input=6))
    assert list(struct.unpack("<6f", bytes(result.data))) == vector_of("one", 3) + vector_of("two", 3)
    with pytest.raises(Unsupported):
        await studio.send(embedding([[1, 2]]))


async def test_a_request_in_no_form_that_can_be_written_is_unsupported(studio: Gemini) -> None:
    asked = call()
    asked.chat = None
    with pytest.raises(Unsupported):
        await studio.send(asked)


# --- Vertex AI ---


async def test_a_token_is_fetched_once_however_many_wait_for_it(project: Vertex, cloud: VertexServer) -> None:
    texts = await asyncio.gather(*[text_from(project, call()) for _ in range(20)])
    assert set(texts) == {SCENARIOS["text"].text}
    assert len(cloud.issued) == 1
    paths = {request.path for request in cloud.requests()} - {TOKEN_PATH}
    assert paths == {"/v1/projects/scripted/locations/europe-west4/publishers/google/models/text:generateContent"}


async def test_streams_embeddings_and_lists(project: Vertex) -> None:
    events = await events_of(project, call(stream=True))
    assert (text_in(events), events[-1].end) == (SCENARIOS["text"].text, True)
    reply = await project.send(embedding(["one"], 2))
    assert isinstance(reply.result, EmbeddingResult)
    assert (bytes(reply.result.data), reply.usage) == (struct.pack("<2f", *vector_of("one", 2)), Usage(input=5))
    assert await project.models() == ["one"]
    with pytest.raises(UpstreamFailed):
        await events_of(project, call("broken-text", stream=True))


async def test_a_token_is_renewed_beside_the_calls_before_it_expires(
    project: Vertex, cloud: VertexServer, clock: FakeClock
) -> None:
    await project.send(call())
    clock.advance(HALF_AN_HOUR)
    await project.send(call())
    assert len(cloud.issued) == 1
    clock.advance(HALF_AN_HOUR - 60)
    cloud.grant = scripted.answered({"error": "temporarily"}, 503)
    await project.send(call())
    await eventually_async(lambda: [one.path for one in cloud.requests()].count(TOKEN_PATH) == 2)
    await project.send(call())
    assert len(cloud.issued) == 1, "the token at hand goes on while no other is to be had"
    clock.advance(120)
    cloud.grant = None
    await project.send(call())
    assert len(cloud.issued) == 2


async def test_a_token_that_is_refused_is_fetched_anew_but_not_at_every_call(
    project: Vertex, cloud: VertexServer, clock: FakeClock
) -> None:
    await project.send(call())
    cloud.issued.append("another, so that ours is refused")
    for _ in range(3):
        with pytest.raises(UpstreamDenied):
            await project.send(call())
    assert len(cloud.issued) == 2
    clock.advance(61)
    with pytest.raises(UpstreamDenied):
        await events_of(project, call(stream=True))
    await project.send(call())
    assert len(cloud.issued) == 3


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (scripted.answered({"error": "invalid_grant", "error_description": "ya29.secret"}, 400), UpstreamDenied),
        (scripted.answered({"error": "unavailable"}, 503), UpstreamFailed),
        (scripted.answered({"access_token": "ya29.secret\r\nx: y", "expires_in": 3600}), UpstreamFailed),
        (scripted.answered({"access_token": "", "expires_in": 3600}), UpstreamFailed),
        (scripted.answered({"token": "ya29.secret"}), UpstreamFailed),
        (Played(200, {"content-type": "text/html"}, (b"ya29.secret",)), UpstreamFailed),
        (Played(200, {"content-type": "application/json"}, (b"ya29.secret" * 100_000,)), UpstreamFailed),
    ],
)
async def test_without_a_token_no_call_is_made(
    project: Vertex, cloud: VertexServer, answer: Played, error: type[Exception]
) -> None:
    cloud.grant = answer
    with pytest.raises(error) as failed:
        await project.send(call())
    assert "secret" not in str(failed.value)
    with pytest.raises(error):
        await events_of(project, call(stream=True))
    assert {request.path for request in cloud.requests()} == {TOKEN_PATH}
    cloud.grant = None
    assert await text_from(project, call()) == SCENARIOS["text"].text


async def test_a_brought_token_needs_none_of_ours(project: Vertex, cloud: VertexServer) -> None:
    cloud.issued.append("callers")
    assert await text_from(project, call(key="callers")) == SCENARIOS["text"].text
    with pytest.raises(UpstreamRefused):
        await project.send(call(key="other"))
    assert TOKEN_PATH not in {request.path for request in cloud.requests()}


async def test_a_key_file_of_the_database_is_followed(cloud: VertexServer, clock: FakeClock) -> None:
    settings = without_use(cloud.settings()) | {"credentials": "secret:google"}
    provider, secrets = Vertex(vertex.Settings.model_validate(settings), 5.0, clock), Secrets()
    await provider.open(secrets)
    with pytest.raises(NotConfigured, match="'google'"):
        await provider.send(call())
    secrets.put("google", "not a key file")
    with pytest.raises(NotConfigured, match="secret:google cannot be used") as refused:
        await provider.send(call())
    assert "not a key file" not in str(refused.value)
    for count in (1, 2):
        secrets.put("google", key_file())
        await provider.send(call())
        assert len(cloud.issued) == count
    await provider.close()
    assert secrets.watchers == []


@pytest.mark.parametrize(
    "credentials",
    [
        "{}",
        "PRIVATE",
        key_file(private_key="PRIVATE"),
        key_file(type="authorized_user"),
        json.dumps({"private_key": 1}),
    ],
    ids=["empty", "text", "no_key", "other_kind", "wrong_type"],
)
def test_credentials_that_are_no_key_file_are_refused_at_the_start(credentials: str) -> None:
    settings = vertex.Settings.model_validate({"project": "p", "credentials": credentials})
    with pytest.raises(SettingsError) as refused:
        Vertex(settings, 5.0)
    told = f"{refused.value} {refused.value.__cause__} {refused.value.__context__}"
    assert "PRIVATE" not in told
    assert "BEGIN" not in told


async def test_closing_ends_a_fetch_that_is_under_way(cloud: VertexServer, clock: FakeClock) -> None:
    provider = Vertex(vertex.Settings.model_validate(without_use(cloud.settings())), 5.0, clock)
    waiting = asyncio.ensure_future(provider.send(call()))
    await asyncio.sleep(0)
    await provider.close()
    with pytest.raises((asyncio.CancelledError, UpstreamFailed, Unavailable)):
        await waiting


async def test_anthropics_models_on_vertex(clock: FakeClock) -> None:
    server = VertexServer(ScriptedVertexAnthropic())
    server.start()
    settings = vertex_anthropic.Settings.model_validate(without_use(server.settings()))
    provider = VertexAnthropic(settings, 5.0, clock)
    try:
        assert await text_from(provider, call()) == SCENARIOS["text"].text
        events = await events_of(provider, call(stream=True))
        assert (text_in(events), events[-1].end) == (SCENARIOS["text"].text, True)
        assert server.last().stream
        assert server.last().output_limit == 4096
        assert server.requests()[-1].path.endswith("/publishers/anthropic/models/text:streamRawPredict")
        with pytest.raises(RateLimited) as slow:
            await provider.send(call("fail-rate"))
        assert slow.value.retry_after == 7.0
        with pytest.raises(UpstreamDenied):
            await provider.send(call("fail-denied"))
        with pytest.raises(UpstreamFailed):
            await events_of(provider, call("broken-text", stream=True))
        assert await provider.models() == ["one"]
    finally:
        await provider.close()
        server.stop()


async def test_what_a_client_of_anthropics_sends_and_gets_passes_as_it_is_on_vertex(clock: FakeClock) -> None:
    server = VertexServer(ScriptedVertexAnthropic())
    server.start()
    provider = VertexAnthropic(vertex_anthropic.Settings.model_validate(without_use(server.settings())), 5.0, clock)
    tools = b'"tools":[{"type": "web_search","name":"w"}]'
    body = b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}],%b}' % tools
    asked = call()
    asked.request, asked.chat, asked.output_limit = decode_messages(body), None, 5
    try:
        reply = await provider.send(asked)
        scripted_answer = server.provider.whole(SCENARIOS["text"])
        assert (reply.body, reply.usage) == (scripted_answer.chunks[0], Usage(input=11, output=7))
        sent = server.requests()[-1].body
        assert tools in sent
        assert json.loads(sent) | {"messages": [], "tools": []} == {
            "anthropic_version": "vertex-2023-10-16",
            "max_tokens": 5,
            "messages": [],
            "tools": [],
        }
        asked.request = decode_messages(body.replace(b'"max_tokens"', b'"stream":true,"max_tokens"'))
        events = await events_of(provider, asked)
        assert b"".join(event.frame for event in events) == b"".join(server.provider.stream(SCENARIOS["text"]).chunks)
        assert (events[-1].end, events[-1].usage) == (True, Usage(input=11, output=7))
    finally:
        await provider.close()
        server.stop()


@pytest.mark.parametrize(
    ("location", "address"),
    [
        ("global", "aiplatform.googleapis.com"),
        ("us", "aiplatform.us.rep.googleapis.com"),
        ("europe-west4", "europe-west4-aiplatform.googleapis.com"),
    ],
)
def test_a_location_has_its_own_address(location: str, address: str) -> None:
    settings = vertex.Settings.model_validate({"project": "p", "location": location, "credentials": key_file()})
    assert settings.address == f"https://{address}"
