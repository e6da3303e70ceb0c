"""Answers that are given again: through every dialect's official client, whole and as streams, as if made anew."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.support.scripted.asks import Ask, Caller, Turn
from tests.support.scripted.places import CALLERS, PROVIDERS, calling, gateway_before
from tests.support.scripted.providers import all_serving
from tests.support.scripted.scenarios import SCENARIOS, Scenario
from tests.support.scripted.server import ScriptedServer
from tests.support.server import Polyforge
from tests.wire.test_matrix import WEATHER, check

KEPT = [scenario for scenario in SCENARIOS.values() if scenario.ending not in ("refusal", "content_filter")]
MOVED = [scenario for scenario in SCENARIOS.values() if scenario.ending == "content_filter"]


@pytest.fixture(scope="module")
def servers() -> Iterator[Mapping[str, ScriptedServer]]:
    with all_serving() as started:
        yield started


@pytest.fixture(scope="module")
def gateway(servers: Mapping[str, ScriptedServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Polyforge]:
    with gateway_before(servers, tmp_path_factory.mktemp("cached"), cache={"default": {"ttl": 600}}) as server:
        yield server


@pytest.fixture(scope="module")
def callers(gateway: Polyforge) -> Iterator[Mapping[str, Caller]]:
    with calling(gateway) as made:
        yield made


@pytest.mark.parametrize("again", [False, True], ids=["then-whole", "then-stream"])
@pytest.mark.parametrize("first", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("scenario", KEPT, ids=[scenario.name for scenario in KEPT])
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("dialect", CALLERS)
def test_an_answer_given_again_says_the_same(
    servers: Mapping[str, ScriptedServer],
    callers: Mapping[str, Caller],
    dialect: str,
    provider: str,
    scenario: Scenario,
    first: bool,
    again: bool,
) -> None:
    caller, server = callers[dialect], servers[provider]
    ask: Any = Ask(
        turns=(Turn("user", f"{dialect} {first} {again}"),),
        tools={call.name: WEATHER for call in scenario.calls},
    )
    model = f"{provider}/{scenario.name}"
    before = len(server.requests())
    check(caller.ask(model, ask, stream=first), scenario, server)
    check(caller.ask(model, ask, stream=again), scenario, server)
    assert len(server.requests()) == before + 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("scenario", MOVED, ids=[scenario.name for scenario in MOVED])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_another_attempt_might_answer_is_not_kept(
    servers: Mapping[str, ScriptedServer],
    callers: Mapping[str, Caller],
    provider: str,
    scenario: Scenario,
    stream: bool,
) -> None:
    server, ask = servers[provider], Ask(turns=(Turn("user", f"again {stream}"),))
    before = len(server.requests())
    for _ in range(2):
        check(callers["openai_chat"].ask(f"{provider}/{scenario.name}", ask, stream=stream), scenario, server)
    assert len(server.requests()) == before + 2
