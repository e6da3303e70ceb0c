"""The audit log of a whole installation reaches its sinks, also through `kill -9` and a SIEM that is down."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Serve
from tests.integration.test_cli import polyforge
from tests.support.ports import free_port
from tests.support.server import Polyforge
from tests.support.settings import settings
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

PATIENCE = 90.0
"""Longer than the export of a killed process stays its own."""


class Siem:
    """Takes lines of JSON while it is up."""

    def __init__(self) -> None:
        self.port = free_port()
        self.got: list[int] = []
        self._server: ThreadingHTTPServer | None = None

    def up(self) -> None:
        siem = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                siem.got += [json.loads(line)["sequence"] for line in body.splitlines()]
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
                del format, args

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}).start()

    def down(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@pytest.fixture(scope="module")
def siem() -> Iterator[Siem]:
    one = Siem()
    yield one
    one.down()


@pytest.fixture(scope="module")
def server(serve: Serve, upstream: Upstream, siem: Siem, tmp_path_factory: pytest.TempPathFactory) -> Polyforge:
    path = tmp_path_factory.mktemp("sink") / "audit.jsonl"
    exports = {
        "copy": {"use": "file", "path": str(path)},
        "siem": {"use": "https", "url": f"http://127.0.0.1:{siem.port}/in", "token": "very-secret"},
    }
    return serve(settings(upstream, {}, audit={"exports": exports}), workers=2)


def states(server: Polyforge) -> dict[str, dict[str, Any]]:
    return {state["name"]: state for state in shown(server.api("GET", "/audit/exports"))["data"]}


def shown(answer: Any) -> Any:
    assert answer.status == 200, answer
    return answer.json


def newest(server: Polyforge) -> int:
    return shown(server.api("GET", "/audit?limit=1"))["data"][0]["sequence"]


def in_file(server: Polyforge) -> list[int]:
    path = Path(yaml_of(server)["audit"]["exports"]["copy"]["path"])
    return [json.loads(line)["sequence"] for line in path.read_text().splitlines()] if path.exists() else []


def yaml_of(server: Polyforge) -> dict[str, Any]:
    return dict(server._settings)


def first_times(sequences: list[int]) -> list[int]:
    return list(dict.fromkeys(sequences))


def test_changes_reach_every_sink_in_order_also_one_that_was_down_and_processes_that_were_killed(
    server: Polyforge, siem: Siem
) -> None:
    for _ in range(3):
        server.create_key()
    eventually(lambda: len(in_file(server)) >= 3, "the file")
    eventually(lambda: states(server)["siem"]["failures"], "a failure")
    down = states(server)["siem"]
    assert (down["sequence"], down["lag"]) == (0, newest(server))
    assert "cannot be reached" in down["error"]

    siem.up()
    eventually(lambda: states(server)["siem"]["lag"] == 0, "the SIEM", deadline=PATIENCE)
    assert siem.got == list(range(1, newest(server) + 1))

    for index in range(2):
        eventually(lambda: len(server.pids("gateway")) == 2, "both workers")
        server.kill("gateway", index)
        eventually(lambda: server.call("/readyz", method="GET").status == 200, "a new worker")
        server.create_key()
    last = newest(server)
    eventually(lambda: {state["lag"] for state in states(server).values()} == {0}, "all sinks", deadline=PATIENCE)
    assert first_times(siem.got) == first_times(in_file(server)) == list(range(1, last + 1))


def test_the_command_line_reads_verifies_and_exports_it(server: Polyforge, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        result = polyforge(tmp_path, "audit", *arguments, "--url", server.url, "--key", server.admin_key)
        assert result.returncode == 0, result.stderr
        return result.stdout

    count = newest(server)
    assert run("verify").startswith(f"{count} events are as they were written")
    assert len(json.loads(run("list", "--action", "key.*", "--json"))) == 5
    assert run("export", "--output", "all.jsonl") == f"{count} events in all.jsonl\n"
    assert "https" in run("exports")
    told = json.loads(run("list", "--action", "audit.exported", "--json"))
    assert [event["actor_name"] for event in told] == ["admin"]


def test_the_lag_is_a_metric_and_no_secret_is_shown_anywhere(server: Polyforge) -> None:
    page = server.call("/metrics", method="GET").body.decode()
    assert 'polyforge_audit_export_lag_events{export="copy"}' in page
    assert 'polyforge_audit_export_lag_events{export="siem"}' in page
    shown = server.log + json.dumps(states(server)) + page
    assert "very-secret" not in shown
