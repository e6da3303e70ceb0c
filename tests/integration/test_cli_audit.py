"""`polyforge audit` against a scripted gateway."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from polyforge.cli.errors import CommandError
from polyforge.cli.main import app
from tests.integration.test_cli import ScriptedGateway, polyforge, run

EVENT = {
    "id": "01E",
    "sequence": 7,
    "at": "2026-01-31T12:00:00Z",
    "organization_id": "01O",
    "project_id": None,
    "actor_kind": "key",
    "actor_id": "01K",
    "actor_name": "admin",
    "address": "192.0.2.1",
    "agent": "curl/8",
    "request_id": None,
    "action": "key.revoked",
    "resource_kind": "key",
    "resource_id": "02K",
    "before": {"revoked_at": None},
    "after": {"revoked_at": 1.5},
    "hash": "ab" * 32,
}
VERDICT: dict[str, Any] = {"checked": 7, "sequence": 7, "newest": 7, "complete": True, "fault": None, "cursor": "7.ab"}
FAULT = {"sequence": 8, "reason": "missing", "message": "event 8 is missing"}
LETTER = {"id": "01L", "export": "siem", "sequence": 7, "reason": "too large", "at": EVENT["at"], "wanted_at": None}


@pytest.fixture
def gateway() -> Generator[ScriptedGateway]:
    with ScriptedGateway() as scripted:
        yield scripted


def result_of(gateway: ScriptedGateway, *arguments: str) -> Result:
    environ = {"POLYFORGE_URL": gateway.url, "POLYFORGE_API_KEY": "pf-test", "COLUMNS": "200"}
    return CliRunner().invoke(app, list(arguments), env=environ)


def test_events_are_found_by_everything_that_can_be_asked(gateway: ScriptedGateway) -> None:
    query = "action=key.%2A&actor=01K&resource_kind=key&resource_id=02K&since=2026-01-01&until=2026-02-01"
    gateway.answer(f"GET /api/v1/audit?{query}&limit=100", 200, {"data": [EVENT], "next_cursor": None})
    options = ["--action", "key.*", "--actor", "01K", "--kind", "key", "--resource", "02K"]
    printed = run(gateway, "audit", "list", *options, "--since", "2026-01-01", "--until", "2026-02-01")
    headers, row = printed.splitlines()
    assert headers.split() == ["id", "at", "action", "by", "kind", "resource", "address"]
    assert row.split() == ["01E", "2026-01-31", "12:00", "key.revoked", "admin", "key", "02K", "192.0.2.1"]


def test_as_many_events_are_shown_as_were_asked_for_over_short_and_empty_pages(gateway: ScriptedGateway) -> None:
    path = "GET /api/v1/audit?limit"
    gateway.answer(f"{path}=1000", 200, {"data": [EVENT] * 900, "next_cursor": "50"})
    gateway.answer(f"{path}=600&cursor=50", 200, {"data": [], "next_cursor": "40"})
    gateway.answer(f"{path}=600&cursor=40", 200, {"data": [EVENT] * 600, "next_cursor": "30"})
    assert len(json.loads(run(gateway, "audit", "list", "--limit", "1500", "--json"))) == 1_500


def test_one_event_is_shown_with_what_it_changed(gateway: ScriptedGateway) -> None:
    gateway.answer("GET /api/v1/audit/01E", 200, EVENT)
    assert '{"revoked_at": 1.5}' in run(gateway, "audit", "show", "01E")
    assert json.loads(run(gateway, "audit", "show", "01E", "--json")) == EVENT


def test_a_right_log_ends_with_status_0(gateway: ScriptedGateway) -> None:
    gateway.answer("POST /api/v1/audit/verify", 200, VERDICT)
    result = result_of(gateway, "audit", "verify", "--cursor", "3.00")
    assert (result.exit_code, result.stdout) == (0, "7 events are as they were written, up to 7.ab\n")
    assert gateway.asked[0][2] == {"cursor": "3.00", "limit": 20_000}


def test_a_wrong_log_ends_with_status_1_and_says_where(gateway: ScriptedGateway) -> None:
    gateway.answer("POST /api/v1/audit/verify", 200, {**VERDICT, "fault": FAULT})
    result = result_of(gateway, "audit", "verify")
    assert (result.exit_code, result.stdout) == (1, "event 8 is missing; the 7 checked before are right\n")
    result = result_of(gateway, "audit", "verify", "--json")
    assert (result.exit_code, json.loads(result.stdout)["fault"]) == (1, FAULT)


def test_events_are_written_to_a_file_or_to_the_output(gateway: ScriptedGateway, tmp_path: Path) -> None:
    lines = b'{"sequence":1}\n{"sequence":2}\n'
    gateway.answer("GET /api/v1/audit/export?since=2026-01-01", 200, lines)
    assert run(gateway, "audit", "export", "--since", "2026-01-01") == lines.decode()
    path = tmp_path / "audit.jsonl"
    printed = run(gateway, "audit", "export", "--since", "2026-01-01", "--output", str(path))
    assert printed == f"2 events in {path}\n"
    assert path.read_bytes() == lines
    with pytest.raises(CommandError, match="cannot write"):
        run(gateway, "audit", "export", "--since", "2026-01-01", "--output", str(tmp_path))


def test_an_export_that_is_refused_is_one_readable_line(gateway: ScriptedGateway) -> None:
    gateway.answer("GET /api/v1/audit/export", 403, {"detail": "this key lacks the scope 'audit:read'"})
    with pytest.raises(CommandError, match=r"lacks the scope 'audit:read'$"):
        run(gateway, "audit", "export")


def test_exports_are_listed_with_their_lag_and_error(gateway: ScriptedGateway) -> None:
    state = {"name": "siem", "use": "https", "sequence": 5, "lag": 2, "failures": 3, "error": "it answered 503"}
    state |= {"retry_at": "2026-01-31T12:00:00Z", "changed_at": None, "dead_letters": 1}
    gateway.answer("GET /api/v1/audit/exports", 200, {"data": [state]})
    row = run(gateway, "audit", "exports").splitlines()[1]
    assert row.split() == ["siem", "https", "5", "2", "3", "1", "2026-01-31", "12:00", "it", "answered", "503"]
    assert json.loads(run(gateway, "audit", "exports", "--json")) == [state]


def test_dead_letters_are_listed_and_sent_again(gateway: ScriptedGateway) -> None:
    gateway.answer(
        "GET /api/v1/audit/dead-letters?export=siem&limit=1000", 200, {"data": [LETTER], "next_cursor": None}
    )
    gateway.answer("POST /api/v1/audit/dead-letters/01L/retry", 202, LETTER)
    assert run(gateway, "audit", "dead-letters", "--export", "siem").splitlines()[1].endswith("too large")
    assert run(gateway, "audit", "retry", "01L") == "1 to be sent again\n"
    assert run(gateway, "audit", "retry", "--export", "siem") == "1 to be sent again\n"
    for arguments in ([], ["01L", "--export", "siem"]):
        with pytest.raises(CommandError, match="give the id"):
            run(gateway, "audit", "retry", *arguments)


@pytest.mark.parametrize(
    ("exports", "line"),
    [
        ("{siem: {use: htttps}}", "audit.exports.siem.use: there is no 'htttps'; there are file, https, syslog"),
        ("{siem: {use: https}}", "audit.exports.siem.url: Field required"),
        ("{siem: {use: https, url: 'https://u:p@h/'}}", "audit.exports.siem.url: must be an http or https URL"),
        ("{siem: {use: https, url: 'https://h/', token: 'env:NOT_SET'}}", "audit.exports.siem.token: the environment"),
        (
            "{siem: {use: https, url: 'https://h/', headers: {a: 'env:NOT_SET'}}}",
            "audit.exports.siem.headers.a: the env",
        ),
        ("{siem: {use: file, path: x, keep: 0}}", "audit.exports.siem.keep:"),
        ("{Siem!: {use: file, path: x}}", "audit.exports: 'Siem!' must be"),
    ],
)
def test_check_names_an_export_that_would_not_start(tmp_path: Path, exports: str, line: str) -> None:
    (tmp_path / "polyforge.yaml").write_text(f"audit: {{exports: {exports}}}\n")
    result = polyforge(tmp_path, "check")
    assert result.returncode == 2
    assert result.stderr.startswith(f"polyforge: {line}")


def test_check_shows_exports_without_their_secrets(tmp_path: Path) -> None:
    sink = "{use: https, url: 'https://h/in', token: very-secret, headers: {x-key: very-secret}}"
    (tmp_path / "polyforge.yaml").write_text(f"audit: {{exports: {{siem: {sink}}}}}\n")
    result = polyforge(tmp_path, "check", "--json")
    assert result.returncode == 0, result.stderr
    assert "very-secret" not in result.stdout
    settings = json.loads(result.stdout)["settings"]
    assert settings["audit.exports.siem.url"]["value"] == "https://h/in"
    assert settings["audit.exports.siem.timeout_seconds"]["origin"] == "default"
