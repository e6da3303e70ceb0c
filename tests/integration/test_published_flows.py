"""Published flows on a running installation with a worker: over HTTP, by MCP's official client, on the command line."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from tests.conftest import Serve
from tests.support.behaviours import Answer
from tests.support.clients import call
from tests.support.commands import Commands
from tests.support.flows import answering
from tests.support.published import many_fields
from tests.support.server import ALL, Polyforge
from tests.support.settings import settings, solo
from tests.support.upstream import Upstream
from tests.support.waiting import DEADLINE

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "publish-a-flow.md"
SAID = "It scatters the light."


@pytest.fixture(scope="module")
def site(serve: Serve, upstream: Upstream) -> Polyforge:
    upstream.script("assistant", Answer(SAID))
    server = serve(settings(upstream, solo("assistant")), roles=ALL)
    for slug, document in (("ask", answering() | {"description": "Answers a question."}), ("write", many_fields())):
        made = server.api("POST", "/flows", {"slug": slug, "document": document})
        assert made.status == 201, made.body
        assert server.api("POST", f"/flows/{slug}/commit", {"message": "first"}).status in (200, 201)
        pointed = server.api("PUT", f"/flows/{slug}/aliases/prod", {"version": "1"})
        assert pointed.status in (200, 201), pointed.body
        assert server.api("PUT", f"/flows/{slug}/publications/prod", {"tool": True, "page": True}).status == 200
    return server


def run(site: Polyforge, path: str, body: Any, **headers: str) -> Any:
    return call(site.url, f"/api/v1/flows/{path}/run", key=site.admin_key, json=body, headers=headers)


def test_a_flow_runs_by_name(site: Polyforge) -> None:
    answer = run(site, "ask@prod", {"inputs": {"question": "Why is the sky blue?"}, "timeout_seconds": 120})
    assert (answer.status, answer.json["state"], answer.json["outputs"]) == (200, "succeeded", {"answer": SAID}), (
        answer.body
    )
    wrong = run(site, "ask@prod", {"inputs": {"question": 7}})
    assert (wrong.status, "question" in wrong.json["detail"]) == (400, True)
    assert run(site, "ask@prod", {"inputs": {}, "nodes": {}}).status == 400
    begun = run(site, "ask", {"inputs": {"question": "x"}, "mode": "async"}, **{"idempotency-key": "once"})
    again = run(site, "ask", {"inputs": {"question": "x"}, "mode": "async"}, **{"idempotency-key": "once"})
    assert (begun.status, begun.json["id"]) == (202, again.json["id"])


def test_what_happens_is_streamed(site: Polyforge) -> None:
    answer = run(site, "ask", {"inputs": {"question": "Why?"}, "mode": "stream"})
    assert answer.status == 200, answer.body
    frames = [frame.split("\n") for frame in answer.body.decode().strip().split("\n\n") if not frame.startswith(":")]
    kinds = [line.removeprefix("event: ") for frame in frames for line in frame if line.startswith("event: ")]
    assert (kinds[0], kinds[-3:]) == ("run.started", ["run.succeeded", "end", "run"])
    assert json.loads(frames[-1][-1].removeprefix("data: "))["outputs"] == {"answer": SAID}


def test_a_key_without_the_permission_runs_nothing(site: Polyforge) -> None:
    reader = site.create_key(scopes=["flows:read"]).key
    assert call(site.url, "/api/v1/flows/ask/run", key=reader, json={}).status == 403
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    assert call(site.url, "/mcp", key=reader, json=message).status == 403
    refused = call(site.url, "/mcp", json=message)
    assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert call(site.url, "/mcp", key=reader, method="GET").status == 405


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_the_official_client_calls_flows(site: Polyforge, mode: Any) -> None:
    asyncio.run(_call_as_an_agent(site, site.create_key(scopes=["flows:run", "inference"]).key, mode))


async def _call_as_an_agent(site: Polyforge, key: str, mode: Any) -> None:
    heard: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    headers = {"authorization": f"Bearer {key}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=DEADLINE * 4) as http,
        Client(streamable_http_client(f"{site.url}/mcp", http_client=http), mode=mode) as client,
    ):
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"ask", "write"}
        assert tools["ask"].description == "Answers a question."
        assert tools["write"].input_schema["required"] == ["topic"]
        answer = await client.call_tool("ask", {"question": "Why?"}, progress_callback=on_progress)
        assert (answer.structured_content, answer.is_error) == ({"answer": SAID}, False)
        assert answer.content[0].model_dump()["text"] == SAID
        assert heard
        assert heard == sorted(set(heard))
        wrong = await client.call_tool("ask", {"question": 7})
        assert (wrong.is_error, "question" in wrong.content[0].model_dump()["text"]) == (True, True)
        with pytest.raises(MCPError, match="Unknown tool"):
            await client.call_tool("nothing", {})


def test_flows_run_on_the_command_line(site: Polyforge, tmp_path: Path) -> None:
    polyforge = Commands(site, None, "flow")
    assert polyforge("run", "ask", "--input", "question=42") == SAID + "\n"
    streamed = polyforge("run", "write", "--stream", "--input", "topic=hills", "--input", 'tags=["a"]', "--json")
    assert json.loads(streamed.splitlines()[0])["type"] == "run.started"
    whole = json.loads(streamed[streamed.index("\n{\n") :])
    assert whole["outputs"]["text"] == "On hills"
    assert "it takes question" in polyforge.fails("run", "ask", "--input", "other=1")
    assert "succeeded" in polyforge("runs", "ask")
    polyforge("approvals")
    script = tmp_path / "ask.py"
    polyforge("export", "ask@prod", "--python", "-o", str(script))
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=DEADLINE, check=True)
    assert json.loads(ran.stdout)["name"] == "Test"


def test_the_guides_program_runs(site: Polyforge) -> None:
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len(blocks) == 1
    environ = {**os.environ, "POLYFORGE_URL": site.url, "POLYFORGE_API_KEY": site.admin_key}
    command = [sys.executable, "-c", blocks[0]]
    ran = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=DEADLINE * 4, check=False)
    assert ran.returncode == 0, ran.stderr
    assert SAID in ran.stdout.splitlines()[-1]


def test_the_page_is_there_for_everybody_and_tells_nothing(site: Polyforge) -> None:
    page = call(site.url, "/flows/ask@prod", method="GET", headers={"accept": "text/html"})
    assert (page.status, b"Answers a question" in page.body) == (200, False)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert call(site.url, "/api/v1/flows/ask@prod/page", method="GET").status == 401
    assert call(site.url, "/api/v1/flows/ask@prod/page", method="GET", key=site.admin_key).json["kind"] == "chat"
