"""The commands of flags, configurations and events against a running installation."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from polyforge.cli.errors import CommandError
from polyforge.cli.main import app
from tests.conftest import Serve
from tests.support.server import Polyforge
from tests.support.settings import solo
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

Run = Callable[..., str]
PROVIDER_KEY = "provider-key-1234567890"


def settings(*models: str) -> dict[str, Any]:
    """These models at a provider that nobody calls."""
    lab = {"use": "openai", "base_url": "http://127.0.0.1:9/v1"}
    return {"providers": {"lab": lab}, "models": {name: model for one in models for name, model in solo(one).items()}}


@pytest.fixture(scope="module")
def site(serve: Serve) -> Polyforge:
    return serve({**settings("first"), "egress": {"allow": ["127.0.0.1"]}})


@pytest.fixture
def provider() -> Iterator[Upstream]:
    """A provider that takes one key."""
    upstream = Upstream(PROVIDER_KEY).start()
    yield upstream
    upstream.stop()


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


def test_providers_are_added_tried_listed_and_removed(
    run: Run, provider: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADDED_KEY", "wrong-key-1234567890")
    address = f"base_url={provider.url}"
    assert "polyforge provider test added" in run(
        "provider", "add", "added", "openai", "--set", address, "--key-from-env", "ADDED_KEY"
    )
    rows = [line.split() for line in run("provider", "list").splitlines()]
    assert rows == [
        ["name", "kind", "declared", "in", "models", "trouble"],
        ["added", "openai", "api", "-", "-"],
        ["lab", "openai", "file", "first", "-"],
    ]
    with pytest.raises(CommandError, match="does not take the key"):
        eventually(lambda: _answers(run), "the provider to be there")
    run("provider", "rm", "added")
    path = tmp_path / "key"
    path.write_text(f"{PROVIDER_KEY}\n")
    limits = ("--set", "max_connections=7")
    made = run("provider", "add", "added", "openai", "--set", address, *limits, "--key-from-file", str(path), "--json")
    assert json.loads(made)["settings"]["max_connections"] == 7
    eventually(lambda: _works(run), "the other key to count")
    assert "gpt-upstream" in run("provider", "test", "added")
    assert "openai" in run("provider", "kinds")
    run("provider", "rm", "added")
    with pytest.raises(CommandError, match=r"polyforge\.yaml"):
        run("provider", "rm", "lab")
    with pytest.raises(CommandError, match="NAME=VALUE"):
        run("provider", "add", "other", "openai", "--set", "nonsense")


def _answers(run: Run) -> bool:
    """Whether it is in force, whatever it answers but that it is not there, or that its key is not."""
    try:
        run("provider", "test", "added")
    except CommandError as error:
        if "there is no" in str(error) or "not known yet" in str(error):
            return False
        raise
    return True


def _works(run: Run) -> bool:
    try:
        run("provider", "test", "added")
    except CommandError:
        return False
    return True


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
