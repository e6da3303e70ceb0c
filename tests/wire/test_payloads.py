"""Payloads of a running installation: kept where somebody wants that, with nothing that guardrails masked."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from polyforge.cli.main import app
from tests.support.behaviours import Answer
from tests.support.clients import Response, chat
from tests.support.server import Key, Polyforge, stopping
from tests.support.settings import settings, solo
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

SECRET = "jane.doe@acme.co"
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
RULES: dict[str, Any] = {
    "mask": {"use": "pii", "action": "mask", "kinds": ["email"]},
    "hide": {"use": "pii", "action": "pseudonyms", "kinds": ["email"]},
    "block": {"use": "pii", "action": "block", "kinds": ["email"]},
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    started = Upstream().start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Polyforge]:
    models = {**solo("plain"), **solo("never"), **solo("asked")}
    for rule in RULES:
        models |= solo(rule, guardrails=[rule])
    keep = {"keep": "always", "models": {"never": "never", "asked": "asked"}, "max_bytes": 2048}
    declared = settings(upstream, models, guardrails=RULES, requests={"payloads": keep})
    with stopping(Polyforge(tmp_path_factory.mktemp("payloads"), declared)) as server:
        yield server


@pytest.fixture
def key(gateway: Polyforge) -> Key:
    return gateway.create_key()


def ask(
    gateway: Polyforge, key: Key, model: str, content: str, path: str = CHAT, log: str | None = None, **more: Any
) -> Response:
    headers = {} if log is None else {"x-polyforge-log": log}
    return gateway.call(path, key=key.key, json=chat(model, content, **more), headers=headers)


def payload(gateway: Polyforge, answer: Response) -> dict[str, Any]:
    path = f"/requests/{answer.headers['x-request-id']}/payload"

    def look() -> dict[str, Any]:
        found = gateway.api("GET", path)
        return found.json if found.status == 200 else {}

    return eventually(look, "the payload is there")


def absent(gateway: Polyforge, key: Key, *answers: Response) -> None:
    """Not there, though what came later is."""
    payload(gateway, ask(gateway, key, "plain", "the last"))
    for answer in answers:
        found = gateway.api("GET", f"/requests/{answer.headers['x-request-id']}/payload")
        assert found.status == 404


def test_a_request_and_its_answer_are_kept(gateway: Polyforge, key: Key, upstream: Upstream) -> None:
    upstream.script("plain", Answer("so it is"))
    answer = ask(gateway, key, "plain", "is it so?")
    found = payload(gateway, answer)
    assert json.loads(found["request"]["text"])["messages"][0]["content"] == "is it so?"
    assert found["answer"]["text"] == answer.body.decode()
    assert (found["http_status"], found["answer"]["cut"], found["answer"]["left_out"]) == (200, False, None)


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_stream_is_put_together(gateway: Polyforge, key: Key, upstream: Upstream, path: str) -> None:
    upstream.script("plain", Answer("one two three four", pieces=4))
    answer = ask(gateway, key, "plain", "count", path, stream=True, max_tokens=9)
    found = payload(gateway, answer)
    whole = json.loads(found["answer"]["text"])
    said = whole["choices"][0]["message"] if path == CHAT else whole["content"][0]
    assert said["content" if path == CHAT else "text"] == "one two three four"
    assert found["content_type"].startswith("text/event-stream")


def test_what_is_long_is_cut(gateway: Polyforge, key: Key, upstream: Upstream) -> None:
    upstream.script("plain", Answer("y" * 5_000))
    found = payload(gateway, ask(gateway, key, "plain", "x" * 5_000))
    for part in ("request", "answer"):
        assert len(found[part]["text"]) == 2048
        assert found[part]["cut"]
        assert found[part]["bytes"] > 5_000


@pytest.mark.parametrize("stream", [False, True])
def test_what_was_masked_stays_masked(gateway: Polyforge, key: Key, upstream: Upstream, stream: bool) -> None:
    upstream.script("mask", Answer(f"write to {SECRET}, then"))
    found = payload(gateway, ask(gateway, key, "mask", f"who is {SECRET}?", stream=stream))
    assert SECRET not in json.dumps(found)
    assert "who is" in found["request"]["text"]
    assert "write to" in found["answer"]["text"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_names_again_what_was_hidden_is_left_out(gateway: Polyforge, key: Key, stream: bool) -> None:
    found = payload(gateway, ask(gateway, key, "hide", f"who is {SECRET}?", stream=stream))
    assert SECRET not in json.dumps(found)
    assert "who is" in found["request"]["text"]
    assert (found["answer"]["text"], found["answer"]["left_out"]) == ("", "pseudonyms")


def test_nothing_is_kept_of_what_was_refused_before_it_was_tried(gateway: Polyforge, key: Key) -> None:
    refused = ask(gateway, key, "block", f"who is {SECRET}?")
    assert refused.status == 400
    absent(gateway, key, refused)


def test_callers_have_a_say_within_the_policy(gateway: Polyforge, key: Key) -> None:
    asked = ask(gateway, key, "asked", "keep this", log="payload")
    assert "keep this" in payload(gateway, asked)["request"]["text"]
    not_kept = [
        ask(gateway, key, "plain", "not this", log="none"),
        ask(gateway, key, "asked", "nor this"),
        ask(gateway, key, "never", "nor that", log="payload"),
    ]
    assert [answer.status for answer in not_kept] == [200, 200, 200]
    absent(gateway, key, *not_kept)
    odd = ask(gateway, key, "plain", "x", log="everything")
    assert (odd.status, odd.error["param"]) == (400, "x-polyforge-log")


def test_only_who_may_opens_them(gateway: Polyforge, key: Key) -> None:
    answer = ask(gateway, key, "plain", "mine")
    payload(gateway, answer)
    path = f"/api/v1/requests/{answer.headers['x-request-id']}/payload"
    assert gateway.call(path, method="GET", key=key.key).status == 403
    opened = gateway.api("GET", "/audit?action=payload.opened").json["data"]
    assert answer.headers["x-request-id"] in {event["resource_id"] for event in opened}


def test_on_the_command_line_a_payload_is_read_and_a_person_forgotten(
    gateway: Polyforge, key: Key, tmp_path: Path
) -> None:
    answer = ask(gateway, key, "plain", "call me Ann", user="ann")
    payload(gateway, answer)
    request_id = answer.headers["x-request-id"]
    eventually(lambda: gateway.api("GET", f"/requests/{request_id}").status == 200, "the request is in the ledger")
    environ = {"POLYFORGE_URL": gateway.url, "POLYFORGE_API_KEY": gateway.admin_key, "XDG_CONFIG_HOME": str(tmp_path)}
    run = CliRunner().invoke
    assert "call me Ann" in run(app, ["requests", "payload", request_id], env=environ).stdout
    neither = run(app, ["requests", "delete"], env=environ)
    assert neither.exit_code != 0
    done = run(app, ["requests", "delete", "--end-user", "ann", "--json"], env=environ)
    assert {name: count for name, count in json.loads(done.stdout).items() if count} == {"requests": 1, "payloads": 1}
    assert run(app, ["requests", "payload", request_id], env=environ).exit_code != 0
    assert gateway.api("GET", f"/requests/{request_id}").json["end_user"].startswith("erased-")
