"""Generated malformed requests, and answers, over all dialects and providers: no 500, no hang, no secret told."""

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.clients import Response, call
from tests.support.scripted.malformed import CALLERS_KEY, CHATS, any_path, good, malformed, strange_headers
from tests.support.scripted.providers import all_serving, settings_before
from tests.support.scripted.scenarios import SCENARIOS
from tests.support.scripted.vertex import TOKEN
from tests.support.server import Polyforge, stopping

CALLERS = 4
ANSWERS = (*SCENARIOS, *SCENARIOS, "fail-server", "fail-invalid", "fail-context", "fail-not_found", "error-text")
"""To be spoiled. No refusal that has a deployment left alone for a while is among them."""
UPSTREAM_FAULTS = (502, 503)
"""For what a provider answers to a request that it, too, finds strange."""


@pytest.fixture(scope="module")
def house_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Polyforge, dict[str, Any]]]:
    """A gateway before every provider's scripted server, and the settings of these by their names."""
    with all_serving() as servers:
        settings = settings_before(servers, unsupported_parameters="drop")
        with stopping(Polyforge(tmp_path_factory.mktemp("malformed"), settings)) as gateway:
            yield gateway, settings["providers"]


def secrets_of(provider: Mapping[str, str]) -> Iterator[str]:
    """What the settings of a provider hold that nobody else may see."""
    yield from (provider[name] for name in ("api_key", "access_key_id", "secret_access_key") if name in provider)
    if "credentials" in provider:
        yield from json.loads(provider["credentials"])["private_key"].split("\n")[1:3]


def secrets_around(gateway: Polyforge, key: str, providers: Mapping[str, Any]) -> set[str]:
    """All that must not come out."""
    theirs = {secret for provider in providers.values() for secret in secrets_of(provider)}
    return {key, gateway.admin_key, CALLERS_KEY, TOKEN, *theirs}


@pytest.mark.soak
@pytest.mark.timeout(1_800)
def test_whatever_comes_is_answered_and_tells_nothing(
    house_of_all: tuple[Polyforge, dict[str, Any]], soak: bool
) -> None:
    gateway, providers = house_of_all
    key = gateway.create_key().key
    secrets = secrets_around(gateway, key, providers)
    count = 10_000 if soak else 1_000

    def ask(seed: int) -> tuple[str, bytes, Response]:
        dice = random.Random(seed)
        path = any_path(dice)
        body = malformed(dice, path, dice.choice(list(providers)))
        return path, body, call(gateway.url, path, key=key, body=body, headers=strange_headers(dice))

    statuses: Counter[int] = Counter()
    answered: set[str] = set()
    with ThreadPoolExecutor(CALLERS) as callers:
        for seed, (path, body, answer) in enumerate(callers.map(ask, range(count))):
            told = f"seed {seed}, {path}: {answer.status} {answer.body[:300]!r} to {body[:2000]!r}"
            assert answer.failure is None, told
            assert answer.complete, told
            assert answer.status == 200 or 400 <= answer.status < 500 or answer.status in UPSTREAM_FAULTS, told
            assert not any(secret.encode() in answer.body for secret in secrets), told
            if answer.status != 200:
                assert json.loads(answer.body), told
            else:
                answered.add(path)
            statuses[answer.status] += 1
    print(f"{count} requests: {dict(sorted(statuses.items()))}")
    assert statuses[400] > count / 10
    assert answered >= {"/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/v1/chat"}
    assert not any(secret in gateway.log for secret in secrets)


@pytest.mark.soak
@pytest.mark.timeout(1_800)
def test_whatever_an_upstream_answers_is_no_fault_of_ours(
    house_of_all: tuple[Polyforge, dict[str, Any]], soak: bool
) -> None:
    gateway, providers = house_of_all
    key = gateway.create_key().key
    secrets = secrets_around(gateway, key, providers)
    count = 10_000 if soak else 1_000

    def ask(seed: int) -> tuple[str, Response]:
        dice = random.Random(seed)
        model = f"{dice.choice(list(providers))}/spoiled-{seed}-{dice.choice(ANSWERS)}"
        path = dice.choice(CHATS)
        return f"{path} {model}", call(gateway.url, path, key=key, body=good(path, model, stream=dice.random() < 0.6))

    statuses: Counter[int] = Counter()
    with ThreadPoolExecutor(CALLERS) as callers:
        for asked, answer in callers.map(ask, range(count)):
            told = f"{asked}: {answer.status} {answer.body[-500:]!r}"
            assert answer.failure is None, told
            assert answer.complete, told
            assert answer.status not in (0, 500), told
            assert not any(secret.encode() in answer.body for secret in secrets), told
            statuses[answer.status] += 1
    print(f"{count} answers: {dict(sorted(statuses.items()))}")
    assert statuses[200] > count / 10
    assert statuses[502] > count / 10
    assert not any(secret in gateway.log for secret in secrets)
