"""Flows for others: run over their own API, published as tools and pages. Runs are played; both databases."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from polyforge.database.database import Database
from polyforge.flows.publishing import service as service_module
from polyforge.flows.publishing import tools, waiting
from polyforge.flows.publishing.tools import FlowTools
from polyforge.flows.running.records import Trigger
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import Conflict, Invalid, NotFound
from polyforge.tenancy.callers import Caller
from tests.support.flow_rooms import FlowRooms, caller
from tests.support.flows import answering
from tests.support.principals import install_default
from tests.support.published import SITE, PublishedFlows, publish
from tests.support.waiting import eventually_async
from tests.unit.tenancy.samples import NOW

ME = caller()
AWAY = caller("0000000000000000000000009P")


@pytest.fixture
async def place(database: Database) -> AsyncGenerator[PublishedFlows]:
    await install_default(database, FakeClock(NOW))
    rooms = FlowRooms(database)
    await publish(rooms, "ask", answering())
    made = PublishedFlows(rooms)
    yield made
    made.runs.open.set()


async def test_a_run_by_name_answers_with_its_outputs(place: PublishedFlows) -> None:
    answer = await place.call("POST", "ask@prod/run", {"inputs": {"question": "trees"}, "max_cost_usd": 0.25})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["state"], told["outputs"], told["cost_usd"]) == ("succeeded", {"answer": "About trees."}, 1.5)
    assert answer.headers["location"] == f"/api/v1/flow-runs/{told['id']}"
    assert place.runs.started == [(Trigger(), 250_000)]
    for reference in ("ask", "ask@1", f"ask@{told['version']}", f"{told['flow_id']}@prod"):
        again = await place.call("POST", f"{reference}/run", {"inputs": {"question": "x"}})
        assert (again.status_code, again.json()["version"]) == (200, told["version"])


async def test_a_run_that_goes_on_and_one_that_failed_say_so(place: PublishedFlows) -> None:
    assert (
        await place.call("POST", "ask/run", {"inputs": {"question": "hang"}, "timeout_seconds": 0})
    ).status_code == 202
    failed = await place.call("POST", "ask/run", {"inputs": {"question": "fail"}})
    assert (failed.status_code, failed.json()["error"]["node"], failed.json()["outputs"]) == (200, "chat", None)
    assert (await place.call("POST", "ask/run", {"inputs": {"question": "hang"}, "mode": "async"})).status_code == 202


HANGING: dict[str, Any] = {"inputs": {"question": "hang"}}


async def test_a_process_that_drains_answers_who_waits(place: PublishedFlows) -> None:
    calling = asyncio.create_task(place.call("POST", "ask/run", HANGING))
    await eventually_async(lambda: place.runs.waiting == 1)
    place.waiters.drain()
    answer = await calling
    assert (answer.status_code, answer.headers["location"]) == (202, "/api/v1/flow-runs/run_0")
    assert (await place.call("POST", "ask/run", HANGING)).status_code == 202, "no other waits"


async def test_who_waits_for_runs_is_bounded(place: PublishedFlows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MOST_OF_ONE", 1)
    calling = asyncio.create_task(place.call("POST", "ask/run", HANGING))
    await eventually_async(lambda: place.runs.waiting == 1)
    assert (await place.call("POST", "ask/run", HANGING)).status_code == 202, "its run has begun"
    place.runs.open.set()
    await calling
    place.runs.open.clear()
    calling = asyncio.create_task(place.call("POST", "ask/run", HANGING))
    await eventually_async(lambda: place.runs.waiting == 1)
    place.runs.open.set()
    await calling


async def test_nobody_waits_for_who_has_hung_up(place: PublishedFlows) -> None:
    gone = asyncio.Event()
    coming = [{"type": "http.request", "body": json.dumps(HANGING).encode(), "more_body": False}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if coming:
            return coming.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    path = "/api/v1/flows/ask/run"
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    headers = [(b"content-type", b"application/json")]
    calling = asyncio.create_task(place({**scope, "headers": headers}, receive, send))
    await eventually_async(lambda: place.runs.waiting == 1)
    gone.set()
    await calling
    assert (place.runs.waiting, sent[0]["status"], place.runs.runs["run_0"].state) == (0, 202, "running")


async def test_the_same_key_is_the_same_run(place: PublishedFlows) -> None:
    body = {"inputs": {"question": "a"}}
    one, two = [await place.call("POST", "ask/run", body, **{"idempotency-key": "k1"}) for _ in range(2)]
    assert one.json()["id"] == two.json()["id"]
    assert (await place.call("POST", "ask/run", body, **{"idempotency-key": "k" * 201})).status_code == 400


async def test_the_same_key_is_the_same_run_though_the_alias_moved_or_the_flow_is_put_away(
    place: PublishedFlows,
) -> None:
    body, key = {"inputs": {"question": "a"}}, {"idempotency-key": "k1"}
    first = (await place.call("POST", "ask@prod/run", body, **key)).json()
    await place.rooms.flows.archive(ME, "ask")
    again = await place.call("POST", "ask@prod/run", body, **key)
    assert (again.status_code, again.json()["id"]) == (200, first["id"])


async def test_a_stream_tells_what_happens_and_ends_with_the_run(place: PublishedFlows) -> None:
    answer = await place.call("POST", "ask/run", {"inputs": {"question": "sea"}, "mode": "stream"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    frames = [frame.split("\n") for frame in answer.text.strip().split("\n\n")]
    assert [frame[0] for frame in frames] == ["id: 1", "id: 2", "id: 3", "event: run"]
    token = json.loads(frames[1][2].removeprefix("data: "))
    assert (token["type"], token["payload"]) == ("node.token", {"text": "About"})
    assert answer.headers["location"] == "/api/v1/flow-runs/run_0"
    assert place.streams.open == []
    place.streams.most = 0
    refused = await place.call("POST", "ask/run", {"inputs": {"question": "hang"}, "mode": "stream"})
    assert (refused.status_code, refused.json()["state"]) == (202, "running"), "it has begun, and is answered for"
    assert json.loads(frames[3][1].removeprefix("data: "))["outputs"] == {"answer": "About sea."}


@pytest.mark.parametrize("name", ["flow", "graph", "nodes", "document", "definition", "version"])
async def test_a_graph_never_runs(place: PublishedFlows, name: str) -> None:
    answer = await place.call("POST", "ask/run", {"inputs": {"question": "a"}, name: answering()})
    assert (answer.status_code, answer.json()["param"]) == (400, name)
    assert "only stored versions run" in answer.json()["detail"]
    assert place.runs.started == []


@pytest.mark.parametrize(
    "body",
    [{"inputs": []}, {"inputs": {}, "other": 1}, {"mode": "fast"}, {"timeout_seconds": 601}, {"max_cost_usd": 0}],
)
async def test_what_is_no_request_is_refused(place: PublishedFlows, body: Any) -> None:
    assert (await place.call("POST", "ask/run", body)).status_code == 400


async def test_only_versions_of_the_project_run_and_only_for_who_may(place: PublishedFlows) -> None:
    assert (await place.call("POST", "ask@draft/run", {})).status_code == 409
    assert (await place.call("POST", "none/run", {})).status_code == 404
    place.caller = AWAY
    assert (await place.call("POST", "ask/run", {})).status_code == 404
    place.caller = Caller("k", "k", ME.organization_id, ME.project_id, frozenset({"flows:read"}))
    assert (await place.call("POST", "ask/run", {})).status_code == 403


async def test_the_document_of_a_flow_is_its_own(place: PublishedFlows) -> None:
    told = (await place.call("GET", "ask/openapi.json")).json()
    assert list(told["paths"]) == ["/api/v1/flows/ask@prod/run"]
    assert told["servers"] == [{"url": SITE}]


async def test_a_script_comes_as_a_file(place: PublishedFlows) -> None:
    answer = await place.call("GET", "ask/export.py")
    assert answer.headers["content-type"].startswith("text/x-python")
    found: dict[str, Any] = {"__name__": "exported"}
    exec(answer.text, found)
    version = await place.rooms.flows.resolve(ME, "ask")
    assert found["flow"].hash() == version.version


async def test_an_alias_is_published_and_taken_back(place: PublishedFlows) -> None:
    assert (await place.call("GET", "ask@prod/page")).status_code == 404
    put = await place.call("PUT", "ask/publications/prod", {"tool": True, "page": True})
    assert (put.status_code, put.json()["tool_name"]) == (200, "ask")
    listed = (await place.call("GET", "ask/publications")).json()["data"]
    assert [(each["alias"], each["tool"], each["page"]) for each in listed] == [("prod", True, True)]
    page = (await place.call("GET", "ask@prod/page")).json()
    assert (page["kind"], page["inputs"][0]["name"], page["outputs"][0]["name"]) == ("chat", "question", "answer")
    assert (await place.call("GET", "ask@1/page")).status_code == 404, "a page is of an alias"
    assert (await place.call("PUT", "ask/publications/prod", {"tool": True})).status_code == 200
    assert (await place.call("GET", "ask@prod/page")).status_code == 404
    assert (await place.call("DELETE", "ask/publications/prod")).status_code == 204
    assert (await place.call("DELETE", "ask/publications/prod")).status_code == 404
    assert (await place.call("PUT", "ask/publications/prod", {})).status_code == 400
    assert (await place.call("PUT", "ask/publications/1", {"tool": True})).status_code == 400
    assert (await place.call("PUT", "ask/publications/none", {"tool": True})).status_code == 404


async def test_agents_find_what_is_published_and_nothing_else(
    place: PublishedFlows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "PAGE", 1)
    for alias in ("prod", "beta_1"):
        await place.rooms.aliases.point(ME, "ask", alias, "1", "")
        await place.publishing.publish(ME, "ask", alias, tool=True, page=False)
    first, cursor = await place.tools.page(ME, None)
    second, end = await place.tools.page(ME, cursor)
    assert ([tool.name for tool in (*first, *second)], end) == (["ask_beta_1", "ask"], None)
    assert first[0].input_schema["required"] == ["question"]
    assert (await place.tools.find(ME, "ask_beta_1")).alias == "beta_1"
    assert (await place.tools.page(AWAY, None)) == ([], None)
    await place.rooms.aliases.remove(ME, "ask", "beta_1", "")
    assert (await place.tools.page(ME, None)) == ([], cursor), "what points nowhere is left out"
    for name in ("ask_beta_1", "ask_prod", "ask@prod", "none", "", "ask\0"):
        with pytest.raises(NotFound):
            await place.tools.find(ME, name)
    with pytest.raises(Invalid, match="cursor"):
        await place.tools.page(ME, "nonsense")


class Heard:
    """Whoever called a tool."""

    def __init__(self, *, left: bool = False) -> None:
        self.left = left
        self.said: list[tuple[float, float | None, str]] = []
        self.going = asyncio.Event()

    def report(self, done: float, total: float | None, message: str) -> None:
        self.said.append((done, total, message))
        self.going.set()


async def test_a_call_of_a_tool_tells_how_far_it_is(place: PublishedFlows) -> None:
    await place.publishing.publish(ME, "ask", "prod", tool=True, page=False)
    version, heard = await place.tools.find(ME, "ask"), Heard()
    answer = await place.tools.call(ME, version, {"question": "a"}, heard)
    assert (answer.text, answer.structured, answer.failed) == ("About a.", {"answer": "About a."}, False)
    assert heard.said == [(1.0, 4.0, "chat")]
    refused = await place.tools.call(ME, version, {}, heard)
    assert (refused.failed, refused.text) == (True, "question: must be given, as a text")
    failed = await place.tools.call(ME, version, {"question": "fail"}, heard)
    assert (failed.failed, failed.text) == (True, "node chat: it took too long (try it again)")
    assert [trigger.kind for trigger, _ in place.runs.started] == ["mcp", "mcp"]


@pytest.mark.parametrize(("left", "state"), [(True, "cancelled"), (False, "running")])
async def test_a_run_ends_with_who_asked_only_where_they_left(place: PublishedFlows, left: bool, state: str) -> None:
    version, heard = await place.rooms.flows.resolve(ME, "ask"), Heard(left=left)
    calling = asyncio.create_task(place.tools.call(ME, version, {"question": "hang"}, heard))
    await heard.going.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert place.runs.runs["run_0"].state == state


async def test_a_call_that_takes_too_long_says_where_to_look(place: PublishedFlows) -> None:
    version = await place.rooms.flows.resolve(ME, "ask")
    answer = await FlowTools(place.publishing, place.runs, 0).call(ME, version, {"question": "hang"}, Heard())
    assert (answer.failed, "GET /api/v1/flow-runs/run_0" in answer.text) == (True, True)


async def test_a_process_that_drains_answers_its_calls(place: PublishedFlows) -> None:
    version, heard = await place.rooms.flows.resolve(ME, "ask"), Heard()
    calling = asyncio.create_task(place.tools.call(ME, version, {"question": "hang"}, heard))
    await heard.going.wait()
    place.tools.drain()
    assert "It goes on" in (await calling).text
    assert place.runs.runs["run_0"].state == "running"


async def test_calls_that_wait_are_bounded(place: PublishedFlows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "MOST_OF_ONE", 1)
    version, heard = await place.rooms.flows.resolve(ME, "ask"), Heard()
    calling = asyncio.create_task(place.tools.call(ME, version, {"question": "hang"}, heard))
    await heard.going.wait()
    refused = await place.tools.call(ME, version, {"question": "a"}, Heard())
    assert (refused.failed, refused.text[:14]) == (True, "Too many calls")
    place.runs.open.set()
    await calling
    assert not (await place.tools.call(ME, version, {"question": "a"}, Heard())).failed


async def test_publications_are_bounded_and_told(place: PublishedFlows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "MAX_PUBLICATIONS", 1)
    await place.publishing.publish(ME, "ask", "prod", tool=True, page=False)
    await place.rooms.aliases.point(ME, "ask", "beta", "1", "")
    with pytest.raises(Conflict, match="1 aliases"):
        await place.publishing.publish(ME, "ask", "beta", tool=True, page=False)
    await place.publishing.publish(ME, "ask", "prod", tool=False, page=True)
    await place.rooms.flows.archive(ME, "ask")
    with pytest.raises(NotFound):
        await place.publishing.page(ME, "ask@prod")
