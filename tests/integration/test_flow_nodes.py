"""One flow of many types of nodes, run by the worker of a whole installation."""

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.conftest import Serve
from tests.support.behaviours import Answer
from tests.support.clients import call
from tests.support.flows import MODEL, flow, node
from tests.support.server import ALL, Polyforge
from tests.support.settings import settings, solo
from tests.support.upstream import Upstream

BRANCHING = {"policy": {"on_error": "branch"}}


@pytest.fixture(scope="module")
def site(serve: Serve, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Polyforge:
    file = tmp_path_factory.mktemp("sales") / "sales.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE sales AS SELECT 1 AS id, 'pen' AS name UNION ALL SELECT 2, 'pen'")
    upstream.script("assistant", Answer("Two pens."))
    chosen = settings(upstream, solo("assistant"))
    chosen["guardrails"] = {"mask": {"use": "pii", "action": "mask", "kinds": ["email"]}}
    chosen["flows"] = {"code": True, "connections": {"sales": {"url": f"sqlite:///{file}"}}}
    return serve(chosen, roles=ALL)


def document(url: str) -> dict[str, Any]:
    """Rows, code, an address that is refused, a text that is masked, a model, and ways to go."""
    query = {"connection": {"$ref": "connection:sales"}, "query": "SELECT id FROM sales WHERE name = :name"}
    code = {"code": "result = sum(row['id'] for row in rows)", "inputs": {"rows": "json"}, "result": "number"}
    return flow(
        {
            "what": node("flow.input", {"name": "what"}),
            "rows": node("sql.query", {**query, "inputs": {"name": "text"}}, name=("what", "value")),
            "sum": node("code.python", code, rows=("rows", "rows")),
            "way": node("control.branch", {"when": "n > 2", "inputs": {"n": "number"}}, n=("sum", "result")),
            "mask": node("guardrail.check", {"guardrail": {"$ref": "guardrail:mask"}}, text="ask jane@example.com"),
            "prompt": node("prompt.template", {"template": "{{who}}: how many?"}, who=("mask", "passed")),
            "chat": node("model.chat", {"model": MODEL, "prompt": "{{p}}"}, p=("prompt", "text")),
            "call": {**node("http.request", {"url": url}), **BRANCHING},
            "why": node(
                "data.transform", {"cel": "e.code", "inputs": {"e": "json"}, "result": "text"}, e=("call", "error")
            ),
            "found": node("flow.output", {"name": "sum"}, value=("sum", "result")),
            "said": node("flow.output", {"name": "said"}, value=("chat", "text")),
            "refused": node("flow.output", {"name": "refused"}, value=("why", "value")),
        },
        control=[{"from": ["way", "then"], "to": "chat"}],
        interface={
            "inputs": {"what": {"type": "text"}},
            "outputs": {"sum": {"type": "number"}, "said": {"type": "text"}, "refused": {"type": "text"}},
        },
    )


def test_nodes_of_many_types_make_one_flow(site: Polyforge, upstream: Upstream) -> None:
    made = site.api("POST", "/flows", {"slug": "many", "document": document(f"{upstream.url}/models")})
    assert made.status == 201, made.body
    committed = site.api("POST", "/flows/many/commit", {"message": "first"})
    assert committed.status in (200, 201), committed.body
    body = {"inputs": {"what": "pen"}, "timeout_seconds": 120}
    answer = call(site.url, "/api/v1/flows/many/run", key=site.admin_key, json=body)
    assert (answer.status, answer.json["state"]) == (200, "succeeded"), answer.body
    assert answer.json["outputs"] == {"sum": 3, "said": "Two pens.", "refused": "permission_denied"}
    asked = upstream.requests("assistant")[-1].json["messages"][-1]["content"]
    assert "jane@example.com" not in asked
    assert asked.endswith(": how many?")


def test_what_is_skipped_is_left_out(site: Polyforge) -> None:
    answer = call(site.url, "/api/v1/flows/many/run", key=site.admin_key, json={"inputs": {"what": "cup"}})
    assert (answer.status, answer.json["outputs"]) == (200, {"sum": 0, "refused": "permission_denied"}), answer.body


def test_a_connection_that_is_not_there_fails_the_run_with_its_node(site: Polyforge) -> None:
    query = {"connection": {"$ref": "connection:none"}, "query": "SELECT 1 AS a"}
    broken = flow(
        {"rows": node("sql.query", query), "n": node("flow.output", {"name": "n"}, value=("rows", "count"))},
        interface={"outputs": {"n": {"type": "number"}}},
    )
    assert site.api("POST", "/flows", {"slug": "broken", "document": broken}).status == 201
    committed = site.api("POST", "/flows/broken/commit", {"message": "first"})
    assert committed.status in (200, 201), committed.body
    answer = call(site.url, "/api/v1/flows/broken/run", key=site.admin_key, json={"inputs": {}})
    assert (answer.json["state"], answer.json["error"]["code"], answer.json["error"]["node"]) == (
        "failed", "not_found", "rows",
    ), answer.body  # fmt: skip
