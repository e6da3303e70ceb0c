"""Generated malformed requests over all dialects and providers: no 500, no hang, no secret in an answer or the log."""

import contextlib
import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.clients import Response, call
from tests.support.scripted.malformed import GOOD, malformed
from tests.support.scripted.providers import PROVIDERS
from tests.support.scripted.server import ScriptedServer
from tests.support.server import Polyforge, stopping

CALLERS = 4
SECRETS = (b"sk-scripted", b"sk-ant", b"AIza", b"AKIA")
UPSTREAM_FAULTS = (502, 503)
"""For what a provider answers to a request that it, too, finds strange."""


@pytest.fixture(scope="module")
def house_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Polyforge, list[str]]]:
    """A gateway before every provider's scripted server, and what these are called."""
    with contextlib.ExitStack() as running:
        settings = {}
        for provider in PROVIDERS:
            server = ScriptedServer(provider)
            server.start()
            running.callback(server.stop)
            settings[provider.name] = server.settings()
        whole = {
            "providers": settings,
            "models": {f"{name}/*": {"deployments": [{"provider": name}]} for name in settings},
            "gateway": {"attempts": 1, "cooldown_seconds": 0, "unsupported_parameters": "drop"},
        }
        gateway = running.enter_context(stopping(Polyforge(tmp_path_factory.mktemp("malformed"), whole)))
        yield gateway, list(settings)


@pytest.mark.soak
@pytest.mark.timeout(1_800)
def test_whatever_comes_is_answered_and_tells_nothing(house_of_all: tuple[Polyforge, list[str]], soak: bool) -> None:
    gateway, providers = house_of_all
    key = gateway.create_key().key
    count = 10_000 if soak else 1_000

    def ask(seed: int) -> tuple[str, bytes, Response]:
        dice = random.Random(seed)
        path = dice.choice(list(GOOD))
        body = malformed(dice, path, dice.choice(providers))
        return path, body, call(gateway.url, path, key=key, body=body)

    statuses: dict[int, int] = {}
    with ThreadPoolExecutor(CALLERS) as callers:
        for seed, (path, body, answer) in enumerate(callers.map(ask, range(count))):
            told = f"seed {seed}, {path}: {answer.status} {answer.body[:300]!r} to {body[:2000]!r}"
            assert answer.failure is None, told
            assert answer.status == 200 or 400 <= answer.status < 500 or answer.status in UPSTREAM_FAULTS, told
            assert not any(secret in answer.body for secret in SECRETS), told
            if answer.status != 200:
                assert json.loads(answer.body), told
            statuses[answer.status] = statuses.get(answer.status, 0) + 1
    print(f"{count} requests: {dict(sorted(statuses.items()))}")
    assert statuses[400] > count / 10
    assert not any(secret.decode() in gateway.log for secret in SECRETS)
