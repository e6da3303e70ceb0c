"""The commands of registered models against a running installation."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from polyforge.cli.errors import CommandError
from polyforge.cli.main import app
from tests.conftest import Serve
from tests.support.server import Polyforge
from tests.support.settings import solo
from tests.support.small_encoders import encoder

Run = Callable[..., str]


@pytest.fixture(scope="module")
def site(serve: Serve) -> Polyforge:
    lab = {"use": "openai", "base_url": "http://127.0.0.1:9/v1"}
    return serve({"providers": {"lab": lab}, "models": solo("first")})


@pytest.fixture
def run(site: Polyforge) -> Run:
    environ = {"POLYFORGE_URL": site.url, "POLYFORGE_API_KEY": site.admin_key, "POLYFORGE_DATA": str(site.data)}

    def invoke(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["model", *arguments], env=environ)
        if result.exception is not None:
            raise result.exception
        return result.stdout

    return invoke


def test_a_model_is_added_promoted_rolled_back_and_removed(run: Run, tmp_path: Path) -> None:
    for width in (4, 8):
        run("add", "minilm", str(encoder(tmp_path / "m", width)), "--metric", "accuracy=0.9", "--promote-to", "staging")
    table = [line.split() for line in run("versions", "minilm").splitlines()]
    assert [(row[0], row[1], row[3]) for row in table[1:]] == [
        ("2", "staging", "text_encoder"),
        ("1", "-", "text_encoder"),
    ]
    assert "points at version 1" in run("promote", "minilm", "1", "--reason", "first")
    assert "points at version 2" in run("promote", "minilm", "2")
    assert "points at version 1" in run("rollback", "minilm", "--reason", "worse")
    assert json.loads(run("history", "minilm", "--json"))[0]["reason"] == "worse"
    assert run("list", "--registered").splitlines()[1].split()[:3] == ["minilm", "2", "production=1,staging=2"]
    with pytest.raises(CommandError, match="points at version 1; promote another first"):
        run("rm", "minilm", "1")
    assert run("protect", "minilm", "production").split()[-1] == "production"
    asked = run("promote", "minilm", "2").split()
    with pytest.raises(CommandError, match="somebody else has to approve"):
        run("approve", "minilm", asked[-1])
    assert "rejected" in run("reject", "minilm", asked[-1])
    run("protect", "minilm")
    run("rm", "minilm")
    with pytest.raises(CommandError, match="no model 'minilm'"):
        run("versions", "minilm")


def test_what_went_wrong_with_a_source_is_told(run: Run, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no new version: there is no file or folder"):
        run("add", "absent", str(tmp_path / "nothing"))
    (tmp_path / "model.pkl").write_bytes(b"x")
    with pytest.raises(CommandError, match="run code when they are read"):
        run("add", "pickled", str(tmp_path))
    assert [each["state"] for each in json.loads(run("imports", "pickled", "--json"))] == ["failed"]
    with pytest.raises(CommandError, match="accuracy"):
        run("add", "m", str(tmp_path), "--metric", "good")
    with pytest.raises(CommandError, match="should be an object"):
        run("add", "m", str(tmp_path), "--configuration", "[]")
