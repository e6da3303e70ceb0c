"""Counting tokens through a running gateway, over HTTP and from the command line."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from polyforge.cli.main import app
from tests.conftest import Serve
from tests.support.server import Key, Polyforge
from tests.support.settings import settings
from tests.support.upstream import Upstream

MODELS = {"assistant": {"deployments": [{"provider": "lab", "model": "gpt-4o", "cost": {"input": 1}}]}}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    server = Upstream().start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def site(serve: Serve, upstream: Upstream) -> Polyforge:
    return serve(settings(upstream, MODELS))


@pytest.fixture(scope="module")
def key(site: Polyforge) -> Key:
    return site.create_key()


def test_a_text_is_counted_from_the_command_line(site: Polyforge, key: Key, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("hello world")
    environ = {"POLYFORGE_URL": site.url, "POLYFORGE_API_KEY": key.key}
    arguments = ["tokens", "count", "--model", "assistant", "--json"]
    for told in (
        CliRunner().invoke(app, [*arguments, str(text)], env=environ),
        CliRunner().invoke(app, arguments, input="hello world", env=environ),
    ):
        assert told.exit_code == 0, told.output
        counted = json.loads(told.stdout)
        assert counted == {"tokens": 2, "exact": True, "low": 2, "high": 2, "tokenizer": "o200k_base"}


def test_a_file_that_is_no_text_is_refused(site: Polyforge, key: Key, tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    environ = {"POLYFORGE_URL": site.url, "POLYFORGE_API_KEY": key.key}
    told = CliRunner().invoke(app, ["tokens", "count", "--model", "assistant", str(binary)], env=environ)
    assert told.exit_code != 0
    assert "no text in UTF-8" in str(told.exception)


def test_the_route_needs_a_key(site: Polyforge, key: Key) -> None:
    body = {"model": "assistant", "text": "a"}
    assert site.call("/api/v1/tokenize", json=body).status == 401
    answer = site.call("/api/v1/tokenize", key=key.key, json=body)
    assert (answer.status, answer.json["tokens"]) == (200, 1)
