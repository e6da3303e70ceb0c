"""`polyforge chat` and `polyforge code` against a running installation with a scripted provider."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from polyforge.cli.main import app
from tests.conftest import Serve
from tests.support.behaviours import Answer, Fail
from tests.support.people import PASSWORD
from tests.support.server import Polyforge
from tests.support.settings import settings, solo
from tests.support.upstream import Upstream

FINDING = {
    "line": 1,
    "end_line": None,
    "severity": "error",
    "category": "bug",
    "message": "Never \x1b[31mworks.",
    "suggestion": None,
}
BLOCKS = {"blocks": [{"language": "python", "code": "a = 1\n", "path": "a.py"}], "explanation": "Sets it."}
ANSWERS: dict[str, Any] = {
    "review": {"findings": [FINDING], "summary": "Bad."},
    "explain": {"summary": "Sets a.", "steps": [{"lines": [1, 2], "text": "Both."}]},
    **dict.fromkeys(("generate", "fix", "test", "complete"), BLOCKS),
}


@pytest.fixture(scope="module")
def place(serve: Serve, upstream: Upstream) -> Polyforge:
    models = [solo(name) for name in ("cli-chat", "cli-broken", "cli-refused", *(f"cli-{name}" for name in ANSWERS))]
    for name, answer in ANSWERS.items():
        upstream.script(f"cli-{name}", Answer(json.dumps(answer)))
    return serve(settings(upstream, {name: model for each in models for name, model in each.items()}))


def run(place: Polyforge, home: Path, *words: str, given: str | None = None, key: bool = True) -> Result:
    environ = {
        "POLYFORGE_URL": place.url,
        "XDG_CONFIG_HOME": str(home),
        "POLYFORGE_DATA": str(home),
        "POLYFORGE_API_KEY": place.admin_key if key else None,
        "POLYFORGE_ADMIN_KEY": None,
    }
    return CliRunner().invoke(app, words, input=given, env=environ)


def shown(result: Result) -> str:
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def test_an_answer_is_shown_without_what_would_move_the_cursor(
    place: Polyforge, tmp_path: Path, upstream: Upstream
) -> None:
    upstream.script("cli-chat", Answer("Hello\x1b[2J there,\nwörld."))
    assert shown(run(place, tmp_path, "chat", "--model", "cli-chat", "Hi", "--system", "Be kind.")) == (
        "Hello[2J there,\nwörld.\n"
    )
    asked = upstream.requests("cli-chat")[-1].json
    assert [message["content"] for message in asked["messages"]] == ["Be kind.", "Hi"]
    assert asked["stream"] is True


def test_the_message_may_come_on_standard_input(place: Polyforge, tmp_path: Path, upstream: Upstream) -> None:
    answer = json.loads(shown(run(place, tmp_path, "chat", "--model", "cli-chat", "--json", given="From a pipe.\n")))
    assert answer["model"] == "cli-chat"
    assert upstream.requests("cli-chat")[-1].json["messages"][0]["content"] == "From a pipe.\n"
    assert "standard input" in str(run(place, tmp_path, "chat", "--model", "cli-chat", given="").exception)


def test_what_goes_wrong_is_told(place: Polyforge, tmp_path: Path, upstream: Upstream) -> None:
    upstream.script("cli-broken", Answer("Hello there.", ending="cut", after=1))
    broken = run(place, tmp_path, "chat", "--model", "cli-broken", "Hi")
    assert broken.stdout == "Hello\n"
    assert "broke off" in str(broken.exception)
    upstream.script("cli-refused", Fail(400, "that is not possible"))
    assert "that is not possible" in str(run(place, tmp_path, "chat", "--model", "cli-refused", "Hi").exception)
    assert "there is no model" in str(run(place, tmp_path, "chat", "--model", "nobody", "Hi").exception)


def test_who_signed_in_needs_no_key(place: Polyforge, tmp_path: Path) -> None:
    made = ("user", "create", "ann@example.org", "--name", "Ann", "--password-stdin")
    shown(run(place, tmp_path, *made, given=f"{PASSWORD}\n"))
    shown(run(place, tmp_path, "login", "--email", "ann@example.org", given=f"{PASSWORD}\n", key=False))
    assert shown(run(place, tmp_path, "chat", "--model", "cli-chat", "Hi", key=False)).startswith("Hello")
    foreign = place.call(
        "/api/v1/chat",
        json={"model": "cli-chat", "messages": [{"role": "user", "content": "Hi"}]},
        headers={"cookie": "polyforge_session=nobody"},
    )
    assert foreign.status == 401


@pytest.mark.parametrize("operation", ["explain", "review", "fix", "test", "complete"])
def test_code_in_a_file(place: Polyforge, tmp_path: Path, upstream: Upstream, operation: str) -> None:
    file = tmp_path / "a.py"
    file.write_text("a = 1\nb = 2\n")
    words = ["code", operation, str(file), "--model", f"cli-{operation}"]
    words += ["--line", "1"] if operation == "complete" else []
    expected = {
        "review": "line  severity  category  message\n1     error     bug       Never [31mworks.\nBad.\n",
        "explain": "Sets a.\n1-2: Both.\n",
    }
    assert shown(run(place, tmp_path, *words)) == expected.get(operation, "--- a.py\na = 1\n")
    answer = json.loads(shown(run(place, tmp_path, *words, "--json")))
    assert {name: answer[name] for name in ANSWERS[operation]} == ANSWERS[operation]
    prompt = upstream.requests(f"cli-{operation}")[-1].json["messages"]
    assert "works in python" in prompt[0]["content"]
    assert "a = 1" in prompt[1]["content"]


def test_code_is_written(place: Polyforge, tmp_path: Path) -> None:
    words = ("code", "generate", "Set a.", "--language", "python", "--model", "cli-generate")
    assert shown(run(place, tmp_path, *words)) == "--- a.py\na = 1\n"


def test_a_file_that_tells_nothing_is_told(place: Polyforge, tmp_path: Path) -> None:
    assert "pass --language" in str(run(place, tmp_path, "code", "review", "Makefile").exception)
    assert "cannot read" in str(run(place, tmp_path, "code", "review", str(tmp_path / "none.py")).exception)
