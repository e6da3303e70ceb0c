"""What a running installation writes down of requests: calls, streams and refusals, whatever is killed when."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from polyforge.cli.main import app
from tests.support.behaviours import Fail
from tests.support.server import Key, Polyforge, stopping
from tests.support.settings import pair, settings, solo
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

CHAT = "/v1/chat/completions"
SAID = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Polyforge]:
    models = {**solo("told"), **pair("twice"), **solo("few")}
    lines = {"use": "file", "path": str(tmp_path_factory.mktemp("lines") / "log")}
    declared = settings(upstream, models, requests={"refused_per_second": 1}, logs={"exports": {"lines": lines}})
    with stopping(Polyforge(tmp_path_factory.mktemp("history"), declared)) as server:
        yield server


@pytest.fixture
def key(gateway: Polyforge) -> Key:
    return gateway.create_key()


def ask(gateway: Polyforge, key: Key, model: str, **more: Any) -> Any:
    return gateway.call(CHAT, key=key.key, json={"model": model, "messages": SAID, **more})


def history(gateway: Polyforge, key: Key, count: int, query: str = "") -> list[dict[str, Any]]:
    path = f"/requests?key={key.id}{query}"
    return eventually(lambda: _at_least(gateway.api("GET", path).json["data"], count), f"{count} requests")


def _at_least(requests: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    return requests if len(requests) >= count else []


def test_a_call_and_a_stream_are_told_with_their_hops(gateway: Polyforge, key: Key) -> None:
    assert ask(gateway, key, "told").status == 200
    assert ask(gateway, key, "told", stream=True).status == 200
    streamed, whole = history(gateway, key, 2)
    assert (whole["stream"], streamed["stream"]) == (False, True)
    assert whole["first_token_ms"] is None
    assert streamed["first_token_ms"] > 0
    for request in (whole, streamed):
        found = gateway.api("GET", f"/requests/{request['id']}").json
        names = [hop["name"] for hop in found["hops"]]
        assert names == ["server", "auth", "dialect", "admission", "guardrails", "routing", "dispatch", "settlement"]
        assert found["path"] == CHAT
        assert [attempt["outcome"] for attempt in found["tried"]] == ["ok"]
        assert found["upstream_ms"] <= sum(hop["microseconds"] for hop in found["hops"]) / 1000


def test_every_attempt_is_told(gateway: Polyforge, key: Key, upstream: Upstream) -> None:
    upstream.script("twice.first", Fail(500))
    assert ask(gateway, key, "twice").status == 200
    (request,) = history(gateway, key, 1)
    tried = gateway.api("GET", f"/requests/{request['id']}").json["tried"]
    assert tried[0]["outcome"] != "ok"
    assert (tried[-1]["deployment"], tried[-1]["outcome"]) == ("twice.second", "ok")
    assert len(tried) == request["attempts"] >= 2


def test_refused_requests_are_written_down_and_count_for_nothing(gateway: Polyforge, key: Key) -> None:
    refused = ask(gateway, key, "no-such-model")
    assert refused.status == 404
    (request,) = history(gateway, key, 1, "&status=refused")
    assert request["id"] == refused.headers["x-request-id"]
    assert (request["model"], request["error"], request["http_status"]) == ("no-such-model", "model_not_found", 404)
    assert (request["price_usd"], request["attempts"]) == (0.0, 0)
    usage = gateway.api("GET", f"/usage?group_by=key&key={key.id}").json
    assert usage["data"] == []
    assert gateway.records(key.id) == []


def test_a_flood_of_refusals_is_cut_and_counted(gateway: Polyforge, key: Key) -> None:
    before = unwritten(gateway)
    for _ in range(40):
        assert ask(gateway, key, "no-such-model").status == 404
    dropped = unwritten(gateway) - before
    assert dropped > 0
    refused = f"/requests?key={key.id}&status=refused"
    eventually(lambda: len(gateway.api("GET", refused).json["data"]) == 40 - dropped, f"{40 - dropped} refusals")


def unwritten(gateway: Polyforge) -> int:
    page = gateway.call("/metrics", method="GET").body.decode()
    (line,) = [line for line in page.splitlines() if line.startswith("polyforge_refused_requests_unwritten_total")]
    return int(float(line.split()[-1]))


def test_exports_on_the_command_line(gateway: Polyforge, key: Key, tmp_path: Path) -> None:
    assert ask(gateway, key, "told").status == 200
    environ = {"POLYFORGE_URL": gateway.url, "POLYFORGE_API_KEY": gateway.admin_key, "XDG_CONFIG_HOME": str(tmp_path)}
    run = CliRunner().invoke

    def sent() -> bool:
        (export,) = json.loads(run(app, ["requests", "exports", "--json"], env=environ).stdout)
        assert (export["name"], export["use"], export["dead_letters"]) == ("lines", "file", 0)
        return export["lag"] == 0

    history(gateway, key, 1)
    eventually(sent, "the sink has all of them")
    assert json.loads(run(app, ["requests", "dead-letters", "--json"], env=environ).stdout) == []
    assert run(app, ["requests", "retry", "--export", "lines"], env=environ).stdout == "0 to be sent again\n"
    assert run(app, ["requests", "retry"], env=environ).exit_code != 0
    assert gateway.call("/api/v1/request-logs/exports", method="GET", key=key.key).status == 403


def test_details_of_settled_calls_survive_a_kill(gateway: Polyforge, key: Key) -> None:
    asked = [ask(gateway, key, "told") for _ in range(20)]
    gateway.kill("gateway")
    requests = history(gateway, key, 20)
    assert {request["id"] for request in requests} == {answer.headers["x-request-id"] for answer in asked}
    assert all(request["attempts"] == 1 and request["path"] == CHAT for request in requests)


def test_requests_on_the_command_line(gateway: Polyforge, key: Key, tmp_path: Path) -> None:
    assert ask(gateway, key, "told").status == 200
    (request,) = history(gateway, key, 1)
    environ = {"POLYFORGE_URL": gateway.url, "POLYFORGE_API_KEY": gateway.admin_key, "XDG_CONFIG_HOME": str(tmp_path)}
    run = CliRunner().invoke
    listed = run(app, ["requests", "list", "--of-key", key.id], env=environ).stdout.splitlines()
    assert request["id"] in listed[1]
    assert len(listed) == 2
    as_json = run(app, ["requests", "list", "--of-key", key.id, "--model", "other", "--json"], env=environ).stdout
    assert json.loads(as_json) == []
    shown = run(app, ["requests", "show", request["id"]], env=environ).stdout
    assert "microseconds" in shown
    assert "dispatch" in shown
    judged = run(app, ["requests", "feedback", request["id"], "--good", "--comment", "yes"], env=environ)
    assert judged.exit_code != 0, "the admin key did not ask, and is nobody"
    own = {**environ, "POLYFORGE_API_KEY": key.key}
    said = run(app, ["requests", "feedback", request["id"], "--good", "--comment", "yes", "--json"], env=own).stdout
    assert json.loads(said)["rating"] == 1
    sums = run(app, ["requests", "feedback"], env=environ).stdout.splitlines()
    assert sums[1].split()[:1] == ["told"]
