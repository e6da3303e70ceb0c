"""`polyforge flow result`, `events`, `cancel`, `rerun` and `approvals ID`, as people type them."""

from typing import Any

import pytest

from tests.conftest import Serve
from tests.support.behaviours import Answer
from tests.support.commands import Commands
from tests.support.flows import answering, flow, node
from tests.support.server import ALL, Polyforge
from tests.support.settings import settings, solo
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

SAID = "It scatters the light."
FORM = {"type": "object", "properties": {"amount": {"type": "integer"}}, "required": ["amount"]}
ASK = {"question": "Pay?", "assignees": ["role:owner"], "expires_in_s": 3_600, "form": FORM}


def paying() -> dict[str, Any]:
    """Somebody says how much."""
    nodes = {
        "ask": node("human.approval", ASK, show={"bill": 7}),
        "out": node("flow.output", {"name": "paid"}, value=("ask", "approved")),
    }
    return flow(nodes, interface={"inputs": {}, "outputs": {"paid": {"type": "json"}}})


@pytest.fixture(scope="module")
def site(serve: Serve, upstream: Upstream) -> Polyforge:
    upstream.script("assistant", Answer(SAID))
    server = serve(settings(upstream, solo("assistant")), roles=ALL)
    for slug, document in (("ask", answering()), ("pay", paying())):
        made = server.api("POST", "/flows", {"slug": slug, "document": document})
        assert made.status == 201, made.body
        assert server.api("POST", f"/flows/{slug}/commit", {"message": "first"}).status in (200, 201)
    return server


@pytest.fixture(scope="module")
def polyforge(site: Polyforge) -> Commands:
    return Commands(site, None, "flow")


def begun(polyforge: Commands, slug: str, *words: str) -> str:
    """The id of a run that a command began and did not wait for."""
    said = polyforge("run", slug, "--no-wait", *words)
    assert "polyforge flow result --wait run_" in said
    return said.split()[0]


def waiting(site: Polyforge, run: str) -> str:
    """The approval that a run waits for."""
    found = eventually(lambda: site.api("GET", f"/approvals?run={run}&state=pending").json["data"], "an approval")
    return found[0]["id"]


def test_what_came_of_a_run_that_nobody_waited_for(polyforge: Commands) -> None:
    run = begun(polyforge, "ask", "--input", "question=Why?")
    assert polyforge("result", run, "--wait") == f"{SAID}\n"
    assert polyforge.json("result", run)["outputs"] == {"answer": SAID}
    told = polyforge("events", run).splitlines()
    assert told[-1].split()[1] == "run.succeeded"
    assert any("node.finished  chat" in line for line in told)
    assert "there is no run" in polyforge.fails("result", "run_nothing")


def test_what_happens_in_a_run_is_shown_as_it_does(polyforge: Commands) -> None:
    done = polyforge.run("run", "ask", "--stream", "--input", "question=Why?")
    assert (done.returncode, done.stdout) == (0, f"{SAID}\n"), done.stderr
    assert {"run.started", "node.finished  chat", "run.succeeded"} <= set(done.stderr.splitlines())


def test_a_part_of_a_run_is_run_again(polyforge: Commands) -> None:
    run = begun(polyforge, "ask", "--input", "question=Who?")
    polyforge("result", run, "--wait")
    again = polyforge.json("rerun", run, "--changed")
    assert (again["parent_id"], again["outputs"], again["targets"]) == (run, {"answer": SAID}, [])
    assert "taken over" in polyforge("events", again["id"])
    part = polyforge.json("rerun", run, "--target", "chat")
    assert (part["targets"], part["state"]) == (["chat"], "succeeded")
    assert "there is no node 'other'" in polyforge.fails("rerun", run, "--target", "other")


def test_a_run_that_waits_is_told_of_and_ended(site: Polyforge, polyforge: Commands) -> None:
    run = begun(polyforge, "pay")
    waiting = eventually(lambda: site.api("GET", f"/approvals?run={run}&state=pending").json["data"], "an approval")
    approval = waiting[0]["id"]
    assert "it goes on: polyforge flow result --wait" in polyforge.fails("result", run)
    shown = polyforge("approvals", approval)
    assert ('{"bill": 7}' in shown, '"amount"' in shown) == (True, True), shown
    assert polyforge.json("approvals", approval)["form"] == FORM
    polyforge("cancel", run)
    assert "was cancelled" in polyforge.fails("result", run, "--wait")
    assert "nothing to cancel" in polyforge.fails("cancel", run)
