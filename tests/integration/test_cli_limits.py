"""`polyforge limit` and `polyforge budget` against a running installation."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from polyforge.cli.main import app
from tests.conftest import Serve
from tests.support.server import Polyforge
from tests.support.settings import settings
from tests.support.upstream import Upstream

DECLARED = {"house": {"subject": "user", "measure": "money", "amount": 20, "window": "month"}}


@pytest.fixture(scope="module")
def place(serve: Serve, upstream: Upstream) -> Polyforge:
    return serve(settings(upstream, {}, limits=DECLARED))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def run(place: Polyforge, home: Path, *words: str) -> Result:
    environ = {
        "POLYFORGE_URL": place.url,
        "XDG_CONFIG_HOME": str(home),
        "POLYFORGE_DATA": str(home),
        "POLYFORGE_API_KEY": place.admin_key,
        "POLYFORGE_ADMIN_KEY": None,
    }
    return CliRunner().invoke(app, words, env=environ)


def shown(result: Result) -> str:
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def made(place: Polyforge, home: Path, *words: str) -> dict[str, Any]:
    return json.loads(shown(run(place, home, "limit", "create", *words, "--json")))


def test_a_limit_from_its_beginning_to_its_end(place: Polyforge, home: Path) -> None:
    model = ("--on", "model", "--subject", "m", "--measure", "money", "--amount", "5", "--window", "day")
    first = made(place, home, "first", *model, "--threshold", "0.8", "--threshold", "0.5")["id"]
    second = made(place, home, "second", *model)["id"]
    calls = made(place, home, "calls", "--on", "key", "--measure", "requests", "--amount", "9", "--window", "hour")[
        "id"
    ]
    table = shown(run(place, home, "limit", "list")).splitlines()
    assert table[0].split() == ["id", "name", "on", "amount", "used", "left", "%", "starts", "again"]
    assert [line.split()[1] for line in table[1:]] == ["calls", "second", "first", "house"]
    assert table[2].split()[2:10] == ["model", "m", "5.00", "USD", "per", "day", "0.00", "5.00"]
    assert table[1].split()[2:] == ["each", "key", "9", "requests", "per", "hour", "each", "its", "own", "-", "-", "-"]
    budgets = json.loads(shown(run(place, home, "budget", "list", "--json")))
    assert [each["name"] for each in budgets] == ["second", "first", "house"]
    assert "allowed          6.5" in shown(run(place, home, "limit", "top-up", first, "1.5"))
    assert "allowed          2.5" in shown(run(place, home, "limit", "transfer", first, second, "4"))
    assert json.loads(shown(run(place, home, "limit", "show", second, "--json")))["use"]["left"] == 9.0
    assert "reset" not in shown(run(place, home, "limit", "reset", calls, "--subject", "k"))
    changed = json.loads(shown(run(place, home, "limit", "change", calls, "--amount", "12", "--soft", "--json")))
    assert (changed["amount"], changed["hard"]) == (12, False)
    assert shown(run(place, home, "limit", "delete", calls)) == f"deleted {calls}\n"
    assert "there is no limit" in str(run(place, home, "limit", "show", calls).exception)


def test_what_goes_wrong_is_told(place: Polyforge, home: Path) -> None:
    declared = next(each for each in json.loads(shown(run(place, home, "limit", "list", "--json"))) if each["declared"])
    assert "polyforge.yaml" in str(run(place, home, "limit", "delete", declared["id"]).exception)
    assert (
        run(place, home, "limit", "create", "x", "--on", "planet", "--measure", "money", "--amount", "1").exit_code == 2
    )
    unknown = run(place, home, "limit", "create", "x", "--on", "key", "--measure", "money", "--amount", "1")
    assert "window must be given" in str(unknown.exception)
