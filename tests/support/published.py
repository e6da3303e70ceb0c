"""Flows that are published, with runs that are played: the routes of a project for tests of what stands on them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, Final

import httpx
import msgspec

from polyforge.flows.document import Json
from polyforge.flows.keeping.records import FlowVersion
from polyforge.flows.publishing import api
from polyforge.flows.publishing.service import PublishingService
from polyforge.flows.publishing.tools import FlowTools
from polyforge.flows.publishing.waiting import RunWaiters
from polyforge.flows.running.records import FlowRun, RunError, RunEvent, Trigger
from polyforge.flows.running.streams import frame_of
from polyforge.kernel.errors import Invalid, Unavailable
from polyforge.server.management import build_management
from polyforge.tenancy.callers import Caller
from tests.support.flow_rooms import FlowRooms, caller
from tests.support.flows import flow, loaded, node
from tests.unit.tenancy.samples import NOW

SITE: Final = "https://ai.example.org"
_USUAL: Final = Trigger()


class Played:
    """Runs of memory: each answers at once, but for questions that say otherwise."""

    def __init__(self) -> None:
        self.runs: dict[str, FlowRun] = {}
        self.keys: dict[str, str] = {}
        self.started: list[tuple[Trigger, int | None]] = []
        self.open = asyncio.Event()
        self.waiting = 0
        self.failing = {"fail"}

    async def start(
        self,
        caller: Caller,
        version: FlowVersion,
        inputs: Mapping[str, Json],
        *,
        trigger: Trigger = _USUAL,
        idempotency_key: str | None = None,
        max_cost: int | None = None,
        reference: str | None = None,
    ) -> FlowRun:
        if "question" in version.document.interface.inputs and not isinstance(inputs.get("question"), str):
            raise Invalid("question: must be given, as a text", param="question")
        if idempotency_key is not None and idempotency_key in self.keys:
            return self.runs[self.keys[idempotency_key]]
        self.started.append((trigger, max_cost))
        question = inputs.get("question") or inputs.get("topic")
        state: Any = "running" if question == "hang" else "failed" if question in self.failing else "succeeded"
        error = RunError("timeout", "it took too long", node="chat", hint="try it again") if state == "failed" else None
        outputs: dict[str, Any] = {"answer": f"About {question}."}
        if "question" not in inputs:
            outputs = {"text": f"On {question}", "given": dict(inputs)}
        run = FlowRun(
            id=f"run_{len(self.runs)}", organization_id=caller.organization_id, project_id=caller.project_id,
            flow_id=version.flow_id, flow_name=version.flow_name, version=version.version, plan="", pinned={},
            state=state, inputs=dict(inputs), outputs=outputs if state == "succeeded" else None, error=error,
            cost_micros=1_500_000,
            max_cost_micros=max_cost, trigger=trigger, asked_by_id="k", asked_by_name="key", user_id=None, job_id="j",
            parent_id=None, targets=None, last_seq=3, created_at=NOW, started_at=NOW, ended_at=NOW,
        )  # fmt: skip
        self.runs[run.id] = run
        if idempotency_key is not None:
            self.keys[idempotency_key] = run.id
        return run

    async def begun_before(
        self,
        caller: Caller,
        reference: str,
        inputs: Mapping[str, Json],
        *,
        idempotency_key: str | None,
        max_cost: int | None = None,
    ) -> FlowRun | None:
        found = self.keys.get(idempotency_key or "")
        return None if found is None else self.runs[found]

    async def get(self, caller: Caller, run_id: str) -> FlowRun:
        return self.runs[run_id]

    async def wait(self, caller: Caller, run_id: str, seconds: float) -> FlowRun:
        if self.runs[run_id].state == "running" and seconds > 0:
            self.waiting += 1
            try:
                await self.open.wait()
            finally:
                self.waiting -= 1
        return self.runs[run_id]

    async def cancel(self, caller: Caller, run_id: str) -> FlowRun:
        run = self.runs[run_id]
        self.runs[run_id] = changed = msgspec.structs.replace(run, state="cancelled")
        return changed

    async def events(self, caller: Caller, run_id: str, after: int) -> AsyncIterator[RunEvent]:
        for seq, kind in enumerate(("node.started", "node.token", "node.finished"), 1):
            yield RunEvent(seq, NOW, kind, "chat", "", {"text": "About"} if kind == "node.token" else {})  # pyright: ignore[reportArgumentType]
        if self.runs[run_id].state == "running":
            await self.open.wait()

    async def outputs(self, caller: Caller, run: FlowRun) -> Mapping[str, Json] | None:
        assert run.outputs is None or isinstance(run.outputs, dict)
        return run.outputs


class PlayedStreams:
    """Streams of such runs."""

    def __init__(self, runs: Played) -> None:
        self._runs = runs
        self.most = 10
        self.open: list[Any] = []

    async def subscribe(self, caller: Caller, run_id: str, after: int) -> "PlayedStream":
        if len(self.open) >= self.most:
            raise Unavailable("too many")
        self.open.append(stream := PlayedStream(self._runs, caller, run_id))
        return stream

    def release(self, stream: Any) -> None:
        self.open.remove(stream)


class PlayedStream:
    """One of them."""

    def __init__(self, runs: Played, caller: Caller, run_id: str) -> None:
        self.ended = False
        self._runs = runs
        self._caller = caller
        self._run_id = run_id

    async def frames(self) -> AsyncGenerator[bytes]:
        async for event in self._runs.events(self._caller, self._run_id, 0):
            yield frame_of(event)


class PublishedFlows:
    """The routes over the rooms of one project."""

    def __init__(self, rooms: FlowRooms) -> None:
        self.rooms = rooms
        self.runs = Played()
        self.streams = PlayedStreams(self.runs)
        self.publishing = PublishingService(rooms.tools, rooms.flows)
        self.tools = FlowTools(self.publishing, self.runs)
        self.caller = caller()
        self.waiters = RunWaiters(self.runs)
        routes = api.router(rooms.flows, self.publishing, self.runs, self.streams, self.waiters, SITE)
        self.app = build_management([routes])

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope["state"] = {"caller": self.caller, "request_id": "r"}
        await self.app(scope, receive, send)

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        transport = httpx.ASGITransport(self)  # pyright: ignore[reportArgumentType]
        async with httpx.AsyncClient(transport=transport, base_url=SITE) as client:
            return await client.request(method, f"/api/v1/flows/{path}", json=body, headers=headers)


def many_fields() -> dict[str, Any]:
    """A flow that takes something of every kind that a form knows."""
    nodes = {
        "topic": node("flow.input", {"name": "topic"}),
        "say": node("prompt.template", {"template": "On {{t}}"}, t=("topic", "value")),
        "text": node("flow.output", {"name": "text"}, value=("say", "text")),
        "given": node("flow.output", {"name": "given"}, value={"a": 1}),
    }
    inputs = {
        "topic": {"type": "text", "title": "Topic", "description": "What the text is about."},
        "words": {"type": "number", "title": "How many words", "default": 100},
        "formal": {"type": "bool", "title": "Write formally", "required": False},
        "tags": {"type": "list<text>", "title": "Tags", "required": False},
    }
    outputs = {"text": {"type": "text", "title": "Text"}, "given": {"type": "json", "title": "What was given"}}
    return flow(nodes, interface={"inputs": inputs, "outputs": outputs}) | {
        "name": "Write about a topic",
        "description": "Writes a short text.",
    }


async def publish(rooms: FlowRooms, slug: str, document: dict[str, Any]) -> None:
    """Keep a flow, with a version that `prod` points at."""
    await rooms.flows.create(caller(), document=loaded(document), slug=slug)
    await rooms.drafts.commit(caller(), slug, "first", None)
    await rooms.aliases.point(caller(), slug, "prod", "1", "")
