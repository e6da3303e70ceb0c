"""The Bedrock provider against a scripted Bedrock that checks every signature, which AWS's own client calls as well."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, EventStreamError

from polyforge.adapters.providers.bedrock import Bedrock, Settings
from polyforge.dialects.openai_chat.facts import decode_chat
from polyforge.dialects.openai_chat.requests import read_chat
from polyforge.dialects.openai_embeddings import decode_embeddings
from polyforge.kernel.chat import (
    ChatResult,
    Delta,
    Finished,
    ReasoningDelta,
    ReasoningEnd,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
    text_of,
)
from polyforge.kernel.errors import (
    Invalid,
    NotConfigured,
    PolyforgeError,
    RateLimited,
    SettingsError,
    Unavailable,
    Unsupported,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamRefused,
)
from polyforge.kernel.hidden import Hidden
from polyforge.kernel.tasks import EmbeddingResult
from polyforge.kernel.usage import Usage
from polyforge.ports.provider import Call, Timeouts
from tests.support.behaviours import Behaviour
from tests.support.scripted import bedrock as scripted
from tests.support.scripted.scenarios import SCENARIOS, Failure, Played, Scenario
from tests.support.scripted.server import Playing
from tests.support.scripted.signed import SignedServer
from tests.support.upstream import Received, Upstream
from tests.support.vault import Secrets

KEYS = {"access_key_id": scripted.ACCESS_KEY, "secret_access_key": scripted.SECRET_KEY}
FINISHES = {"refusal": "content_filter", "content_filter": "content_filter"}


@pytest.fixture(scope="module")
def server() -> Iterator[SignedServer]:
    credentials = Credentials(scripted.ACCESS_KEY, scripted.SECRET_KEY)
    one = SignedServer(scripted.Bedrock(), credentials, "bedrock", scripted.REGION)
    one.start()
    yield one
    one.stop()


def provider(server: SignedServer, **settings: object) -> Bedrock:
    fields = {"endpoint": server.origin, "region": scripted.REGION, **KEYS, **settings}
    return Bedrock(Settings.model_validate({name: value for name, value in fields.items() if value}), 5)


def call(model: str, body: dict[str, Any] | None = None, *, stream: bool = False, key: str | None = None) -> Call:
    fields = {"model": "m", "messages": [{"role": "user", "content": "Say something."}], **(body or {})}
    data = json.dumps({**fields, "stream": stream}).encode()
    now = asyncio.get_running_loop().time()
    return Call(
        decode_chat(data),
        "id",
        model,
        None,
        Timeouts(),
        now,
        now + 30,
        {"traceparent": "00-1"},
        chat=read_chat(data),
        key=None if key is None else Hidden(key),
    )


def check_usage(usage: Usage | None, scenario: Scenario) -> None:
    told = scenario.told
    assert usage == Usage(
        input=told.input, cache_read=told.cache_read, cache_write=told.cache_write, output=told.output
    )


async def deltas_of(one: Bedrock, model: str) -> list[Delta]:
    events = [event async for batch in one.stream(call(model, stream=True)) for event in batch]
    assert events[-1].end
    assert [event.end for event in events].count(True) == 1
    usages = [event.usage for event in events if event.usage is not None]
    check_usage(usages[-1], SCENARIOS[model])
    return [delta for event in events for delta in event.deltas]


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
async def test_a_whole_answer(server: SignedServer, scenario: Scenario) -> None:
    one = provider(server)
    reply = await one.send(call(scenario.name))
    await one.close()
    assert isinstance(reply.result, ChatResult)
    content = reply.result.choices[0].content
    assert text_of(content) == scenario.text
    assert reply.finish == FINISHES.get(scenario.ending, scenario.ending)
    calls = [block for block in content if isinstance(block, ToolCall)]
    assert [(one.id, one.name, json.loads(one.arguments)) for one in calls] == [
        (wanted.id, wanted.name, wanted.arguments or {}) for wanted in scenario.calls
    ]
    check_usage(reply.usage, scenario)


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
async def test_a_streamed_answer_says_the_same(server: SignedServer, scenario: Scenario) -> None:
    one = provider(server)
    deltas = await deltas_of(one, scenario.name)
    await one.close()
    assert [delta.text for delta in deltas if isinstance(delta, TextDelta)] == list(scenario.pieces)
    assert [delta.text for delta in deltas if isinstance(delta, ReasoningDelta)] == list(scenario.thoughts)
    signatures = [delta.signature for delta in deltas if isinstance(delta, ReasoningEnd)]
    assert signatures == ([scenario.signature] if scenario.thoughts else [])
    starts = [delta for delta in deltas if isinstance(delta, ToolCallStart)]
    assert [(start.index, start.id, start.name) for start in starts] == [
        (place, wanted.id, wanted.name) for place, wanted in enumerate(scenario.calls)
    ]
    for place, wanted in enumerate(scenario.calls):
        pieces = [delta.arguments for delta in deltas if isinstance(delta, ToolCallDelta) and delta.index == place]
        assert json.loads("".join(pieces) or "{}") == (wanted.arguments or {})
    (finished,) = [delta for delta in deltas if isinstance(delta, Finished)]
    assert finished.finish == FINISHES.get(scenario.ending, scenario.ending)


REFUSALS: dict[Failure, type[PolyforgeError]] = {
    "rate": RateLimited,
    "quota": RateLimited,
    "overloaded": Unavailable,
    "server": UpstreamFailed,
    "denied": UpstreamDenied,
    "invalid": UpstreamRefused,
    "context": UpstreamRefused,
    "not_found": UpstreamRefused,
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("failure", REFUSALS)
async def test_refusals_keep_their_meaning(server: SignedServer, failure: Failure, stream: bool) -> None:
    one = provider(server)
    model = f"fail-{failure}"
    with pytest.raises(REFUSALS[failure]) as refused:
        await (deltas_of(one, model) if stream else one.send(call(model)))
    await one.close()
    if failure == "context":
        assert refused.value.code == "context_length_exceeded"
    if failure == "quota":
        assert refused.value.retry_after == 60
    if failure == "not_found":
        assert refused.value.status == 404


@pytest.mark.parametrize("fault", ["broken", "error"])
async def test_a_stream_that_breaks_off_is_a_failure(server: SignedServer, fault: str) -> None:
    one = provider(server)
    with pytest.raises(UpstreamFailed):
        await deltas_of(one, f"{fault}-text")
    await one.close()


@pytest.mark.parametrize(
    "model",
    [
        "text",
        "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "anthropic.claude-3-haiku-20240307-v1:0/../%2e?x=ü",
    ],
)
async def test_the_name_of_the_model_arrives_whatever_it_is(
    server: SignedServer, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCENARIOS, model, SCENARIOS["text"])
    one = provider(server)
    await one.send(call(model))
    await one.close()
    assert server.last().model == model


async def test_a_body_too_large_to_be_hashed_beside_other_work_is_signed_as_well(server: SignedServer) -> None:
    one = provider(server)
    message = {"role": "user", "content": "x" * 400_000}
    await one.send(call("text", {"messages": [message]}))
    await one.close()
    assert len(server.last().turns[0][1]) == 400_000


# --- keys ---


async def test_a_wrong_key_is_noticed(server: SignedServer) -> None:
    one, refused = provider(server, secret_access_key="wrong"), server.refused
    with pytest.raises(UpstreamDenied) as denied:
        await one.send(call("text"))
    await one.close()
    assert server.refused == refused + 1
    assert "wrong" not in str(denied.value)


async def test_credentials_of_the_database_are_followed(server: SignedServer) -> None:
    one, secrets = provider(server, secret_access_key="secret:aws"), Secrets()
    await one.open(secrets)
    with pytest.raises(NotConfigured, match="'aws'"):
        await one.send(call("text"))
    secrets.put("aws", "wrong")
    with pytest.raises(UpstreamDenied):
        await one.send(call("text"))
    secrets.put("aws", "two\nlines")
    with pytest.raises(NotConfigured, match="secret:aws") as refused:
        await one.send(call("text"))
    assert "lines" not in str(refused.value)
    secrets.put("aws", scripted.SECRET_KEY)
    await one.send(call("text"))
    await one.close()
    assert secrets.watchers == []


async def test_the_environment_is_used_where_the_settings_say_nothing(
    server: SignedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", scripted.ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", scripted.SECRET_KEY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", scripted.REGION)
    monkeypatch.delenv("AWS_REGION", raising=False)
    one = provider(server, region=None, access_key_id=None, secret_access_key=None)
    await one.send(call("text"))
    await one.close()


async def test_a_session_token_goes_along() -> None:
    credentials = Credentials("AKID", "theirs", "token+/=")
    server = SignedServer(scripted.Bedrock(), credentials, "bedrock", scripted.REGION)
    server.start()
    one = provider(server, access_key_id="AKID", secret_access_key="theirs", session_token="token+/=")
    await one.send(call("text"))
    await one.close()
    server.stop()
    assert server.refused == 0


async def test_an_api_key_is_sent_as_it_is(server: SignedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "of-the-environment")
    none: dict[str, Any] = {"access_key_id": None, "secret_access_key": None}
    for settings, expected in (({"api_key": "bedrock-key"}, "bedrock-key"), ({}, "of-the-environment")):
        one = provider(server, **none, **settings)
        with pytest.raises(UpstreamDenied):  # The scripted server knows signatures only.
            await one.send(call("text"))
        await one.close()
        assert server.requests()[-1].headers["authorization"] == f"Bearer {expected}"


async def test_a_key_that_the_caller_brought_replaces_ours(server: SignedServer) -> None:
    one = provider(server)
    with pytest.raises(UpstreamRefused):
        await one.send(call("text", key="brought"))
    await one.close()
    headers = server.requests()[-1].headers
    assert headers["authorization"] == "Bearer brought"
    assert "x-amz-date" not in headers


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"region": "moon"}, "region"),
        ({"endpoint": "ftp://x"}, "endpoint"),
        ({"secret_access_key": None}, "go together"),
        ({"access_key_id": None, "secret_access_key": None, "session_token": "x"}, "session_token"),
    ],
)
def test_settings_that_cannot_be(server: SignedServer, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        provider(server, **settings)


def test_what_is_missing_is_said_at_the_start(server: SignedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingsError, match="region"):
        provider(server, region=None)
    with pytest.raises(SettingsError, match="AWS_ACCESS_KEY_ID"):
        provider(server, access_key_id=None, secret_access_key=None)
    with pytest.raises(SettingsError, match="characters") as refused:
        provider(server, secret_access_key="two words")
    assert "two words" not in str(refused.value)


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-east-1", "bedrock-runtime.us-east-1.amazonaws.com"),
        ("cn-north-1", "bedrock-runtime.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "bedrock-runtime.us-gov-west-1.amazonaws.com"),
    ],
)
def test_where_the_service_is(region: str, host: str) -> None:
    one = Bedrock(Settings.model_validate({"region": region, **KEYS}), 5)
    client: Any = boto3.client("bedrock-runtime", region_name=region, aws_access_key_id="a", aws_secret_access_key="b")
    client.close()
    assert client.meta.endpoint_url == f"https://{host}"
    assert one._account._host == host


async def test_a_picture_by_url_is_refused_before_anything_is_sent(server: SignedServer) -> None:
    one, before = provider(server), len(server.requests())
    part = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    with pytest.raises(Unsupported, match="URL"):
        await one.send(call("text", {"messages": [{"role": "user", "content": [part]}]}))
    await one.close()
    assert len(server.requests()) == before


# --- embeddings ---


class Embedding(SignedServer):
    """Answers InvokeModel as Titan or Cohere does: the vector of a text begins with its length."""

    tokens: str | None = None
    """What the header says of each call."""

    def note(self, request: Received) -> Behaviour:
        Upstream.note(self, request)
        assert request.headers["authorization"] == self.expected(request)
        asked = request.json
        if "inputText" in asked:
            text = asked["inputText"]
            answer: dict[str, Any] = {"embedding": [len(text), 0.5], "inputTextTokenCount": len(text)}
        else:
            answer = {"embeddings": {"float": [[len(text), 0.5] for text in asked["texts"]]}, "id": "x"}
        told = {} if self.tokens is None else {"x-amzn-bedrock-input-token-count": self.tokens}
        headers = {"content-type": "application/json", **told}
        return Playing(Played(200, headers, (json.dumps(answer).encode(),)))


@pytest.fixture
def embedding() -> Iterator[Embedding]:
    credentials = Credentials(scripted.ACCESS_KEY, scripted.SECRET_KEY)
    one = Embedding(scripted.Bedrock(), credentials, "bedrock", scripted.REGION)
    one.start()
    yield one
    one.stop()


def embedding_call(model: str, texts: list[Any], **fields: Any) -> Call:
    data = json.dumps({"model": "m", "input": texts, **fields}).encode()
    now = asyncio.get_running_loop().time()
    return Call(decode_embeddings(data), "id", model, None, Timeouts(), now, now + 30, {})


async def test_titan_embeds_one_text_at_a_time(embedding: Embedding) -> None:
    embedding.tokens = "3"
    one = provider(embedding)
    reply = await one.send(embedding_call("amazon.titan-embed-text-v2:0", ["a", "bcd"], dimensions=2))
    await one.close()
    assert isinstance(reply.result, EmbeddingResult)
    assert list(memoryview(reply.result.data).cast("B").cast("f")) == [1, 0.5, 3, 0.5]
    assert (reply.result.rows, reply.result.dimensions, reply.usage) == (2, 2, Usage(input=6))
    assert [request.json for request in embedding.requests()] == [
        {"inputText": "a", "dimensions": 2},
        {"inputText": "bcd", "dimensions": 2},
    ]
    assert embedding.requests()[0].path == "/model/amazon.titan-embed-text-v2%3A0/invoke"


async def test_cohere_embeds_some_at_a_time_and_what_nobody_counted_is_estimated(embedding: Embedding) -> None:
    one = provider(embedding)
    reply = await one.send(embedding_call("cohere.embed-v4:0", ["abcd"] * 100))
    await one.close()
    assert isinstance(reply.result, EmbeddingResult)
    assert reply.result.rows == 100
    assert [len(request.json["texts"]) for request in embedding.requests()] == [96, 4]
    assert reply.usage == Usage(input=100, exact=False)


@pytest.mark.parametrize(
    ("model", "texts"),
    [("amazon.titan-embed-text-v1", ["a"] * 129), ("amazon.titan-embed-text-v1", [[1, 2]]), ("meta.llama", ["a"])],
)
async def test_what_cannot_be_embedded_is_refused(embedding: Embedding, model: str, texts: list[Any]) -> None:
    one = provider(embedding)
    with pytest.raises(Invalid):
        await one.send(embedding_call(model, texts))
    await one.close()
    assert embedding.requests() == []


# --- the scripted server, by AWS's own client ---


@pytest.fixture(scope="module")
def sdk(server: SignedServer) -> Iterator[Any]:
    client: Any = boto3.client(
        "bedrock-runtime",
        endpoint_url=server.origin,
        region_name=scripted.REGION,
        aws_access_key_id=scripted.ACCESS_KEY,
        aws_secret_access_key=scripted.SECRET_KEY,
        config=Config(retries={"total_max_attempts": 1}),
    )
    yield client
    client.close()


MESSAGES = [{"role": "user", "content": [{"text": "Say something."}]}]


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_the_official_client_reads_the_scripted_answers(sdk: Any, server: SignedServer, scenario: Scenario) -> None:
    whole = sdk.converse(modelId=scenario.name, messages=MESSAGES)
    content = whole["output"]["message"]["content"]
    assert "".join(block.get("text", "") for block in content) == scenario.text
    assert whole["usage"]["inputTokens"] == scenario.told.input
    text, calls, stopped, usage = "", 0, "", 0
    for event in sdk.converse_stream(modelId=scenario.name, messages=MESSAGES)["stream"]:
        text += event.get("contentBlockDelta", {}).get("delta", {}).get("text", "")
        calls += "toolUse" in event.get("contentBlockStart", {}).get("start", {})
        stopped = event.get("messageStop", {}).get("stopReason", stopped)
        usage = event.get("metadata", {}).get("usage", {}).get("outputTokens", usage)
    assert (text, calls) == (scenario.text, len(scenario.calls))
    assert (stopped, usage) == (whole["stopReason"], scenario.told.output)
    assert server.last().turns == [("user", "Say something.")]


@pytest.mark.parametrize("failure", REFUSALS)
def test_the_official_client_reads_the_scripted_refusals(sdk: Any, failure: Failure) -> None:
    with pytest.raises(ClientError) as refused:
        sdk.converse(modelId=f"fail-{failure}", messages=MESSAGES)
    assert refused.value.response["Error"]["Code"].endswith("Exception")


def test_the_official_client_reads_the_scripted_break(sdk: Any) -> None:
    broken = sdk.converse_stream(modelId="error-text", messages=MESSAGES)["stream"]
    with contextlib.closing(broken), pytest.raises(EventStreamError, match="scripted break"):
        list(broken)
