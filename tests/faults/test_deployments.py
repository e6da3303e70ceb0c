"""Processes are killed while a name moves from one version to the next, and back."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.conftest import Serve
from tests.support.server import Key, Polyforge, Role
from tests.support.small_encoders import encoder
from tests.support.waiting import eventually

SECONDS = 90.0
WIDTHS = {1: 4, 2: 8}


@pytest.fixture(scope="module")
def site(serve: Serve) -> Polyforge:
    server = serve({}, workers=2)
    server.clean = False
    return server


@pytest.fixture(scope="module")
def key(site: Polyforge, tmp_path_factory: pytest.TempPathFactory) -> Key:
    """A key, once there is a model with two versions that both can be asked for."""
    made = site.create_key()
    for number, width in WIDTHS.items():
        folder = encoder(tmp_path_factory.mktemp("model"), width)
        body: dict[str, Any] = {"name": "moving", "source": folder.as_uri()}
        assert site.api("POST", "/models", {**body, "promote_to": f"v{number}"}).status == 202
        leads_to(site, made, f"moving@v{number}", width)
    return made


def ask(site: Polyforge, key: Key, model: str) -> int:
    """The width of the vectors, or the status of a refusal; 0 for a call whose connection broke."""
    answer = site.call("/v1/embeddings", key=key.key, json={"model": model, "input": "red"})
    if answer.failure:
        return 0
    return len(answer.json["data"][0]["embedding"]) if answer.status == 200 else answer.status


def leads_to(site: Polyforge, key: Key, model: str, width: int) -> None:
    """Wait until a name leads to the version with vectors of this width."""
    eventually(lambda: ask(site, key, model) == width, f"{model} with vectors of {width}", SECONDS)


@contextmanager
def calling(site: Polyforge, key: Key) -> Generator[list[int]]:
    seen: list[int] = []
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            seen.append(ask(site, key, "moving@production"))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize(("role", "index"), [("gateway", 0), ("gateway", 1), ("models", 0)])
def test_a_kill_while_a_name_moves_costs_its_own_calls_and_no_more(
    site: Polyforge, key: Key, role: Role, index: int
) -> None:
    promote(site, 1)
    leads_to(site, key, "moving@production", WIDTHS[1])
    with calling(site, key) as seen:
        promote(site, 2)
        site.kill(role, index)
        leads_to(site, key, "moving@production", WIDTHS[2])
        promote(site, 1)
        leads_to(site, key, "moving@production", WIDTHS[1])
    # A broken connection or 503 with the killed process; never 404, nor a version that nobody promoted.
    assert set(seen) <= {*WIDTHS.values(), 0, 503}, sorted(set(seen))


def promote(site: Polyforge, number: int) -> None:
    """Point the alias there; it may point there already. Whoever is killed meanwhile is asked again."""

    def done() -> bool:
        body = {"version": number, "alias": "production"}
        return site.call("/api/v1/models/moving/promote", key=site.admin_key, json=body).status in (200, 409)

    eventually(done, f"version {number} is promoted", SECONDS)
