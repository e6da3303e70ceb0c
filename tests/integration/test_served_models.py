"""From `polyforge model add` to models that answer: named, promoted and rolled back while callers call, and walled."""

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert
from typer.testing import CliRunner

from polyforge.cli.errors import CommandError
from polyforge.cli.main import app
from polyforge.database.database import Database
from polyforge.database.settings import DatabaseSettings
from polyforge.kernel.clock import SystemClock
from polyforge.kernel.hosted_names import hosted_name
from polyforge.kernel.ids import new_ulid
from polyforge.serving.served import read_served, served_path
from polyforge.tenancy.callers import ALL, Caller
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID
from polyforge.tenancy.schemas import NewKey
from polyforge.tenancy.service import KeyService
from polyforge.tenancy.tables import projects
from tests.conftest import Serve
from tests.support.clients import Response
from tests.support.python_models import write_model
from tests.support.recording import recorder
from tests.support.server import Key, Polyforge
from tests.support.settings import solo
from tests.support.small_encoders import encoder
from tests.support.waiting import eventually

SERVED_SECONDS = 60.0
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "models.md"
DOUBLING = """
    class Model:
        inputs = {"x": ("FP32", [-1])}
        outputs = {"y": ("FP32", [-1])}

        def predict(self, inputs):
            return {"y": inputs["x"] * 2}
"""
Run = Callable[..., str]


@pytest.fixture(scope="module")
def site(serve: Serve) -> Polyforge:
    lab = {"use": "openai", "base_url": "http://127.0.0.1:9/v1"}
    # Answers are kept, so that one of an earlier version would show.
    settings = {"providers": {"lab": lab}, "models": solo("declared", task="embedding"), "cache": {"default": {}}}
    return serve(settings, workers=2)


@pytest.fixture
def run(site: Polyforge) -> Run:
    environ = {"POLYFORGE_URL": site.url, "POLYFORGE_API_KEY": site.admin_key, "POLYFORGE_DATA": str(site.data)}

    def invoke(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["model", *arguments], env=environ)
        if result.exception is not None:
            raise result.exception
        return result.stdout

    return invoke


@pytest.fixture(scope="module")
def key(site: Polyforge) -> Key:
    return site.create_key()


def ask(site: Polyforge, key: Key, model: str, text: str = "red") -> Response:
    return site.call("/v1/embeddings", key=key.key, json={"model": model, "input": text})


def width(response: Response) -> int:
    """Of the vectors in an answer, which tells the version; 0 for a refusal."""
    return len(response.json["data"][0]["embedding"]) if response.status == 200 else 0


def answers(site: Polyforge, key: Key, model: str, wanted: int) -> None:
    """Wait until a name leads to the version with vectors of this width, in every worker."""

    def look() -> bool:
        return all(width(ask(site, key, model)) == wanted for _ in range(6))

    eventually(look, f"{model} with vectors of {wanted}", SERVED_SECONDS)


def version(site: Polyforge, name: str, number: int) -> dict[str, Any]:
    return site.api("GET", f"/models/{name}/versions/{number}").json


def ready(site: Polyforge, name: str, number: int) -> None:
    eventually(lambda: version(site, name, number)["state"] == "ready", f"{name}@{number} is ready", SERVED_SECONDS)


def listed(site: Polyforge, key: Key) -> list[str]:
    return [each["id"] for each in site.call("/v1/models", method="GET", key=key.key).json["data"]]


def test_a_model_that_was_added_answers_by_all_its_names(site: Polyforge, run: Run, tmp_path: Path) -> None:
    own = site.create_key()
    run("add", "tone", str(encoder(tmp_path / "m", 4)), "--configuration", '{"price": {"input": 1000.0}}')
    answers(site, own, "tone", 4)
    assert "points at version 1" in run("promote", "tone", "1", "--reason", "first")
    answers(site, own, "tone@production", 4)
    assert width(ask(site, own, "tone@1")) == 4
    for absent in ("tone@2", "tone@staging", "tone@", "@1", "tone@1@1"):
        assert ask(site, own, absent).status == 404, absent
    assert "tone" in listed(site, own)
    shown = version(site, "tone", 1)
    assert (shown["state"], shown["card"]["backend"], shown["card"]["task"]) == ("ready", "text_encoder", "embedding")
    assert next((each["name"], each["shape"]) for each in shown["signature"]["outputs"]) == ("embedding", [-1, 4])
    assert [each["state"] for each in shown["deployments"]] == ["ready"]
    assert "ready" in run("versions", "tone")
    told = [each["action"] for each in site.api("GET", "/audit?limit=100").json["data"]]
    assert {"model_version.added", "model_version.ready", "model.promoted"} <= set(told)


def test_calls_are_metered_under_the_plain_name_and_priced(site: Polyforge, run: Run, tmp_path: Path) -> None:
    own = site.create_key()
    run("add", "priced", str(encoder(tmp_path / "m", 4)), "--configuration", '{"price": {"input": 1000000.0}}')
    answers_once = eventually(lambda: ask(site, own, "priced@1").status == 200, "priced answers", SERVED_SECONDS)
    assert answers_once
    before = eventually(lambda: [row for row in site.records(own.id) if row["status"] == "ok"], "the first record")
    assert ask(site, own, "priced@1", "red green").status == 200
    rows = eventually(
        lambda: [row for row in site.records(own.id) if row["status"] == "ok"][len(before) :], "its usage record"
    )
    assert rows[-1]["model"] == "priced"
    assert rows[-1]["deployment"] == f"{DEFAULT_PROJECT_ID}.priced@1"
    # [CLS] red green [SEP] at one dollar each.
    assert rows[-1]["price_micros"] == 4_000_000
    assert rows[-1]["cost_micros"] == 0


def test_a_promotion_and_a_rollback_cost_no_request(site: Polyforge, key: Key, run: Run, tmp_path: Path) -> None:
    run("add", "moving", str(encoder(tmp_path / "m", 4)), "--promote-to", "production")
    answers(site, key, "moving", 4)
    with calling(site, key, "moving") as seen:
        run("add", "moving", str(encoder(tmp_path / "m", 8)), "--promote-to", "production")
        answers(site, key, "moving", 8)
        run("rollback", "moving")
        answers(site, key, "moving", 4)
        ready(site, "moving", 1)
        run("promote", "moving", "2")
        answers(site, key, "moving", 8)
        eventually(lambda: _gone(site, key, "moving@1"), "nothing leads to version 1", SERVED_SECONDS)
        eventually(lambda: hosted(site, "moving") == ["2"], "the host lets go of version 1", SERVED_SECONDS)
        answers(site, key, "moving", 8)
    assert set(seen) == {4, 8}, f"{seen.count(0)} of {len(seen)} requests failed"


def hosted(site: Polyforge, name: str) -> list[str]:
    """The versions of a model that the host is to serve."""
    served = read_served(served_path(site.data))
    return [each.version for each in served if each.name == hosted_name(DEFAULT_PROJECT_ID, name)]


def _gone(site: Polyforge, key: Key, model: str) -> bool:
    return all(ask(site, key, model).status == 404 for _ in range(6))


@contextmanager
def calling(site: Polyforge, key: Key, model: str) -> Generator[list[int]]:
    """Call all the time; the widths of the answers, 0 for each that failed."""
    seen: list[int] = []
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            seen.append(width(ask(site, key, model)))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_a_protected_alias_serves_only_what_was_approved(site: Polyforge, key: Key, run: Run, tmp_path: Path) -> None:
    run("add", "careful", str(encoder(tmp_path / "m", 4)), "--promote-to", "production")
    run("protect", "careful", "production")
    answers(site, key, "careful", 4)
    run("add", "careful", str(encoder(tmp_path / "m", 8)))
    assert "somebody else" in run("promote", "careful", "2")
    assert (version(site, "careful", 1)["state"], version(site, "careful", 2)["state"]) == ("ready", "idle")
    assert width(ask(site, key, "careful")) == 4
    assert ask(site, key, "careful@2").status == 404
    waiting = site.api("GET", "/models/careful/deployments").json["data"][0]
    other = site.create_key(scopes=["models:read", "models:approve"])
    path = f"/api/v1/models/careful/deployments/{waiting['id']}/approve"
    assert site.call(path, key=other.key, json={"reason": "looks good"}).json["decided_by"] == other.id
    answers(site, key, "careful@production", 8)


def test_what_was_removed_answers_no_more(site: Polyforge, key: Key, run: Run, tmp_path: Path) -> None:
    run("add", "leaving", str(encoder(tmp_path / "m", 4)))
    answers(site, key, "leaving", 4)
    run("rm", "leaving")
    eventually(lambda: _gone(site, key, "leaving"), "it is gone", SERVED_SECONDS)
    assert "leaving" not in listed(site, key)


def test_no_other_project_reaches_it_by_any_spelling(site: Polyforge, key: Key, run: Run, tmp_path: Path) -> None:
    run("add", "walled", str(encoder(tmp_path / "m", 4)), "--promote-to", "production")
    answers(site, key, "walled@production", 4)
    stranger = Key("", asyncio.run(key_of_another_project(site)))
    assert ask(site, stranger, "polyforge/static-minilm").status == 200
    place = DEFAULT_PROJECT_ID
    for spelled in (
        "walled",
        "walled@1",
        "walled@production",
        f"{place}.walled",
        f"{place}.walled@1",
        f"{place}/walled",
        f"local/{place}.walled@1",
        "WALLED",
        "walled@1/versions/1",
        f"static-minilm/../{place}.walled",
        f"polyforge/{place}.walled@1",
    ):
        assert ask(site, stranger, spelled).status == 404, spelled
        described = site.call(f"/v1/models/{spelled}", method="GET", key=stranger.key)
        assert described.status == 404, spelled
        for path in (f"/v2/models/{spelled}", f"/v2/models/{spelled}/versions/1/ready", f"/v2/models/{spelled}/stats"):
            assert site.call(path, method="GET", key=stranger.key).status in (400, 404), path
        assert infer(site, stranger, f"/v2/models/{spelled}/infer").status in (400, 404), spelled
    assert "walled" not in listed(site, stranger)
    index = site.call("/v2/repository/index", key=stranger.key, json={})
    assert b"walled" not in index.body
    # The owner's key does not reach the host by its own names either.
    assert ask(site, key, f"{place}.walled@1").status == 404


def infer(site: Polyforge, key: Key, path: str) -> Response:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["red green"]}
    return site.call(path, key=key.key, json={"inputs": [tensor]})


def test_it_answers_with_tensors_under_the_name_that_callers_know(
    site: Polyforge, key: Key, run: Run, tmp_path: Path
) -> None:
    run("add", "tensors", str(encoder(tmp_path / "m", 4)), "--promote-to", "production")
    answers(site, key, "tensors@production", 4)
    for path in ("tensors", "tensors@production", "tensors/versions/1"):
        answer = infer(site, key, f"/v2/models/{path}/infer")
        assert (answer.status, answer.json["model_name"], answer.json["model_version"]) == (200, "tensors", "1")
        assert DEFAULT_PROJECT_ID not in answer.body.decode()
    described = site.call("/v2/models/tensors", method="GET", key=key.key).json
    assert (described["name"], described["versions"]) == ("tensors", ["1"])
    assert site.call("/v2/models/tensors/versions/2", method="GET", key=key.key).status == 404


def test_a_program_is_served_where_an_operator_added_it(site: Polyforge, key: Key, run: Run, tmp_path: Path) -> None:
    run("add", "doubling", str(write_model(tmp_path / "doubling", DOUBLING)))
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [21.0]}]}

    def ask_it() -> list[float]:
        answer = site.call("/v2/models/doubling/infer", key=key.key, json=body)
        return answer.json["outputs"][0]["data"] if answer.status == 200 else []

    assert eventually(ask_it, "the program answers", SERVED_SECONDS) == [42.0]
    shown = version(site, "doubling", 1)
    assert (shown["card"]["backend"], shown["signature"]["inputs"][0]["name"]) == ("python", "x")


def test_a_key_for_one_model_reaches_no_other_version_of_it(
    site: Polyforge, key: Key, run: Run, tmp_path: Path
) -> None:
    run("add", "scoped", str(encoder(tmp_path / "m", 4)), "--promote-to", "production")
    answers(site, key, "scoped", 4)
    limited = site.create_key(models=["scoped@production"])
    assert width(ask(site, limited, "scoped@production")) == 4
    assert ask(site, limited, "scoped@1").status == 404
    assert infer(site, limited, "/v2/models/scoped@production/infer").status == 200
    assert infer(site, limited, "/v2/models/scoped@production/versions/1/infer").status == 404
    assert infer(site, limited, "/v2/models/scoped/versions/1/infer").status == 404
    assert ask(site, limited, "scoped").status == 404


def test_declared_and_reserved_names_are_refused(run: Run, tmp_path: Path) -> None:
    folder = str(encoder(tmp_path / "m", 4))
    with pytest.raises(CommandError, match="declared in the settings"):
        run("add", "declared", folder)
    with pytest.raises(CommandError, match="means something else"):
        run("add", "stats", folder)


def test_what_a_pipeline_puts_into_a_folder_answers_by_itself(
    site: Polyforge, key: Key, run: Run, tmp_path: Path
) -> None:
    """The hook of CI/CD: a new artifact in a watched place is checked, becomes a version, and is promoted."""
    folder = encoder(tmp_path / "published", 4)
    run("watch", "automatic", str(folder), "--every", "10", "--promote-to", "production")
    answers(site, key, "automatic", 4)
    (folder / "model.onnx").write_bytes(b"half of an upload")
    eventually(lambda: "failed" in run("imports", "automatic"), "what is broken is refused", SERVED_SECONDS)
    assert width(ask(site, key, "automatic")) == 4
    encoder(folder, 8)
    answers(site, key, "automatic@production", 8)
    history = site.api("GET", "/models/automatic/deployments").json["data"]
    assert [(each["version"], each["previous"], each["action"]) for each in history] == [
        (2, 1, "promoted"),
        (1, None, "promoted"),
    ]


def test_it_answers_again_after_a_restart(site: Polyforge, key: Key, run: Run, tmp_path: Path) -> None:
    run("add", "lasting", str(encoder(tmp_path / "m", 4)), "--promote-to", "production")
    answers(site, key, "lasting", 4)
    site.restart()
    answers(site, key, "lasting@production", 4)


def test_what_the_page_tells_works(site: Polyforge, tmp_path: Path) -> None:
    """Every command of the first sections, as a reader would type it."""
    encoder(tmp_path / "my-encoder", 4)
    encoder(tmp_path / "my-encoder-v2", 8)
    told = PAGE.read_text().partition("## What is refused")[0]
    blocks = re.findall(r"^```bash\n(.*?)^```$", told, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    environ = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "POLYFORGE_URL": site.url,
        "POLYFORGE_API_KEY": site.admin_key,
    }
    for block in blocks:
        script = f"set -eu\n{block.replace('http://127.0.0.1:8080', site.url)}"
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=180, check=False
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"


async def key_of_another_project(site: Polyforge) -> str:
    """A key that may do everything in a project of its own."""
    database = Database(DatabaseSettings(), site.data)
    await database.open()
    clock = SystemClock()
    project = new_ulid()
    owner = Caller("0" * 26, "tests", DEFAULT_ORGANIZATION_ID, project, frozenset({ALL}), kind="system")
    try:
        async with database.write() as session:
            row = {"id": project, "organization_id": DEFAULT_ORGANIZATION_ID, "name": "other", "created_at": 1.0}
            await session.change(insert(projects).values(row))
        service = KeyService(database, clock, recorder(clock), lambda: None)
        return (await service.create(owner, NewKey(name="stranger", scopes=[ALL])))[1].value
    finally:
        await database.close()
