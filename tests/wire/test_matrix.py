"""Any client to any provider: every dialect through its official client, against every provider's own wire format."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import anthropic
import openai
import pytest

from tests.support.scripted.asks import LIMIT, Ask, Caller, Got, Turn
from tests.support.scripted.callers import AnthropicMessages, OpenAIChat, OpenAIResponses
from tests.support.scripted.langchain_callers import LangChainChat, LangChainResponses
from tests.support.scripted.litellm_callers import (
    MISSING,
    PYTHON,
    ClientError,
    LiteLLMAsynchronous,
    LiteLLMChat,
    LiteLLMMessages,
    LiteLLMResponses,
)
from tests.support.scripted.providers import PROVIDERS, all_serving, settings_before
from tests.support.scripted.scenarios import SCENARIOS, Scenario, Seen
from tests.support.scripted.server import ScriptedServer
from tests.support.server import Polyforge, stopping

CALLERS: dict[str, Callable[[str, str], Caller]] = {
    make.name: make
    for make in (
        OpenAIChat,
        OpenAIResponses,
        AnthropicMessages,
        LangChainChat,
        LangChainResponses,
        LiteLLMChat,
        LiteLLMResponses,
        LiteLLMMessages,
    )
}
WITHOUT_STOP = ("openai_responses", "langchain_responses", "litellm_responses")
"""The Responses API has no stop sequences."""
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
ERRORS: dict[str, tuple[str, ...]] = {
    "rate": ("RateLimitError",),
    "quota": ("RateLimitError",),
    "overloaded": ("InternalServerError", "ServiceUnavailableError", "OverloadedError", "BadGatewayError"),
    "server": ("InternalServerError", "BadGatewayError"),
    "denied": ("InternalServerError", "BadGatewayError"),
    "invalid": ("BadRequestError",),
    "context": ("BadRequestError", "RequestTooLargeError"),
    "not_found": ("NotFoundError",),
}
"""What clients call them; a 502 has a name of its own in LiteLLM."""
BLOCKED = ("refusal", "content_filter")


@pytest.fixture(scope="module")
def servers() -> Iterator[Mapping[str, ScriptedServer]]:
    """Every provider's scripted server."""
    with all_serving() as started:
        yield started


@pytest.fixture(scope="module")
def gateway(servers: Mapping[str, ScriptedServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Polyforge]:
    """One gateway before them all; `provider/scenario` is the model."""
    settings = settings_before(servers)
    settings["models"] |= failing(servers)
    with stopping(Polyforge(tmp_path_factory.mktemp("matrix"), settings)) as server:
        yield server


def failing(servers: Mapping[str, ScriptedServer]) -> dict[str, Any]:
    """A model of its own for each test of a failure, because a deployment that failed is left alone for a while."""
    return {
        f"{name}/{failure}/{caller}/{stream}": {"deployments": [{"provider": name, "model": f"fail-{failure}"}]}
        for name in servers
        for failure in ERRORS
        for caller in CALLERS
        for stream in (False, True)
    }


@pytest.fixture(scope="module")
def callers(gateway: Polyforge) -> Iterator[Mapping[str, Caller]]:
    """Every client, with a key for everything."""
    key = gateway.create_key().key
    makers = {**CALLERS, LiteLLMAsynchronous.name: LiteLLMAsynchronous}
    made = {name: make(gateway.url, key) for name, make in makers.items()}
    yield made
    for one in made.values():
        one.close()


def named(callers: Mapping[str, Caller], name: str) -> Caller:
    """One of them, when its client is installed."""
    if name.startswith("litellm") and not PYTHON.exists():
        pytest.skip(MISSING)
    return callers[name]


@pytest.fixture(params=CALLERS)
def caller(request: pytest.FixtureRequest, callers: Mapping[str, Caller]) -> Caller:
    """One dialect's official client."""
    return named(callers, request.param)


@pytest.fixture(params=[provider.name for provider in PROVIDERS])
def server(request: pytest.FixtureRequest, servers: Mapping[str, ScriptedServer]) -> ScriptedServer:
    """One provider."""
    return servers[request.param]


def names(server: ScriptedServer, scenario: str) -> str:
    return f"{server.provider.name}/{scenario}"


def check(got: Got, scenario: Scenario, server: ScriptedServer) -> None:
    told = scenario.told
    assert got.output == told.output
    assert got.input_total == told.input + told.cache_read + told.cache_write
    assert got.cached == told.cache_read
    if scenario.ending == "refusal":
        assert scenario.text in (got.text, got.refusal) or (got.refusal is None and not got.text)
        assert got.finish in (*BLOCKED, "stop")
        return
    assert got.text == scenario.text
    assert got.finish == scenario.ending or (got.finish in BLOCKED and scenario.ending in BLOCKED)
    assert [name for _, name, _ in got.calls] == [call.name for call in scenario.calls]
    for (id_, _, arguments), call in zip(got.calls, scenario.calls, strict=True):
        assert json.loads(arguments or "{}") == (call.arguments or {})
        assert id_ == call.id or not server.provider.keeps_ids
    assert len({id_ for id_, _, _ in got.calls}) == len(got.calls)
    assert got.thoughts is None or got.thoughts == "".join(scenario.thoughts)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_every_answer_arrives_whole(caller: Caller, server: ScriptedServer, scenario: Scenario, stream: bool) -> None:
    ask = Ask(tools={call.name: WEATHER for call in scenario.calls})
    got = caller.ask(names(server, scenario.name), ask, stream=stream)
    check(got, scenario, server)
    if stream and len(scenario.pieces) > 1:
        assert got.deltas >= 2, "the text came in one piece"
    assert server.last().stream is stream


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_litellm_asynchronously(callers: Mapping[str, Caller], server: ScriptedServer, stream: bool) -> None:
    caller, scenario = named(callers, LiteLLMAsynchronous.name), SCENARIOS["tools"]
    ask = Ask(tools={call.name: WEATHER for call in scenario.calls})
    check(caller.ask(names(server, scenario.name), ask, stream=stream), scenario, server)


def told_by(error: Any) -> tuple[set[str], Mapping[str, str]]:
    """The names of an error's class and of those above, and the headers of its answer."""
    if isinstance(error, ClientError):
        return set(error.classes), error.headers
    return {kind.__name__ for kind in type(error).__mro__}, error.response.headers


def asked(caller: Caller, server: ScriptedServer, ask: Ask) -> Seen:
    caller.ask(names(server, "text"), ask, stream=False)
    return server.last()


def test_what_is_asked_arrives(caller: Caller, server: ScriptedServer) -> None:
    seen = asked(
        caller,
        server,
        Ask(
            (Turn("user", "Hi."), Turn("assistant", "Hello."), Turn("user", "What is 2+2?")),
            system="Be brief.",
            temperature=0.5,
        ),
    )
    assert seen.system.strip() == "Be brief."
    assert seen.turns == [("user", "Hi."), ("assistant", "Hello."), ("user", "What is 2+2?")]
    assert (seen.temperature, seen.output_limit) == (0.5, LIMIT)
    assert seen.model == "text"


@pytest.mark.parametrize("caller", [name for name in CALLERS if name not in WITHOUT_STOP], indirect=True)
def test_stop_sequences_arrive(caller: Caller, server: ScriptedServer) -> None:
    assert asked(caller, server, Ask(stop=("END", "\n\n"))).stop == ["END", "\n\n"]


@pytest.mark.parametrize("choice", [None, "auto", "none", "required", "get_weather"])
def test_tools_arrive(caller: Caller, server: ScriptedServer, choice: str | None) -> None:
    seen = asked(caller, server, Ask(tools={"get_weather": WEATHER}, tool_choice=choice))
    if choice == "none" and not seen.tools:
        return  # Some providers have no such choice: the tools are withheld.
    assert seen.tools["get_weather"]["properties"] == WEATHER["properties"]
    assert seen.tools["get_weather"]["required"] == ["city"]
    assert seen.tool_choice in ((None, "auto") if choice in (None, "auto") else (choice,))


def test_several_results_of_one_turn_arrive(caller: Caller, server: ScriptedServer) -> None:
    calls = (("call_1", "get_weather", '{"city":"Köln"}'), ("call_2", "get_weather", "{}"))
    results = (("call_1", "get_weather", "rain"), ("call_2", "get_weather", "sun"))
    turns = (Turn("user", "Weather?"), Turn("assistant", calls=calls), Turn("tool", results=results))
    seen = asked(caller, server, Ask(turns, tools={"get_weather": WEATHER}))
    assert [(name, arguments) for _, name, arguments in seen.called] == [
        ("get_weather", {"city": "Köln"}),
        ("get_weather", {}),
    ]
    assert [text for _, text in seen.results] == ["rain", "sun"]
    if server.provider.keeps_ids:
        assert [id_ for id_, _, _ in seen.called] == [id_ for id_, _ in seen.results] == ["call_1", "call_2"]


def test_pictures_arrive(caller: Caller, server: ScriptedServer) -> None:
    ask = Ask((Turn("user", "What is this?", images=(f"data:image/png;base64,{PNG}",)),))
    seen = asked(caller, server, ask)
    assert seen.images == [("image/png", PNG)]
    assert seen.turns == [("user", "What is this?")]


def test_pictures_by_url_arrive_or_are_refused(caller: Caller, server: ScriptedServer) -> None:
    ask = Ask((Turn("user", "And this?", images=("https://example.com/a.png",)),))
    if server.provider.takes_urls:
        assert asked(caller, server, ask).images == [(None, "https://example.com/a.png")]
    else:
        with pytest.raises((openai.BadRequestError, anthropic.BadRequestError, ClientError), match="URL"):
            asked(caller, server, ask)


def test_a_schema_for_the_answer_arrives(caller: Caller, server: ScriptedServer) -> None:
    seen = asked(caller, server, Ask(schema=PERSON))
    wanted = (
        seen.schema or seen.tools["json_tool_call"]
    )  # LiteLLM's way with models of Anthropic's that it does not know
    assert wanted["properties"] == PERSON["properties"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("failure", ERRORS)
def test_refusals_of_the_provider_keep_their_meaning(
    caller: Caller, server: ScriptedServer, failure: str, stream: bool
) -> None:
    with pytest.raises((openai.APIStatusError, anthropic.APIStatusError, ClientError)) as caught:
        caller.ask(names(server, f"{failure}/{caller.name}/{stream}"), Ask(), stream=stream)
    classes, headers = told_by(caught.value)
    assert classes.intersection(ERRORS[failure]), caught.value
    if failure == "rate":
        assert 1 <= float(headers["retry-after"]) <= 8
    assert "sk-" not in str(caught.value)
    assert headers["x-request-id"]


@pytest.mark.parametrize("fault", ["broken", "error"])
def test_a_stream_that_breaks_off_never_ends_clean(caller: Caller, server: ScriptedServer, fault: str) -> None:
    with pytest.raises((openai.APIError, anthropic.APIError, ClientError, AssertionError, ValueError)) as caught:
        caller.ask(names(server, f"{fault}-text"), Ask(), stream=True)
    if isinstance(caught.value, AssertionError | ValueError):  # of our readers, and of LangChain
        assert "response.failed" in str(caught.value) or "error" in str(caught.value)
