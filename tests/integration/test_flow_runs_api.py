"""Runs and approvals over HTTP, on an installation with a worker."""

from typing import Any

import pytest

from tests.conftest import Serve
from tests.support.behaviours import Answer
from tests.support.clients import Response, call
from tests.support.flows import answering, flow, link, node
from tests.support.server import ALL, Polyforge
from tests.support.settings import settings, solo
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

SAID = "It scatters the light."
FORM = {"type": "object", "properties": {"words": {"type": "string"}}, "required": ["words"]}


def deciding() -> dict[str, Any]:
    """Somebody looks at what a model wrote, twice: once for each item."""
    ask = {"question": "Say {{what}}?", "assignees": ["role:editor"], "expires_in_s": 3_600, "form": FORM}
    pick = {"inputs": {"a": "any"}, "cel": "a.words", "result": "text"}
    nodes = {
        "ask": node("human.approval", ask, what=("loop", "item")),
        "words": node("data.transform", pick, a=link("ask", "approved")),
        "out": node("flow.output", {"name": "all"}, value=("loop", "words")),
    }
    loop = {"kind": "foreach", "nodes": ["ask", "words"], "over": ["this", "that"], "parallel": 2,
            "max_iterations": 5, "collect": {"words": ["words", "value"]}}  # fmt: skip
    interface = {"inputs": {}, "outputs": {"all": {"type": "list<text>"}}}
    return flow(nodes, groups={"loop": loop}, interface=interface)


@pytest.fixture(scope="module")
def site(serve: Serve, upstream: Upstream) -> Polyforge:
    upstream.script("assistant", Answer(SAID))
    server = serve(settings(upstream, solo("assistant")), roles=ALL)
    for slug, document in (("ask", answering()), ("decide", deciding())):
        made = server.api("POST", "/flows", {"slug": slug, "document": document})
        assert made.status == 201, made.body
        assert server.api("POST", f"/flows/{slug}/commit", {"message": "first"}).status in (200, 201)
    return server


def begun(site: Polyforge, slug: str, **inputs: Any) -> str:
    answer = site.api("POST", f"/flows/{slug}/run", {"inputs": inputs, "mode": "async"})
    assert answer.status == 202, answer.body
    return answer.json["id"]


def get(site: Polyforge, path: str) -> Any:
    answer = site.api("GET", path)
    assert answer.status == 200, answer.body
    return answer.json


def over(site: Polyforge, run: str) -> Any:
    """A run once it is over."""
    return eventually(lambda: found if (found := get(site, f"/flow-runs/{run}"))["ended_at"] else None, "its end")


def frames(answer: Response) -> list[dict[str, str]]:
    """Server-sent events by their fields."""
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"].startswith("text/event-stream"), answer.body
    blocks = [block for block in answer.body.decode().split("\n\n") if block and not block.startswith((":", "retry"))]
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]


def test_a_run_is_followed_to_its_result(site: Polyforge) -> None:
    run = begun(site, "ask", question="Why is the sky blue?")
    whole = frames(site.call(f"/api/v1/flow-runs/{run}/events", method="GET", key=site.admin_key))
    kinds = [frame["event"] for frame in whole]
    assert (kinds[0], kinds[-2:]) == ("run.started", ["run.succeeded", "end"])
    done = over(site, run)
    assert (done["state"], done["flow_name"], done["inputs"]) == (
        "succeeded",
        "ask",
        {"question": "Why is the sky blue?"},
    )
    assert get(site, f"/flow-runs/{run}/result") == {"state": "succeeded", "outputs": {"answer": SAID}, "error": None}
    resumed = frames(
        site.call(
            f"/api/v1/flow-runs/{run}/events",
            method="GET",
            key=site.admin_key,
            headers={"last-event-id": whole[2]["id"]},
        )
    )
    assert [frame.get("id") for frame in resumed] == [frame.get("id") for frame in whole[3:]]
    history = get(site, f"/flow-runs/{run}/history")["data"]
    (chat,) = [each for each in history if each["node"] == "chat" and each["type"] == "node.finished"]
    assert chat["payload"]["outputs"]["text"] == SAID
    listed = get(site, f"/flow-runs?flow={done['flow_id']}&state=succeeded")["data"]
    assert run in [each["id"] for each in listed]
    assert site.api("POST", f"/flow-runs/{run}/cancel").status == 409
    wrong = site.call(
        f"/api/v1/flow-runs/{run}/events", method="GET", key=site.admin_key, headers={"last-event-id": "x"}
    )
    assert wrong.status == 400


def test_a_part_is_run_again(site: Polyforge) -> None:
    run = begun(site, "ask", question="How?")
    over(site, run)
    again = site.api("POST", f"/flow-runs/{run}/rerun", {"targets": ["answer"]})
    assert again.status == 201, again.body
    done = over(site, again.json["id"])
    assert (done["state"], done["parent_id"], done["cost_usd"]) == ("succeeded", run, 0)
    history = get(site, f"/flow-runs/{done['id']}/history")["data"]
    assert {each["node"] for each in history if each["payload"].get("cached")} == {"prompt", "chat"}
    assert site.api("POST", f"/flow-runs/{run}/rerun", {"targets": ["nobody"]}).status == 400


def test_people_decide_by_name_and_by_link(site: Polyforge) -> None:
    run = begun(site, "decide")
    pending = f"/approvals?run={run}&state=pending"
    waiting = eventually(lambda: found if len(found := get(site, pending)["data"]) == 2 else [], "two approvals")
    assert sorted(each["question"] for each in waiting) == ["Say that?", "Say this?"]
    by_question = {each["question"]: each["id"] for each in waiting}
    one, other = by_question["Say this?"], by_question["Say that?"]
    stranger = site.create_key(scopes=["flows:read", "approvals:decide"]).key
    said = {"decision": "approve", "values": {"words": "yes"}}
    assert call(site.url, f"/api/v1/approvals/{one}/decide", key=stranger, json=said).status == 403
    wrong = site.api("POST", f"/approvals/{one}/decide", {"decision": "approve", "values": {}})
    assert (wrong.status, wrong.json["param"]) == (400, "values")
    decided = site.api("POST", f"/approvals/{one}/decide", said)
    assert (decided.status, decided.json["state"]) == (200, "approved"), decided.body
    linked = site.api("POST", f"/approvals/{other}/links", {"seconds": 600})
    assert linked.status == 201, linked.body
    path = linked.json["url"].partition("/api/")[2]
    page, _, secret = linked.json["page"].partition("#")
    assert (page.endswith("/auth/approval"), secret) == (True, f"id={other}&token={path.partition('token=')[2]}")
    shown = call(site.url, f"/api/{path.replace('/decide', '')}", method="GET")
    assert (shown.status, shown.json["question"], shown.json["form"]) == (200, "Say that?", FORM), shown.body
    assert call(site.url, f"/api/{path.replace('/decide', '')}x", method="GET").status == 401
    said = {"decision": "approve", "values": {"words": "no"}}
    assert call(site.url, f"/api/{path}x", json=said).status == 401
    assert call(site.url, f"/api/{path}", json=said).status == 200
    assert call(site.url, f"/api/{path}", json=said).status == 409
    assert call(site.url, f"/api/{path.replace('/decide', '')}", method="GET").status == 409
    assert over(site, run)["state"] == "succeeded"
    assert get(site, f"/flow-runs/{run}/result")["outputs"] == {"all": ["yes", "no"]}
    told = get(site, f"/approvals/{other}")
    assert (told["state"], told["decided_via"], told["answers"]) == ("approved", "link", {"words": "no"})


def test_a_waiting_run_is_cancelled(site: Polyforge) -> None:
    run = begun(site, "decide")
    eventually(lambda: get(site, f"/flow-runs/{run}")["state"] == "waiting", "that it waits")
    assert site.api("POST", f"/flow-runs/{run}/cancel").status == 200
    assert over(site, run)["state"] == "cancelled"
    assert {each["state"] for each in get(site, f"/approvals?run={run}")["data"]} == {"withdrawn"}


def test_runs_are_counted(site: Polyforge) -> None:
    over(site, begun(site, "ask", question="Why?"))
    page = eventually(
        lambda: (
            text if "polyforge_flow_runs_total" in (text := site.call("/metrics", method="GET").body.decode()) else ""
        ),
        "metrics",
    )
    assert 'polyforge_flow_runs_total{outcome="succeeded"}' in page
    assert 'polyforge_flow_nodes_total{type="model.chat"}' in page
    assert 'polyforge_flow_node_seconds_total{type="model.chat"}' in page
