"""Fixtures that every suite may use: the scripted upstream, and Polyforge as a process of its own."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.postgres import postgres
from tests.support.redis import redis_server
from tests.support.server import Polyforge, stopping
from tests.support.settings import UPSTREAM_KEY, Pool, settings, solo
from tests.support.upstream import Upstream

__all__ = ["postgres", "redis_server"]

Serve = Callable[..., Polyforge]


def pytest_configure() -> None:
    """Whoever ends the tests with SIGTERM, such as `timeout`, has their servers stopped as after Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def soak() -> bool:
    """Whether the long counts are wanted (`make soak`)."""
    return os.environ.get("POLYFORGE_SOAK") == "1"


@pytest.fixture(scope="session")
def upstream_server() -> Iterator[Upstream]:
    """The server behind `upstream`."""
    server = Upstream(api_key=UPSTREAM_KEY).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def upstream(upstream_server: Upstream) -> Upstream:
    """An OpenAI-compatible provider that does what tests tell it to; what another file's told it is forgotten."""
    upstream_server.unscript()
    return upstream_server


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Starts `polyforge up` with given settings; at the end of the module it must stop cleanly and stand the audit."""
    with contextlib.ExitStack() as running:

        def start(settings: dict[str, Any], **options: Any) -> Polyforge:
            server = Polyforge(tmp_path_factory.mktemp("polyforge"), settings, **options)
            return running.enter_context(stopping(server))

        yield start


@pytest.fixture(scope="session")
def pool() -> Pool:
    """Fresh models of the shared installation."""
    return Pool(solos=160, pairs=80)


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory, upstream_server: Upstream, pool: Pool) -> Iterator[Polyforge]:
    """One installation with usual settings for all tests that do not need their own."""
    upstream_server.models = ["gpt-upstream", "llama-upstream"]
    tokens = {"input": 1.0, "cached_input": 0.5, "output": 2.0}
    models = {
        **pool.settings(),
        **solo("assistant", price=tokens),
        **solo("vectors", task="embedding"),
        **solo("scribe", task="completion"),
        "renamed": {"deployments": [{"provider": "lab", "model": "gpt-upstream"}], "price": tokens},
        "lab/*": {"deployments": [{"provider": "lab"}], "price": tokens},
    }
    server = Polyforge(
        tmp_path_factory.mktemp("house"), settings(upstream_server, models, gateway={"cooldown_seconds": 1})
    )
    with stopping(server):
        yield server
