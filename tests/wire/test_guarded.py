"""Answers that go through guardrails: what nothing is found in says the same through every client and provider."""

from collections.abc import Iterator, Mapping

import pytest

from tests.support.scripted.asks import Ask, Caller, Turn
from tests.support.scripted.callers import AnthropicMessages, OpenAIChat, OpenAIResponses
from tests.support.scripted.providers import all_serving, settings_before
from tests.support.scripted.scenarios import SCENARIOS, Scenario
from tests.support.scripted.server import ScriptedServer
from tests.support.server import Polyforge, stopping
from tests.wire.test_matrix import WEATHER, check

CALLERS = {make.name: make for make in (OpenAIChat, OpenAIResponses, AnthropicMessages)}
PROVIDERS = ("openai", "anthropic", "bedrock", "gemini")


@pytest.fixture(scope="module")
def servers() -> Iterator[Mapping[str, ScriptedServer]]:
    with all_serving() as started:
        yield started


@pytest.fixture(scope="module")
def gateway(servers: Mapping[str, ScriptedServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Polyforge]:
    settings = settings_before({name: servers[name] for name in PROVIDERS})
    settings["guardrails"] = {"pii": {"use": "pii", "action": "mask", "always": True}}
    with stopping(Polyforge(tmp_path_factory.mktemp("guarded"), settings)) as server:
        yield server


@pytest.fixture(scope="module")
def callers(gateway: Polyforge) -> Iterator[Mapping[str, Caller]]:
    key = gateway.create_key().key
    made: dict[str, Caller] = {name: make(gateway.url, key) for name, make in CALLERS.items()}
    yield made
    for one in made.values():
        one.close()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=list(SCENARIOS))
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("dialect", CALLERS)
def test_what_nothing_is_found_in_says_the_same(
    servers: Mapping[str, ScriptedServer],
    callers: Mapping[str, Caller],
    dialect: str,
    provider: str,
    scenario: Scenario,
    stream: bool,
) -> None:
    ask = Ask(turns=(Turn("user", "hello"),), tools={call.name: WEATHER for call in scenario.calls})
    answered = callers[dialect].ask(f"{provider}/{scenario.name}", ask, stream=stream)
    check(answered, scenario, servers[provider])
