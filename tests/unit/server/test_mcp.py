"""The server of tools, asked by the official client, and by clients that nobody should be."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from polyforge.dialects.mcp import Tool
from polyforge.flows.publishing.tools import FlowTools, Listener, ToolAnswer
from polyforge.kernel.errors import NotFound, PolyforgeError
from polyforge.server import mcp as server
from polyforge.server.authentication import Authentication
from polyforge.server.http import Receive, Scope, Send
from polyforge.server.mcp import Mcp
from polyforge.tenancy.callers import Caller
from tests.support.waiting import eventually_async

SITE = "https://ai.example.org"
SCHEMA = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


class Shouting:
    """Tools as `FlowTools` has them: `shout`, and many that do nothing."""

    def __init__(self) -> None:
        self.hanging = asyncio.Event()
        self.left: list[bool] = []

    async def page(self, caller: Caller, cursor: str | None) -> tuple[Sequence[Tool], str | None]:
        names = ["shout", "hang", "fail"] if cursor is None else ["last"]
        return [Tool(name, name.title(), "Says it loud.", SCHEMA, {"type": "object"}) for name in names], (
            "more" if cursor is None else None
        )

    async def find(self, caller: Caller, name: str) -> Any:
        if name not in ("shout", "hang", "fail", "break"):
            raise NotFound("there is no such tool")
        return name

    async def call(self, caller: Caller, version: Any, arguments: Mapping[str, Any], listener: Listener) -> ToolAnswer:
        if version == "break":
            raise RuntimeError("a secret of ours")
        if version == "fail":
            return ToolAnswer("word: must be a text", None, failed=True)
        if version == "hang":
            self.hanging.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.left.append(listener.left)
                raise
        listener.report(1, 2, "first")
        listener.report(2, 2, "second")
        said = str(arguments["word"]).upper()
        return ToolAnswer(said, {"loud": said}, failed=False)


class Door:
    """Who calls, as `Authentication` has it."""

    async def caller(self, scope: Scope) -> Caller:
        return Caller("k", "key", "o", "p", frozenset({"flows:run"}))


class App:
    def __init__(self) -> None:
        self.tools = Shouting()
        self.mcp = Mcp(cast("FlowTools", self.tools), cast("Authentication", Door()), SITE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.mcp.answer(scope, receive, send)
        except PolyforgeError as error:
            await send({"type": "http.response.start", "status": error.status, "headers": []})
            await send({"type": "http.response.body", "body": error.message.encode()})

    def browser(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(cast("Any", self)), base_url=SITE, timeout=20)

    async def post(self, message: object, **headers: str) -> httpx2.Response:
        async with self.browser() as browser:
            return await browser.post("/mcp", content=json.dumps(message), headers=HEADERS | headers)


@asynccontextmanager
async def connected(app: App, mode: Any) -> AsyncGenerator[Client]:
    async with (
        app.browser() as browser,
        Client(streamable_http_client(f"{SITE}/mcp", http_client=browser), mode=mode) as client,
    ):
        yield client


@pytest.mark.parametrize(("mode", "spoken"), [("legacy", "2025-11-25"), ("auto", "2026-07-28")])
async def test_the_official_client_lists_and_calls(mode: str, spoken: str) -> None:
    app, heard = App(), list[tuple[float, float | None, str | None]]()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))

    async with connected(app, mode) as client:
        assert client.protocol_version == spoken
        assert client.server_info is not None
        assert client.server_info.name == "polyforge"
        first = await client.list_tools()
        assert [tool.name for tool in first.tools] == ["shout", "hang", "fail"]
        assert first.tools[0].input_schema == SCHEMA
        rest = await client.list_tools(cursor=first.next_cursor)
        assert ([tool.name for tool in rest.tools], rest.next_cursor) == (["last"], None)
        plain = await client.call_tool("shout", {"word": "hey"})
        assert (plain.structured_content, plain.is_error) == ({"loud": "HEY"}, False)
        told = await client.call_tool("shout", {"word": "hey"}, progress_callback=on_progress)
        assert told.structured_content == {"loud": "HEY"}
        await eventually_async(lambda: heard == [(1, 2, "first"), (2, 2, "second")], "both were heard")
        failed = await client.call_tool("fail", {})
        assert (failed.is_error, failed.content[0].model_dump()["text"]) == (True, "word: must be a text")
        with pytest.raises(MCPError, match="Unknown tool: none"):
            await client.call_tool("none", {})


async def test_what_breaks_inside_says_nothing_of_itself() -> None:
    answer = await App().post({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "break"}})
    assert answer.json()["error"] == {"code": -32603, "message": "something went wrong on our side"}


async def test_messages_that_expect_no_answer_get_none() -> None:
    answer = await App().post({"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert (answer.status_code, answer.content) == (202, b"")


@pytest.mark.parametrize(
    ("params", "code"), [({}, -32602), ({"name": "shout", "arguments": [1]}, -32602), ({"name": 7}, -32602)]
)
async def test_calls_without_form_are_refused(params: dict[str, Any], code: int) -> None:
    answer = await App().post({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    assert answer.json()["error"]["code"] == code


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        (SITE, "ai.example.org", 200),
        ("http://localhost:6274", "127.0.0.1:8080", 200),
        ("https://evil.example.com", "ai.example.org", 403),
        ("http://evil.example.com", "evil.example.com", 403),
        ("http://evil.example.com", "127.0.0.1:8080", 403),
        ("http://localhost.evil.example.com", "127.0.0.1:8080", 403),
        ("null", "127.0.0.1:8080", 403),
        ("http://[", "127.0.0.1:8080", 403),
    ],
)
async def test_pages_of_other_sites_reach_nothing(origin: str, host: str, status: int) -> None:
    answer = await App().post({"jsonrpc": "2.0", "id": 1, "method": "ping"}, origin=origin, host=host)
    assert answer.status_code == status


async def test_only_json_is_read_and_only_what_is_taken_is_sent() -> None:
    app, ping = App(), {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    assert (await app.post(ping, **{"content-type": "text/plain"})).status_code == 415
    assert (await app.post(ping, accept="image/png")).status_code == 406
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    params = {"name": "shout", "arguments": {"word": "a"}, "_meta": {"progressToken": 7}}
    only_json = await app.post({**call, "params": params}, accept="application/json")
    assert only_json.headers["content-type"] == "application/json"
    assert only_json.json()["result"]["structuredContent"] == {"loud": "A"}
    both = await app.post({**call, "params": params})
    assert both.headers["content-type"] == "text/event-stream"
    assert both.text.count("event: message") == 3
    assert (await app.post({**ping, "method": "x" * server.BODY_BYTES})).status_code == 413
    async with app.browser() as browser:
        assert (await browser.get("/mcp", headers=HEADERS)).status_code == 405


ENVELOPE = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}


@pytest.mark.parametrize("newer", [False, True])
async def test_a_call_whose_client_goes_away_is_let_go_of(newer: bool) -> None:
    """In the newer revision that means that its run is to end too."""
    app, gone = App(), asyncio.Event()
    params = {"name": "hang", **({"_meta": ENVELOPE} if newer else {})}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    received = [{"type": "http.request", "body": json.dumps(message).encode(), "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        if received:
            return received.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    told = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "hang"} if newer else {}
    headers = [(name.encode(), value.encode()) for name, value in {**HEADERS, **told}.items()]
    scope = {"type": "http", "method": "POST", "path": "/mcp", "headers": headers}
    answering = asyncio.create_task(app(scope, receive, send))
    await app.tools.hanging.wait()
    gone.set()
    await answering
    assert (app.tools.left, sent) == ([newer], [])
