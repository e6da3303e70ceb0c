"""The commands of flags, configurations and events against a running installation."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from polyforge.cli.errors import CommandError
from polyforge.cli.main import app
from tests.conftest import Serve
from tests.support.server import Polyforge
from tests.support.settings import solo
from tests.support.waiting import eventually

Run = Callable[..., str]


def settings(*models: str) -> dict[str, Any]:
    """These models at a provider that nobody calls."""
    lab = {"use": "openai", "base_url": "http://127.0.0.1:9/v1"}
    return {"providers": {"lab": lab}, "models": {name: model for one in models for name, model in solo(one).items()}}


@pytest.fixture(scope="module")
def site(serve: Serve) -> Polyforge:
    return serve(settings("first"))


@pytest.fixture
def run(site: Polyforge) -> Run:
    environ = {"POLYFORGE_URL": site.url, "POLYFORGE_API_KEY": site.admin_key, "POLYFORGE_DATA": str(site.data)}

    def invoke(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments), env=environ)
        if result.exception is not None:
            raise result.exception
        return result.stdout

    return invoke


def test_flags_are_set_shown_removed_and_brought_back(run: Run) -> None:
    project = "0000000000000000000000009P"
    assert run("flag", "set", "search", "--share", "25", "--project", project).splitlines()[1].split()[:5] == [
        "search",
        "yes",
        "25",
        "%",
        project,
    ]
    assert json.loads(run("flag", "set", "search", "--off", "--version", "1", "--json"))["version"] == 2
    with pytest.raises(CommandError, match="at version 2, not 1"):
        run("flag", "set", "search", "--version", "1")
    run("flag", "rm", "search")
    assert run("flag", "list").splitlines() == ["name  on  share  projects  version  changed"]
    assert [line.split()[0] for line in run("flag", "history", "search").splitlines()] == ["on", "removed", "no", "yes"]
    run("flag", "rollback", "search", "1")
    assert [flag["share"] for flag in json.loads(run("flag", "list", "--json"))] == [25.0]
    assert len(json.loads(run("flag", "history", "search", "--json"))) == 4


def test_versions_are_listed_shown_reloaded_and_rolled_back(run: Run, site: Polyforge) -> None:
    assert run("config", "list").splitlines()[1].split()[:3] == ["1", "active", "file"]
    shown = yaml.safe_load(run("config", "show", "1"))
    assert sorted(shown["models"]) == ["first"]
    assert shown["providers"]["lab"]["base_url"] == "http://127.0.0.1:9/v1"
    site.declare(settings("first", "second"))
    assert f"told process {site.pid}" in run("config", "reload")
    eventually(lambda: json.loads(run("config", "list", "--json"))["running"] == 2, "the second version")
    site.config.write_text("models: [")
    eventually(lambda: "3 was refused: " in run("config", "list"), "the refusal")
    with pytest.raises(CommandError, match="was refused"):
        run("config", "rollback", "3")
    assert run("config", "rollback", "1") == "version 4 is version 1 again\n"
    assert run("config", "list", "--limit", "1").splitlines()[1].split()[:4] == ["4", "active", "version", "1"]
    assert json.loads(run("config", "show", "4", "--json"))["of_version"] == 1


def test_a_folder_on_which_nothing_runs_is_named(run: Run, tmp_path: Any) -> None:
    with pytest.raises(CommandError, match="no `polyforge up` runs on"):
        run("config", "reload", "--data", str(tmp_path))


def test_events_are_shown_oldest_first(run: Run) -> None:
    run("flag", "set", "told")
    rows = run("events", "--stream", "settings", "--limit", "1").splitlines()
    assert rows[0].split() == ["at", "sequence", "stream", "what", "to", "by"]
    assert rows[1].split()[3:6] == ["settings", "flag.set", "told"]
    found = json.loads(run("events", "--json"))
    assert [event["sequence"] for event in found] == sorted(event["sequence"] for event in found)
    with pytest.raises(CommandError, match="there is no stream 'nonsense'"):
        run("events", "--stream", "nonsense")
