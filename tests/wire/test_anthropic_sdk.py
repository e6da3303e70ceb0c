"""Anthropic's own client, unchanged: pointed at Polyforge, and at the scripted server that plays Anthropic."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic
from anthropic.types import MessageParam, ToolParam
from pydantic import BaseModel

from tests.support.scripted.anthropic import COUNTED, SCRIPTED_MODELS, AnthropicServer
from tests.support.scripted.openai import OpenAI
from tests.support.scripted.scenarios import SCENARIOS, Scenario
from tests.support.scripted.server import ScriptedServer
from tests.support.server import Key, Polyforge, stopping

HELLO: list[MessageParam] = [{"role": "user", "content": "Say hello."}]
LOOK: ToolParam = {
    "name": "get_weather",
    "description": "Tells the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "refusal": "refusal",
    "content_filter": "refusal",
}
PROVIDERS = ("claude", "gpt")
PER_CALL = {"per_call": 1.0}
ERRORS = {
    "rate": (anthropic.RateLimitError, "rate_limit_error"),
    "invalid": (anthropic.BadRequestError, "invalid_request_error"),
    "context": (anthropic.BadRequestError, "invalid_request_error"),
    "not_found": (anthropic.NotFoundError, "not_found_error"),
}


@pytest.fixture(scope="module")
def claude() -> Iterator[AnthropicServer]:
    """Anthropic, as a script."""
    server = AnthropicServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def gpt() -> Iterator[ScriptedServer]:
    """An OpenAI-compatible server, as a script."""
    server = ScriptedServer(OpenAI())
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def gateway(
    claude: AnthropicServer, gpt: ScriptedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Polyforge]:
    """One gateway before both; the model behind the prefix says what is played."""
    servers = {"claude": claude, "gpt": gpt}
    settings = {
        "providers": {name: server.settings() for name, server in servers.items()},
        "models": {
            **{f"{name}/*": {"deployments": [{"provider": name}], "price": PER_CALL} for name in servers},
            **{own: {"deployments": [{"provider": name, "model": fails}]} for own, name, fails in failing()},
            "text": {"deployments": [{"provider": "claude"}], "price": PER_CALL},
        },
        "gateway": {"attempts": 1, "cooldown_seconds": 0},
    }
    with stopping(Polyforge(tmp_path_factory.mktemp("anthropic"), settings)) as server:
        yield server


def failing() -> Iterator[tuple[str, str, str]]:
    """A model of its own for each test of a failure, because a deployment that failed is left alone for a while."""
    for name in PROVIDERS:
        for failure in ERRORS:
            for stream in (False, True):
                yield f"{name}/{failure}/{stream}", name, f"fail-{failure}"


@pytest.fixture(scope="module")
def key(gateway: Polyforge) -> Key:
    """A key without limits."""
    return gateway.create_key()


@pytest.fixture
def client(gateway: Polyforge, key: Key) -> Iterator[Anthropic]:
    """The client, without retries."""
    with Anthropic(base_url=gateway.url, api_key=key.key, max_retries=0) as client:
        yield client


@pytest.fixture(params=["direct", *PROVIDERS])
def asked(
    request: pytest.FixtureRequest, client: Anthropic, claude: AnthropicServer
) -> Iterator[tuple[Anthropic, str]]:
    """A client and the prefix of its models: of the scripted server itself, and of both providers by Polyforge."""
    if request.param != "direct":
        yield client, f"{request.param}/"
        return
    with Anthropic(base_url=claude.origin, api_key="sk-ant-scripted", max_retries=0) as direct:
        yield direct, ""


def check(message: anthropic.types.Message, scenario: Scenario) -> None:
    """The message must be what the scenario tells."""
    assert "".join(block.text for block in message.content if block.type == "text") == scenario.text
    assert "".join(block.thinking for block in message.content if block.type == "thinking") == "".join(
        scenario.thoughts
    )
    calls = [block for block in message.content if block.type == "tool_use"]
    assert [(call.id, call.name, call.input) for call in calls] == [
        (call.id, call.name, call.arguments or {}) for call in scenario.calls
    ]
    assert message.stop_reason in (REASONS[scenario.ending], "refusal")
    assert (message.type, message.role) == ("message", "assistant")
    usage, told = message.usage, scenario.told
    assert (usage.input_tokens, usage.output_tokens) == (told.input, told.output)
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (told.cache_read, told.cache_write)
    assert (usage.output_tokens_details.thinking_tokens if usage.output_tokens_details else 0) == told.reasoning


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_messages(asked: tuple[Anthropic, str], scenario: Scenario) -> None:
    client, prefix = asked
    message = client.messages.create(model=prefix + scenario.name, max_tokens=100, messages=HELLO)
    check(message, scenario)
    assert message.id.startswith("msg_")


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_streams(asked: tuple[Anthropic, str], scenario: Scenario) -> None:
    client, prefix = asked
    with client.messages.stream(model=prefix + scenario.name, max_tokens=100, messages=HELLO) as stream:
        assert "".join(stream.text_stream) == scenario.text
        check(stream.get_final_message(), scenario)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("failure", ERRORS)
def test_refusals(asked: tuple[Anthropic, str], failure: str, stream: bool) -> None:
    client, prefix = asked
    model = f"{prefix}{failure}/{stream}" if prefix else f"fail-{failure}"
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(model=model, max_tokens=9, messages=HELLO, stream=stream)
    kind, name = ERRORS[failure]
    assert isinstance(caught.value, kind)
    assert caught.value.type == name
    assert caught.value.request_id


def test_a_stream_that_turns_into_an_error_raises(asked: tuple[Anthropic, str]) -> None:
    client, prefix = asked
    seen: list[str] = []

    def read_on() -> None:
        with client.messages.stream(model=f"{prefix}error-text", max_tokens=9, messages=HELLO) as stream:
            seen.extend(stream.text_stream)

    with pytest.raises(anthropic.APIStatusError):
        read_on()
    assert SCENARIOS["text"].text.startswith("".join(seen))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_stream_that_breaks_off_raises(client: Anthropic, provider: str) -> None:
    with (
        pytest.raises(anthropic.APIStatusError) as caught,
        client.messages.stream(model=f"{provider}/broken-text", max_tokens=9, messages=HELLO) as stream,
    ):
        stream.get_final_message()
    assert caught.value.type == "api_error"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_tools_there_and_back(client: Anthropic, claude: AnthropicServer, gpt: ScriptedServer, provider: str) -> None:
    asking = {"max_tokens": 50, "tools": [LOOK]}
    first: Any = client.messages.create(model=f"{provider}/tools", messages=HELLO, **asking)  # pyright: ignore[reportArgumentType, reportCallIssue]
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": f"of {block.name}"}
        for block in first.content
        if block.type == "tool_use"
    ]
    turns: Any = [*HELLO, {"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    client.messages.create(model=f"{provider}/text", messages=turns, tool_choice={"type": "any"}, **asking)  # pyright: ignore[reportArgumentType, reportCallIssue]
    seen = (claude if provider == "claude" else gpt).last()
    assert seen.called == [("call_one", "get_weather", {"city": "Köln", "days": 2}), ("call_two", "get_time", {})]
    assert seen.results == [("call_one", "of get_weather"), ("call_two", "of get_time")]
    assert seen.tools["get_weather"]["properties"] == {"city": {"type": "string"}}
    assert seen.tool_choice == "required"


def test_thoughts_come_back_word_for_word(client: Anthropic, claude: AnthropicServer) -> None:
    thinking = SCENARIOS["thinking"]
    with client.messages.stream(model="claude/thinking", max_tokens=2000, messages=HELLO) as stream:
        first = stream.get_final_message()
    turns: Any = [*HELLO, {"role": "assistant", "content": first.content}, {"role": "user", "content": "And then?"}]
    client.messages.create(
        model="claude/text", max_tokens=2000, messages=turns, thinking={"type": "enabled", "budget_tokens": 1024}
    )
    seen = claude.last()
    assert seen.thoughts == [("".join(thinking.thoughts), thinking.signature)]
    assert seen.budget == 1024


def test_thoughts_come_back_from_clients_of_openais_too(gateway: Polyforge, key: Key, claude: AnthropicServer) -> None:
    thinking = SCENARIOS["thinking"]
    asking = {"model": "claude/thinking", "messages": HELLO, "max_tokens": 9}
    first = gateway.call("/v1/chat/completions", key=key.key, json=asking).json["choices"][0]["message"]
    assert first["reasoning_content"] == "".join(thinking.thoughts)
    turns = [*HELLO, first, {"role": "user", "content": "And then?"}]
    again = gateway.call("/v1/chat/completions", key=key.key, json={**asking, "messages": turns})
    assert again.status == 200
    assert claude.last().thoughts == [("".join(thinking.thoughts), thinking.signature)]


def test_an_effort_reaches_another_provider(client: Anthropic, gpt: ScriptedServer) -> None:
    client.messages.create(
        model="gpt/text",
        max_tokens=2000,
        messages=HELLO,
        thinking={"type": "adaptive"},
        output_config={"effort": "high"},
    )
    assert gpt.last().effort == "high"


class Person(BaseModel):
    """What is to be answered."""

    name: str
    age: int


@pytest.mark.parametrize("provider", PROVIDERS)
def test_structured_output(client: Anthropic, claude: AnthropicServer, gpt: ScriptedServer, provider: str) -> None:
    message = client.messages.parse(model=f"{provider}/structured", max_tokens=50, messages=HELLO, output_format=Person)
    assert message.parsed_output == Person(name="Ada", age=36)
    seen = (claude if provider == "claude" else gpt).last()
    assert set(seen.schema["properties"]) == {"name", "age"}


def test_what_passes_is_not_touched(gateway: Polyforge, key: Key, claude: AnthropicServer) -> None:
    raw = (
        b'{ "max_tokens":5,"messages":[{"role":"user","content":[{"type":"text","text":"\\u00fc",'
        b'"cache_control":{"type":"ephemeral","ttl":"1h"}}]}], "model":"text",'
        b'"tools":[{"type":"web_search_20260318","name":"web_search"}],"container":"c_1","brand_new":[1.0,2e3] }'
    )
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "one,two", "x-api-key": key.key}
    response = gateway.call("/v1/messages", method="POST", body=raw, headers=headers)
    assert response.status == 200
    (request, *_) = reversed(claude.requests("text"))
    assert request.body == raw
    assert request.headers["anthropic-beta"] == "one,two"
    assert request.headers["x-api-key"] == "sk-ant-scripted"
    assert "authorization" not in request.headers
    assert response.json["model"] == "claude-scripted-2026"
    assert response.headers["request-id"] == response.headers["x-request-id"]


def test_tools_that_run_at_anthropic_are_refused_elsewhere(client: Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="web_search") as caught:
        client.messages.create(
            model="gpt/text",
            max_tokens=9,
            messages=HELLO,
            tools=[{"type": "web_search_20250305", "name": "web_search"}],
        )
    assert caught.value.type == "invalid_request_error"


def test_counting_asks_a_provider_that_counts(client: Anthropic, gateway: Polyforge) -> None:
    key = gateway.create_key(budget_usd=0.5)
    counting = client.with_options(api_key=key.key)
    assert counting.messages.count_tokens(model="claude/text", messages=HELLO).input_tokens == COUNTED
    (record,) = gateway.settled(key)
    assert (record["task"], record["cost_micros"], record["price_micros"]) == ("tokenization", 0, 0)


def test_counting_is_estimated_elsewhere_and_says_so(client: Anthropic) -> None:
    long: list[MessageParam] = [{"role": "user", "content": "word " * 1000}]
    counted = client.messages.with_raw_response.count_tokens(model="gpt/text", messages=long, tools=[LOOK])
    assert counted.headers["x-polyforge-estimated"] == "true"
    assert 1000 < counted.parse().input_tokens < 2000


def test_models_are_listed_as_anthropic_does(client: Anthropic) -> None:
    listed = list(client.models.list())
    assert {"text", "claude/*", "gpt/*"} <= {model.id for model in listed}
    assert {model.type for model in listed} == {"model"}
    assert client.models.retrieve("text").display_name == "text"
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.models.retrieve("nothing")
    assert caught.value.type == "not_found_error"


def test_the_scripted_server_lists_models(claude: AnthropicServer) -> None:
    with Anthropic(base_url=claude.origin, api_key="sk-ant-scripted") as direct:
        assert tuple(model.id for model in direct.models.list()) == SCRIPTED_MODELS
        assert direct.messages.count_tokens(model="text", messages=HELLO).input_tokens == COUNTED


def test_both_ways_to_send_a_key(gateway: Polyforge, key: Key) -> None:
    with Anthropic(base_url=gateway.url, auth_token=key.key, api_key=None, max_retries=0) as bearer:
        assert bearer.messages.create(model="text", max_tokens=9, messages=HELLO).content
    with Anthropic(base_url=gateway.url, api_key="pf-nonsense", max_retries=0) as wrong:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            wrong.messages.create(model="text", max_tokens=9, messages=HELLO)
        assert caught.value.type == "authentication_error"
        assert caught.value.request_id


def test_a_spent_budget_is_a_matter_of_money_and_not_retried(gateway: Polyforge, claude: AnthropicServer) -> None:
    key = gateway.create_key(budget_usd=1.0)
    with Anthropic(base_url=gateway.url, api_key=key.key) as client, contextlib.ExitStack() as stack:
        client.messages.create(model="text", max_tokens=9, messages=HELLO)
        before = len(claude.requests("text"))
        caught = stack.enter_context(pytest.raises(anthropic.PaymentRequiredError))
        client.messages.create(model="text", max_tokens=9, messages=HELLO)
    assert caught.value.type == "billing_error"
    assert len(claude.requests("text")) == before


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_what_was_used_is_written_down(gateway: Polyforge, provider: str, stream: bool) -> None:
    key = gateway.create_key()
    with Anthropic(base_url=gateway.url, api_key=key.key) as client:
        answer = client.messages.create(model=f"{provider}/cache_written", max_tokens=9, messages=HELLO, stream=stream)
        if stream:
            list(answer)
    (record,) = gateway.settled(key)
    told = SCENARIOS["cache_written"].told
    assert (record["input_tokens"], record["output_tokens"]) == (told.input, told.output)
    assert (record["cache_read_tokens"], record["cache_write_tokens"]) == (told.cache_read, told.cache_write)


def test_malformed_requests_are_refused_by_name(gateway: Polyforge, key: Key) -> None:
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        response = gateway.call(path, method="POST", body=b'{"model": "text"}', key=key.key)
        assert response.status == 400
        said = json.loads(response.body)
        assert (said["type"], said["error"]["type"]) == ("error", "invalid_request_error")
        assert said["request_id"] == response.headers["request-id"]
        assert gateway.call(path, method="GET", key=key.key).status == 405
