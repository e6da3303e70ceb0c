"""Where requests go, through a running gateway: by what callers ask for, by what a request needs, and what is told."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from polyforge.cli.main import app
from tests.conftest import Serve
from tests.support.behaviours import Answer, Fail
from tests.support.clients import chat
from tests.support.server import Key, Polyforge
from tests.support.settings import settings
from tests.support.upstream import Upstream

CHAT = "/v1/chat/completions"
IMAGE = {"type": "image_url", "image_url": {"url": "https://pictures.example/cat.png"}}


def place(model: str, **more: Any) -> dict[str, Any]:
    return {"provider": "lab", "model": model, "cost": {"per_call": 0.01}, **more}


MODELS = {
    "tagged": {"deployments": [place("tagged.us", region="us"), place("tagged.eu", region="eu", tags=["gdpr"])]},
    "seeing": {
        "deployments": [place("seeing.blind", capabilities={"vision": False}, weight=1000), place("seeing.able")]
    },
    "growing": {
        "deployments": [
            place("growing.small", limits={"context": 10}),
            place("growing.large", limits={"context": 9999}, priority=1),
        ],
        "on_context_overflow": "larger",
    },
    "spent": {"deployments": [place("spent.only")]},
    "team/one": {"deployments": [place("team.a", weight=3), place("team.b", priority=1)]},
}


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


def test_a_request_goes_where_its_caller_wants(site: Polyforge, upstream: Upstream, key: Key) -> None:
    for route, wanted in (("region=eu", "tagged.eu"), ("tag=gdpr", "tagged.eu"), ("region=us", "tagged.us")):
        before = len(upstream.requests(wanted))
        answer = site.call(CHAT, key=key.key, json=chat("tagged"), headers={"x-polyforge-route": route})
        assert answer.status == 200, answer.body
        assert len(upstream.requests(wanted)) == before + 1


@pytest.mark.parametrize(
    ("route", "status"), [("region=mars", 400), ("tag=none-has-it", 400), ("nonsense", 400), ("provider=lab", 403)]
)
def test_what_cannot_be_had_is_refused_clearly(site: Polyforge, key: Key, route: str, status: int) -> None:
    answer = site.call(CHAT, key=key.key, json=chat("tagged"), headers={"x-polyforge-route": route})
    assert answer.status == status
    assert answer.json["error"]["param"] == "x-polyforge-route"


def test_a_request_goes_where_it_can_be_answered(site: Polyforge, upstream: Upstream, key: Key) -> None:
    message = {"role": "user", "content": [{"type": "text", "text": "What is this?"}, IMAGE]}
    assert site.call(CHAT, key=key.key, json={"model": "seeing", "messages": [message]}).status == 200
    assert [len(upstream.requests(name)) for name in ("seeing.blind", "seeing.able")] == [0, 1]


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_is_too_long_goes_to_the_larger_model(
    site: Polyforge, upstream: Upstream, key: Key, stream: bool
) -> None:
    said = "This model's maximum context length is 10 tokens."
    upstream.script("growing.small", Fail(400, said, "invalid_request_error", "context_length_exceeded", "messages"))
    answer = site.call(CHAT, key=key.key, json=chat("growing", stream=stream))
    assert (answer.status, answer.text) == (200, Answer().whole_text())
    upstream.script("growing.large", Fail(400, said, "invalid_request_error", "context_length_exceeded", "messages"))
    refused = site.call(CHAT, key=key.key, json=chat("growing", stream=stream))
    assert (refused.status, refused.error["code"]) == (400, "context_length_exceeded")
    upstream.script("growing.large", Answer())


def test_an_account_without_credit_is_told_from_a_busy_one(site: Polyforge, upstream: Upstream, key: Key) -> None:
    upstream.script("spent.only", Fail(429, "You exceeded your quota.", "insufficient_quota", "insufficient_quota"))
    first = site.call(CHAT, key=key.key, json=chat("spent"))
    assert (first.status, first.error["code"]) == (429, "upstream_quota_spent")
    second = site.call(CHAT, key=key.key, json=chat("spent"))
    assert (second.status, second.error["code"]) == (429, "rate_limit_exceeded")
    assert 250 < int(second.headers["retry-after"]) <= 300
    assert len(upstream.requests("spent.only")) == 1
    (attempt,) = site.api("GET", "/models/spent").json["deployments"]
    assert (attempt["health"]["state"], attempt["health"]["cause"]) == ("cooling", "quota")


def test_where_a_request_would_go_is_told_over_http_and_by_the_command(site: Polyforge, key: Key) -> None:
    answer = site.call("/api/v1/models/team/one/explain", method="GET", key=key.key)
    assert [each["model"] for each in answer.json["attempts"]] == ["team.a", "team.b"]
    environ = {"POLYFORGE_URL": site.url, "POLYFORGE_API_KEY": key.key, "POLYFORGE_DATA": str(site.data)}
    told = CliRunner().invoke(app, ["model", "explain", "tagged", "--tag", "gdpr", "--json"], env=environ)
    assert [each["model"] for each in json.loads(told.stdout)["attempts"]] == ["tagged.eu"]
    told = CliRunner().invoke(app, ["model", "explain", "team/one"], env=environ)
    assert told.stdout.splitlines()[1].split()[:3] == ["1", "lab", "team.a"]
    told = CliRunner().invoke(app, ["model", "show", "team/one"], env=environ)
    assert told.stdout.splitlines()[2].split() == ["lab", "team.b", "1", "1.0", "0.0", "0.0", "declared", "ready"]
    assert site.call("/api/v1/models/absent/explain", method="GET", key=key.key).status == 404
