"""Answers that go through guardrails: what nothing is found in says the same through every client and provider."""

from collections.abc import Iterator, Mapping

import pytest

from tests.support.scripted.asks import Ask, Caller, Turn
from tests.support.scripted.places import CALLERS, PROVIDERS, calling, gateway_before
from tests.support.scripted.providers import all_serving
from tests.support.scripted.scenarios import SCENARIOS, Scenario
from tests.support.scripted.server import ScriptedServer
from tests.support.server import Polyforge
from tests.wire.test_matrix import WEATHER, check


@pytest.fixture(scope="module")
def servers() -> Iterator[Mapping[str, ScriptedServer]]:
    with all_serving() as started:
        yield started


@pytest.fixture(scope="module")
def gateway(servers: Mapping[str, ScriptedServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Polyforge]:
    with gateway_before(
        servers,
        tmp_path_factory.mktemp("guarded"),
        guardrails={"pii": {"use": "pii", "action": "mask", "always": True}},
    ) as server:
        yield server


@pytest.fixture(scope="module")
def callers(gateway: Polyforge) -> Iterator[Mapping[str, Caller]]:
    with calling(gateway) as made:
        yield made


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
