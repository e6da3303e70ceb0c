"""`polyforge flow`, `polyforge batch` and `polyforge job` as people type them, on an installation with a worker."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Serve
from tests.support.behaviours import Answer, Gate
from tests.support.clients import call
from tests.support.commands import Commands
from tests.support.flows import answering, flow, node
from tests.support.server import ALL, Polyforge
from tests.support.settings import settings, solo
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

SAID = "It scatters the light."
FORM = {"type": "object", "properties": {"words": {"type": "string"}}, "required": ["words"]}
CHAT = "/v1/chat/completions"
LAKE = "lake"


def deciding() -> dict[str, Any]:
    """Somebody says what is said."""
    ask = {"question": "Say what?", "assignees": ["role:owner"], "expires_in_s": 3_600, "form": FORM}
    nodes = {
        "ask": node("human.approval", ask),
        "out": node("flow.output", {"name": "said"}, value=("ask", "approved")),
    }
    return flow(nodes, interface={"inputs": {}, "outputs": {"said": {"type": "json"}}})


@pytest.fixture(scope="module")
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open()


@pytest.fixture(scope="module")
def site(serve: Serve, upstream: Upstream, gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Polyforge:
    upstream.script("assistant", Answer(SAID))
    upstream.script("held", Answer(SAID, before_head=gate))
    lake = tmp_path_factory.mktemp(LAKE)
    (lake / "in.csv").write_text("text\nsky\nsea\n")
    batches = {"lines_at_once": 1, "stores": {LAKE: {"use": "folder", "path": str(lake), "projects": ["*"]}}}
    server = serve(settings(upstream, {**solo("assistant"), **solo("held")}, batches=batches), roles=ALL)
    for slug, document in (("ask", answering()), ("decide", deciding())):
        made = server.api("POST", "/flows", {"slug": slug, "document": document})
        assert made.status == 201, made.body
        assert server.api("POST", f"/flows/{slug}/commit", {"message": "first"}).status in (200, 201)
        assert server.api("PUT", f"/flows/{slug}/aliases/prod", {"version": "1"}).status in (200, 201)
    return server


@pytest.fixture
def polyforge(site: Polyforge) -> Commands:
    return Commands(site)


def asked(site: Polyforge, polyforge: Commands) -> tuple[str, str]:
    """A run that waits for somebody, and what it asks."""
    run = polyforge.json("flow", "run", "decide", "--no-wait")["id"]
    found = eventually(lambda: site.api("GET", f"/approvals?run={run}&state=pending").json["data"], "an approval")
    return run, found[0]["id"]


def over(site: Polyforge, run: str) -> Any:
    """What came of a run, once it is over."""
    eventually(lambda: site.api("GET", f"/flow-runs/{run}").json["ended_at"], "the end of the run")
    return site.api("GET", f"/flow-runs/{run}/result").json


def test_what_a_run_asks_is_approved(site: Polyforge, polyforge: Commands) -> None:
    run, approval = asked(site, polyforge)
    listed = polyforge("flow", "approvals")
    assert (approval in listed, "Say what?" in listed) == (True, True)
    assert "words" in polyforge.fails("flow", "approve", approval)
    assert "--values: this is not JSON" in polyforge.fails("flow", "approve", approval, "--values", "{")
    reader = Commands(site, site.create_key(scopes=["flows:read"]).key)
    assert "approvals:decide" in reader.fails("flow", "approve", approval)
    told = polyforge("flow", "approve", approval, "--values", '{"words": "yes"}')
    assert told == f"{approval} is approved; the run {run} goes on\n"
    assert over(site, run)["outputs"] == {"said": {"words": "yes"}}
    assert "already" in polyforge.fails("flow", "approve", approval, "--values", '{"words": "no"}')
    assert "approved" in polyforge("flow", "approvals", "--all")
    assert "there is no approval" in polyforge.fails("flow", "approve", "apr_nothing")


def test_what_a_run_asks_is_rejected(site: Polyforge, polyforge: Commands) -> None:
    run, approval = asked(site, polyforge)
    assert "--reason" in polyforge.fails("flow", "reject", approval, code=2)
    assert "say why" in polyforge.fails("flow", "reject", approval, "--reason", "")
    told = polyforge.json("flow", "reject", approval, "--reason", "not now")
    assert (told["state"], told["reason"], told["run_id"]) == ("rejected", "not now", run)
    over(site, run)
    assert "already" in polyforge.fails("flow", "reject", approval, "--reason", "not now")


def test_an_alias_is_published_and_withdrawn(site: Polyforge, polyforge: Commands) -> None:
    assert "--tool, --page or both" in polyforge.fails("flow", "publish", "ask")
    told = polyforge("flow", "publish", "ask", "--page", "--tool")
    assert f"page  {site.url}/flows/ask@prod\n" in told
    assert f"tool  ask at {site.url}/mcp\n" in told
    assert call(site.url, "/flows/ask@prod", method="GET").status == 200
    assert call(site.url, "/api/v1/flows/ask@prod/page", method="GET", key=site.admin_key).status == 200
    told = polyforge.json("flow", "publish", "ask", "prod", "--tool", "--page")
    assert (told["alias"], told["tool"], told["page"], told["tool_name"]) == ("prod", True, True, "ask")
    assert polyforge("flow", "withdraw", "ask") == "ask@prod is not published any more\n"
    assert call(site.url, "/api/v1/flows/ask@prod/page", method="GET", key=site.admin_key).status == 404
    assert "is not published" in polyforge.fails("flow", "withdraw", "ask", "prod")
    assert "nothing" in polyforge.fails("flow", "publish", "nothing", "--page")
    assert "beta" in polyforge.fails("flow", "publish", "ask", "beta", "--page")


def calls(folder: Path, model: str, count: int = 2) -> str:
    """A file of calls."""
    file = folder / f"{model}.jsonl"
    body = {"model": model, "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 5}
    lines = [{"custom_id": f"line-{n}", "method": "POST", "url": CHAT, "body": body} for n in range(count)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(file)


def test_a_batch_needs_a_file_or_a_table(polyforge: Commands, tmp_path: Path) -> None:
    file = calls(tmp_path, "assistant")
    for words in ((), (file, "--store", LAKE)):
        assert "either a file of calls, or --store and --input" in polyforge.fails("batch", "create", *words)
    assert "--input must name the table" in polyforge.fails("batch", "create", "--store", LAKE)
    table = ("batch", "create", "--store", LAKE, "--input")
    assert "--body: it is no JSON" in polyforge.fails(*table, "in.csv", "--body", "{")
    assert "--body: gone.json cannot be read" in polyforge.fails(*table, "in.csv", "--body", "@gone.json")
    body = json.dumps({"model": "assistant", "messages": [{"role": "user", "content": "{{text}}"}]})
    assert "gone.csv" in polyforge.fails(*table, "gone.csv", "--body", body, "--wait")
    assert "cannot be read" in polyforge.fails("batch", "create", str(tmp_path / "gone.jsonl"))
    assert "there is no batch" in polyforge.fails("batch", "show", "batch_nothing")


def test_a_batch_of_a_file_is_shown_and_fetched(polyforge: Commands, tmp_path: Path) -> None:
    done = polyforge.run("batch", "create", calls(tmp_path, "assistant"), "--wait")
    assert done.returncode == 0, done.stderr
    fields = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert (fields["status"], fields["completed"], fields["failed"], fields["total"]) == ("completed", "2", "0", "2")
    batch = fields["id"]
    [row] = [line for line in polyforge("batch", "list").splitlines() if line.startswith(batch)]
    assert "completed" in row
    assert polyforge.json("batch", "show", batch)["status"] == "completed"
    answers = [json.loads(line) for line in polyforge("batch", "result", batch).splitlines()]
    assert [each["custom_id"] for each in answers] == ["line-0", "line-1"]
    assert answers[0]["response"]["body"]["choices"][0]["message"]["content"] == SAID
    assert "has no errors" in polyforge.fails("batch", "result", batch, "--errors")
    assert "cannot write" in polyforge.fails("batch", "result", batch, "-o", str(tmp_path / "none" / "a"))
    assert "nothing to cancel" in polyforge.fails("batch", "cancel", batch)


def test_a_batch_that_cannot_be_read_fails_the_command(polyforge: Commands, tmp_path: Path) -> None:
    file = tmp_path / "wrong.jsonl"
    file.write_text("no JSON\n")
    told = polyforge.fails("batch", "create", str(file), "--wait")
    assert "is failed: line 1: " in told
    batch = next(word for word in told.split() if word.startswith("batch_"))
    assert "invalid_json_line" in polyforge("batch", "show", batch)


def test_a_batch_is_cancelled(site: Polyforge, polyforge: Commands, tmp_path: Path, gate: Gate) -> None:
    # More than can be done until the worker looks again.
    made = polyforge.json("batch", "create", calls(tmp_path, "held", 2_000))["id"]
    assert f"polyforge batch show {made} --wait" in polyforge.fails("batch", "result", made)
    assert "cancel" in dict(line.split(None, 1) for line in polyforge("batch", "cancel", made).splitlines())["status"]
    gate.open()
    assert f"the batch {made} is cancelled" in polyforge.fails("batch", "show", made, "--wait")
    shown = polyforge.json("batch", "show", made)
    assert (shown["status"], shown["counts"]["completed"] < 2_000) == ("cancelled", True)


def test_a_job_that_waits_is_cancelled_and_tried_again(site: Polyforge, polyforge: Commands) -> None:
    run, _ = asked(site, polyforge)
    listing = ("job", "list", "--kind", "flow.run", "--state", "waiting")
    [job] = [each["id"] for each in eventually(lambda: polyforge.json(*listing), "a job that waits")]
    assert "waits for" in polyforge("job", "show", job)
    shown = polyforge("job", "cancel", job)
    assert job in shown
    assert f"the job {job} was cancelled" in polyforge.fails("job", "watch", job)
    over(site, run)
    assert polyforge("job", "logs", job, "--follow") == polyforge("job", "logs", job)
    assert "already" in polyforge.fails("job", "cancel", job)
    assert "there is no job" in polyforge.fails("job", "retry", "job_nothing")
