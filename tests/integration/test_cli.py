"""Commands against a scripted gateway, and the command line as a process of its own."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from polyforge.cli.errors import CommandError
from polyforge.cli.main import app

KEY = {
    "id": "01K",
    "name": "demo",
    "prefix": "pf-abcdefg",
    "scopes": ["inference", "models:read"],
    "models": None,
    "budget_usd": 5.0,
    "budget_period": "month",
    "rpm": 60,
    "tpm": None,
    "concurrency": None,
    "expires_at": None,
    "created_at": "2026-01-31T12:00:00Z",
    "revoked_at": None,
}
SUMS = {
    "requests": 3,
    "errors": 1,
    "input_tokens": 20,
    "cached_tokens": 0,
    "output_tokens": 10,
    "total_tokens": 30,
    "cost_usd": 0.000025,
    "price_usd": 1.5,
}


class ScriptedGateway:
    """Answers each request as told and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "ScriptedGateway":
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, request: str, status: int, body: Any) -> None:
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers[request] = (status, content)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def respond(self) -> None:
                request = f"{self.command} {self.path}"
                sent = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                gateway.asked.append((request, headers, json.loads(sent) if sent else None))
                status, content = gateway.answers.get(request, (404, b'{"detail": "not scripted"}'))
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = respond

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
                del format, args

        return Handler


@pytest.fixture
def gateway() -> Generator[ScriptedGateway]:
    with ScriptedGateway() as scripted:
        yield scripted


def run(gateway: ScriptedGateway, *arguments: str) -> str:
    """What a command prints; its failure is raised."""
    environ = {"POLYFORGE_URL": gateway.url, "POLYFORGE_API_KEY": "pf-test", "COLUMNS": "200"}
    result = CliRunner().invoke(app, list(arguments), env=environ)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_a_key_is_made_with_what_was_given_and_printed(gateway: ScriptedGateway) -> None:
    gateway.answer("POST /api/v1/keys", 201, {**KEY, "key": "pf-secret"})
    options = ["--scope", "inference", "--model", "openai/*", "--budget-usd", "5", "--budget-period", "month"]
    printed = run(gateway, "key", "create", "demo", *options, "--rpm", "60")
    ((_, headers, body),) = gateway.asked
    assert headers["authorization"] == "Bearer pf-test"
    assert body == {
        "name": "demo",
        "scopes": ["inference"],
        "models": ["openai/*"],
        "budget_usd": 5.0,
        "budget_period": "month",
        "rpm": 60,
    }
    assert re.search(r"^key +pf-secret$", printed, re.MULTILINE)


def test_json_is_what_the_api_answered(gateway: ScriptedGateway) -> None:
    gateway.answer("POST /api/v1/keys", 201, {**KEY, "key": "pf-secret"})
    assert json.loads(run(gateway, "key", "create", "demo", "--json")) == {**KEY, "key": "pf-secret"}


def test_all_pages_of_keys_are_one_table(gateway: ScriptedGateway) -> None:
    gateway.answer("GET /api/v1/keys?limit=1000", 200, {"data": [KEY], "next_cursor": "C"})
    revoked = {**KEY, "id": "02K", "budget_usd": None, "revoked_at": "2026-02-01T00:00:00Z"}
    gateway.answer("GET /api/v1/keys?limit=1000&cursor=C", 200, {"data": [revoked], "next_cursor": None})
    headers, first, second = run(gateway, "key", "list").splitlines()
    assert headers.split()[:3] == ["id", "name", "prefix"]
    assert "5.00 USD per month" in first
    assert "2026-01-31 12:00" in first
    assert second.endswith("revoked 2026-02-01 00:00")


def test_revoked_keys_are_listed_when_asked_for(gateway: ScriptedGateway) -> None:
    gateway.answer("GET /api/v1/keys?include_revoked=true&limit=1000", 200, {"data": [], "next_cursor": None})
    assert json.loads(run(gateway, "key", "list", "--revoked", "--json")) == []


def test_a_key_is_shown_rotated_and_revoked_by_its_id(gateway: ScriptedGateway) -> None:
    gateway.answer("GET /api/v1/keys/01K", 200, KEY)
    gateway.answer("POST /api/v1/keys/01K/rotate", 200, {**KEY, "key": "pf-new"})
    gateway.answer("DELETE /api/v1/keys/01K", 204, None)
    assert "demo" in run(gateway, "key", "show", "01K")
    assert "pf-new" in run(gateway, "key", "rotate", "01K", "--grace-seconds", "60")
    assert gateway.asked[-1][2] == {"grace_seconds": 60}
    assert run(gateway, "key", "revoke", "01K") == "revoked 01K\n"


def test_usage_is_a_table_with_a_total(gateway: ScriptedGateway) -> None:
    answer = {"data": [{"key": "01K", "key_name": "demo", "day": "2026-01-31", **SUMS}], "totals": SUMS}
    gateway.answer("GET /api/v1/usage?group_by=key%2Cday&since=2026-01-01&limit=10000", 200, answer)
    headers, row, total = run(gateway, "usage", "--group-by", "key,day", "--since", "2026-01-01").splitlines()
    assert headers.split() == [
        *("key", "key_name", "day", "requests", "errors"),
        *("input_tokens", "output_tokens", "cost_usd", "price_usd", "price"),
    ]
    assert row.split() == ["01K", "demo", "2026-01-31", "3", "1", "20", "10", "0.000025", "1.50", "█" * 24]
    assert total.split() == ["total", "-", "-", "3", "1", "20", "10", "0.000025", "1.50"]


def test_usage_without_groups_is_one_row(gateway: ScriptedGateway) -> None:
    gateway.answer("GET /api/v1/usage?group_by=&limit=10000", 200, {"data": [SUMS], "totals": SUMS})
    headers, row = run(gateway, "usage", "--group-by", "").splitlines()
    assert headers.split()[0] == "requests"
    assert row.split()[0] == "3"


COSTS = {"requests": 3, "cost_usd": 1.0, "price_usd": 1.5, "margin_usd": 0.5, "saved_usd": 0.0}


def test_costs_have_bars_the_dearest_first(gateway: ScriptedGateway) -> None:
    rows = [{"provider": "a", **COSTS, "price_usd": 0.75}, {"provider": "b", **COSTS}, {"provider": "", **COSTS}]
    path = "GET /api/v1/organization/costs?group_by=provider&model=small&model=large&tag=team%3Dred&limit=10000"
    gateway.answer(path, 200, {"data": [*rows[:2], {**rows[2], "price_usd": 0.01}], "totals": COSTS})
    where = ("--where", "model=small", "--where", "model=large", "--where", "tag=team=red")
    lines = run(gateway, "costs", "--organization", *where).splitlines()
    assert [line.split()[0] for line in lines] == ["provider", "b", "a", "-", "total"]
    assert [line.split()[-1] for line in lines[1:4]] == ["█" * 24, "█" * 12, "▏"]


def test_conditions_that_are_none_are_refused(gateway: ScriptedGateway) -> None:
    for condition in ("model", "colour=red"):
        refused = CliRunner().invoke(app, ["usage", "--where", condition, "--url", gateway.url])
        assert isinstance(refused.exception, CommandError)
        assert repr(condition) in str(refused.exception)


def test_a_forecast_is_a_row_for_cost_and_one_for_price(gateway: ScriptedGateway) -> None:
    amount = {"so_far": 2.5, "expected": 10.0, "low": 8.0, "high": 12.0}
    view = {"month": "2026-01", "days": 30, "note": None, "cost_usd": amount, "price_usd": amount}
    gateway.answer("GET /api/v1/costs/forecast?group_by=", 200, view)
    headers, cost, _, note = run(gateway, "costs", "--forecast").splitlines()
    assert headers.split() == ["2026-01", "so", "far", "expected", "low", "high"]
    assert cost.split() == ["cost", "2.50", "10.00", "8.00", "12.00"]
    assert "30 days" in note
    nothing = dict.fromkeys(("expected", "low", "high")) | {"so_far": 0.0}
    few = {**view, "note": "too few days", "cost_usd": nothing, "price_usd": nothing}
    gateway.answer("GET /api/v1/costs/forecast?group_by=", 200, few)
    assert run(gateway, "costs", "--forecast").splitlines()[-1] == "too few days"


def test_usage_is_saved_as_a_file_once_it_is_whole(gateway: ScriptedGateway, tmp_path: Path) -> None:
    gateway.answer("GET /api/v1/usage/export?group_by=day%2Cmodel&format=csv", 200, b"day,model\n")
    gateway.answer("GET /api/v1/usage/export?group_by=key%2Chour&format=parquet", 200, bytes(200_000))
    gateway.answer("GET /api/v1/usage/export?group_by=day%2Ctask&format=csv", 400, {"message": "no", "code": "x"})
    run(gateway, "usage", "--csv", str(tmp_path / "u.csv"))
    run(gateway, "costs", "--by", "key,hour", "--parquet", str(tmp_path / "u.parquet"))
    refused = CliRunner().invoke(app, ["usage", "--by", "task", "--csv", str(tmp_path / "no"), "--url", gateway.url])
    assert isinstance(refused.exception, CommandError)
    assert {file.name: file.stat().st_size for file in tmp_path.iterdir()} == {"u.csv": 10, "u.parquet": 200_000}


def test_models_are_listed_with_who_answers_for_them(gateway: ScriptedGateway) -> None:
    gateway.answer("GET /v1/models", 200, {"object": "list", "data": [{"id": "assistant", "owned_by": "lab"}]})
    assert run(gateway, "model", "list").splitlines()[1].split() == ["assistant", "lab"]


@pytest.mark.parametrize(
    ("status", "body", "line"),
    [
        (
            401,
            {"detail": "this key does not work"},
            "this key does not work; run `polyforge login`, pass --key, or set POLYFORGE_API_KEY",
        ),
        (404, {"detail": "there is no key 01K"}, "there is no key 01K"),
        (502, b"<html>bad gateway</html>", "answered 502 and no JSON; is it a Polyforge gateway?"),
        (302, {}, "the gateway answered 302"),
    ],
)
def test_a_refusal_is_one_readable_line(gateway: ScriptedGateway, status: int, body: Any, line: str) -> None:
    gateway.answer("GET /api/v1/keys/01K", status, body)
    with pytest.raises(CommandError) as refused:
        run(gateway, "key", "show", "01K")
    assert str(refused.value).endswith(line)


def polyforge(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command as a process, in an empty environment of its own."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("POLYFORGE_")}
    command = [sys.executable, "-m", "polyforge", *arguments]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=60)


def test_nobody_there_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{holder.getsockname()[1]}"
        result = polyforge(tmp_path, "key", "list", "--url", url)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"polyforge: nothing answers at {url}; run `polyforge up`, or pass --url\n"


def test_up_shows_a_new_admin_key_once_and_then_becomes_the_supervisor(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        first = polyforge(tmp_path, "up", "--data", "data", "--port", port)
        second = polyforge(tmp_path, "up", "--data", "data", "--port", port)
    kept = (tmp_path / "data" / "admin.key").read_text().strip()
    assert first.stdout == f"admin key {kept} (kept in {tmp_path / 'data' / 'admin.key'})\n"
    assert second.stdout == ""
    for result in (first, second):
        assert result.returncode == 1
        assert f"port {port} on 127.0.0.1 is in use" in result.stderr
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--host", "0.0.0.0"], "server.host: 0.0.0.0"),
        (["--port", "70000"], "server.port:"),
        (["--config", "missing.yaml"], "cannot read missing.yaml"),
    ],
)
def test_wrong_settings_end_up_with_status_2_and_their_path(tmp_path: Path, arguments: list[str], line: str) -> None:
    result = polyforge(tmp_path, "up", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"polyforge: {line}")
    assert os.listdir(tmp_path) == []


def test_check_shows_settings_with_their_origin_and_no_secrets(tmp_path: Path) -> None:
    (tmp_path / "polyforge.yaml").write_text(
        "providers:\n  lab: {use: openai, base_url: 'http://lab:9000/v1', api_key: very-secret}\n"
        "database: {url: 'postgresql://me:very-secret@db/x'}\n"
    )
    result = polyforge(tmp_path, "check", "--data", "elsewhere", "--json")
    assert result.returncode == 0, result.stderr
    assert "very-secret" not in result.stdout
    shown = json.loads(result.stdout)
    settings = shown["settings"]
    assert settings["providers.lab.base_url"] == {"value": "http://lab:9000/v1", "origin": "file polyforge.yaml"}
    assert settings["providers.lab.max_connections"]["origin"] == "default"
    assert settings["server.port"] == {"value": 8080, "origin": "default"}
    assert settings["data"] == {"value": str(tmp_path / "elsewhere"), "origin": "command line"}
    assert shown["adapters"]["providers"]["openai"] == {"available": True, "problem": None}


def test_check_warns_of_what_works_and_is_not_safe(tmp_path: Path) -> None:
    (tmp_path / "polyforge.yaml").write_text(
        "server: {host: 0.0.0.0, behind_proxy: true}\ndatabase: {url: 'postgresql://me:very-secret@127.0.0.1:1/x'}\n"
    )
    result = polyforge(tmp_path, "check")
    assert result.returncode == 0
    assert "very-secret" not in result.stdout + result.stderr
    links, walls = result.stderr.splitlines()
    assert links.startswith("polyforge: warning: people.public_url: it is not set")
    assert walls.startswith("polyforge: warning: database.url: the database does not answer")


@pytest.mark.parametrize(
    ("provider", "line"),
    [
        ("{use: openai, base_uri: http://lab}", "providers.lab.base_uri: there is no such setting"),
        ("{use: opnai}", "providers.lab.use: there is no 'opnai'"),
        ("{use: openai, api_key: 'env:NOT_SET_ANYWHERE'}", "providers.lab.api_key: the environment variable"),
    ],
)
def test_check_names_what_would_not_start(tmp_path: Path, provider: str, line: str) -> None:
    (tmp_path / "polyforge.yaml").write_text(f"providers:\n  lab: {provider}\n")
    result = polyforge(tmp_path, "check")
    assert result.returncode == 2
    assert result.stderr.startswith(f"polyforge: {line}")


def test_migrate_says_what_it_did(tmp_path: Path) -> None:
    first = polyforge(tmp_path, "migrate", "--data", "data")
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.startswith("the database went from empty to ")
    assert polyforge(tmp_path, "migrate", "--data", "data").stdout.startswith("the database is up to date")
