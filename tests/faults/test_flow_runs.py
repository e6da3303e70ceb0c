"""A flow with a branch, a loop and an approval, killed inside and after every step; on SQLite and PostgreSQL."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import msgspec
import pytest

from polyforge.database.database import Database
from polyforge.flows.running.approvals import Answer
from polyforge.flows.running.records import FlowRun
from polyforge.kernel.clock import SystemClock
from tests.support.databases import Place
from tests.support.flow_house import FlowHouse
from tests.support.flow_process import Plan
from tests.support.flows import flow, node
from tests.support.principals import install_default
from tests.unit.tenancy.samples import caller

ROOT = Path(__file__).parents[2]
ME = caller("*")
MOST_DEATHS = 120


class Effects:
    """A server that does what it is asked once for each Idempotency-Key, as payment services do."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self._known: dict[str, bytes] = {}
        self._lock = Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, key: str, path: str) -> bytes:
        with self._lock:
            self.asked[key] += 1
            if key not in self._known:
                self.done[path] += 1
                self._known[key] = msgspec.json.encode({"path": path, "number": self.done[path]})
            return self._known[key]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        effects = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = effects._answer(self.headers["idempotency-key"], self.path)
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name elsewhere
                """Say nothing."""

        return Handler


class Workers:
    """Workers in processes of their own, one after the other."""

    def __init__(self, place: Place, desk: Path) -> None:
        desk.mkdir()
        self._desk = desk
        plan = Plan(place.settings.url, str(place.data), str(desk))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.flow_process", msgspec.json.encode(plan).decode()],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._child: int | None = None
        assert self._line() == "ready"

    async def begin(self, death: str) -> int:
        """Have one that dies so; its process."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{death}\n")
        self._process.stdin.flush()
        self._child = int(await asyncio.to_thread(self._line))
        return self._child

    async def ended(self) -> int:
        """How it ended."""
        found = int(await asyncio.to_thread(self._line) or 0)
        self._child = None
        return found

    def kept(self) -> Counter[str]:
        path = self._desk / "kept"
        return Counter(path.read_text().split() if path.exists() else [])

    def close(self) -> None:
        if self._child is not None:
            os.kill(self._child, signal.SIGKILL)
        self._process.kill()
        self._process.communicate(timeout=30)

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def story(url: str) -> dict[str, Any]:
    """Twelve nodes: effects before, in and after a loop, two ways, somebody who decides, and a pause."""

    def post(path: str, **inputs: Any) -> dict[str, Any]:
        return node("http.request", {"url": f"{url}/{path}", "method": "POST"}, **inputs)

    picked = {"inputs": {"b": "json"}, "cel": "b.path", "result": "text"}
    nodes = {
        "name": node("flow.input", {"name": "name"}),
        "first": post("first", body=("name", "value")),
        "path": node("data.transform", picked, b=("first", "body")),
        "way": node(
            "control.branch", {"when": "size(value) > 3", "inputs": {"value": "text"}}, value=("path", "value")
        ),
        "long": node("prompt.template", {"template": "long {{a}}"}, a=("way", "then")),
        "short": node("prompt.template", {"template": "short {{a}}"}, a=("way", "else")),
        "both": node("control.merge", {"names": ["a", "b"], "type": "text"}, a=("long", "text"), b=("short", "text")),
        "each": post("each", body=("loop", "item")),
        "ask": node(
            "human.approval",
            {"question": "Go on with {{a}}?", "assignees": ["role:admin"], "expires_in_s": 3_600},
            a=("both", "value"),
            show=("loop", "bodies"),
        ),
        "pause": node("control.wait", {"seconds": 1}, value=("ask", "approved")),
        "last": post("last", body=("pause", "value")),
        "out": node("flow.output", {"name": "done"}, value=("last", "body")),
    }
    loop = {"kind": "foreach", "nodes": ["each"], "over": [1, 2, 3], "max_iterations": 5, "parallel": 2,
            "collect": {"bodies": ["each", "body"]}}  # fmt: skip
    interface = {"inputs": {"name": {"type": "text"}}, "outputs": {"done": {"type": "json"}}}
    control = [{"from": ["loop", "bodies"], "to": "last"}]
    assert len(nodes) == 12
    return flow(nodes, groups={"loop": loop}, control=control, interface=interface)


@pytest.fixture
def effects() -> Any:
    made = Effects()
    yield made
    made.close()


@pytest.fixture
async def house(place: Place, database: Database) -> AsyncIterator[FlowHouse]:
    await install_default(database, SystemClock())
    async with AsyncExitStack() as stack:
        yield FlowHouse(place, database, stack)


async def test_each_effect_happens_once_whatever_is_killed_when(
    house: FlowHouse, place: Place, effects: Effects, tmp_path: Path
) -> None:
    """Each worker gets one step further, and dies inside it or after it; another one takes over."""
    run = await house.runs.start(ME, await house.flow(ME, story(effects.url)), {"name": "Ann"})
    workers = Workers(place, tmp_path / "desk")
    try:
        deaths = await _until_over(house, workers, run)
    finally:
        workers.close()
    done = await house.runs.get(ME, run.id)
    assert (done.state, done.outputs) == ("succeeded", {"done": {"path": "/last", "number": 1}})
    assert effects.done == {"/first": 1, "/each": 3, "/last": 1}, "one effect each"
    assert len(effects.asked) == 5
    assert max(effects.asked.values()) > 1, "a step that was killed inside was repeated with its key"
    kept = workers.kept()
    assert set(kept.values()) == {1}, "a completed step never runs again"
    assert deaths >= len(kept), "workers died inside and after the steps"
    told = Counter((each.type, each.node, each.path) for each in await house.runs.history(ME, run.id, 0, 1_000))
    finished = {key[1:]: count for key, count in told.items() if key[0] == "node.finished"}
    assert set(finished.values()) == {1}
    assert {node for node, _ in finished} == {*story("")["nodes"], "loop"} - {"short"}
    assert told["node.skipped", "short", ""] == 1


async def _until_over(house: FlowHouse, workers: Workers, run: FlowRun) -> int:
    """Have workers die until the run is over; how many did."""
    decided = False
    for number in range(MOST_DEATHS):
        await workers.begin("inside" if number % 2 == 0 else "after")
        ended = asyncio.create_task(workers.ended())
        while not ended.done():
            found = await house.runs.get(ME, run.id)
            if found.finished:
                return number
            if found.state == "waiting" and not decided:
                decided = await _decide(house, run)
            await asyncio.wait({ended}, timeout=0.05)
        assert ended.result() == -signal.SIGKILL, "the worker died of nothing else"
    raise AssertionError(f"the run is not over after {MOST_DEATHS} deaths")


async def _decide(house: FlowHouse, run: FlowRun) -> bool:
    waiting, _ = await house.approvals.page(ME, 10, None, states=("pending",), run_id=run.id)
    for approval in waiting:
        assert approval.question == "Go on with long /first?"
        assert [each["path"] for each in approval.shown] == ["/each"] * 3
        await house.approvals.decide(ME, approval.id, Answer("approve"))
    return bool(waiting)
