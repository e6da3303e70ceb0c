"""What the fault suites share: an impatient installation, and the proof that a fault left nothing behind."""

from typing import Any

import pytest

from tests.conftest import Serve
from tests.support.clients import Response, chat
from tests.support.databases import database, kind, place, postgres_schema, sqlite_template
from tests.support.server import Key, Polyforge
from tests.support.settings import PER_CALL_USD, WELL, Pool, settings
from tests.support.upstream import Upstream

__all__ = ["database", "kind", "place", "postgres_schema", "sqlite_template"]

CHAT = "/v1/chat/completions"
MICROS = 1_000_000
BUDGET_CALLS = 2
HASTY_TIMEOUTS = {"connect": 1.0, "first_token": 1.0, "idle": 1.0, "total": 2.0, "request": 10.0}
COOLDOWN = 5


@pytest.fixture(scope="module")
def hasty(serve: Serve, upstream: Upstream, pool: Pool) -> Polyforge:
    """An installation that soon loses its patience, and then leaves a deployment alone for long."""
    gateway = {"timeouts": HASTY_TIMEOUTS, "cooldown_seconds": COOLDOWN}
    return serve(settings(upstream, pool.settings(), gateway=gateway))


def careful_key(server: Polyforge) -> Key:
    """A key on which everything that stays behind shows: one call at a time, and room for two altogether."""
    return server.create_key(concurrency=1, budget_usd=BUDGET_CALLS * PER_CALL_USD)


def ask(server: Polyforge, key: Key, model: str, **more: Any) -> Response:
    """One chat request."""
    return server.call(CHAT, key=key.key, json=chat(model, **more))


def the_record(server: Polyforge, key: Key) -> dict[str, Any]:
    """The one usage record of `key`."""
    (record,) = server.settled(key, 1)
    return record


def assert_nothing_is_stuck(server: Polyforge, key: Key) -> None:
    """The one call of a `careful_key` is over: what its record did not cost is there to be spent, to the cent."""
    spent = the_record(server, key)["price_micros"]
    assert 0 <= spent <= PER_CALL_USD * MICROS
    left = (BUDGET_CALLS * MICROS - spent) // MICROS
    after = [ask(server, key, WELL) for _ in range(left + 1)]
    assert [response.status for response in after] == [200] * left + [429], after[-1].body
    assert after[-1].error["code"] == "insufficient_quota"
    server.settled(key, 1 + left)
