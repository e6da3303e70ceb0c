"""Flows as tools that agents call: listed with their schemas, run as the caller, told how far they are."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from polyforge.dialects.mcp import Tool
from polyforge.flows.document import Json
from polyforge.flows.keeping.records import FlowVersion
from polyforge.flows.publishing.json_schemas import inputs_schema, outputs_schema
from polyforge.flows.publishing.records import Published, tool_name
from polyforge.flows.publishing.running import Runs
from polyforge.flows.publishing.service import PublishingService
from polyforge.flows.running.records import FlowRun, RunEvent, Trigger
from polyforge.kernel.errors import PolyforgeError
from polyforge.tenancy.callers import Caller

PAGE: Final = 50
CALL_SECONDS: Final = 600.0
"""How long a call waits for its run."""
CANCEL_SECONDS: Final = 10.0
_OVER: Final = frozenset({"node.finished", "node.failed", "node.skipped"})
MOST_CALLS: Final = 200
MOST_OF_ONE: Final = 20
"""Calls of one key that wait in a process at once."""


class Listener(Protocol):
    """Whoever asked for a call."""

    @property
    def left(self) -> bool:
        """Whether they have gone, and want the call ended with that."""
        ...

    def report(self, done: float, total: float | None, message: str) -> None:
        """How much is done, of how much where that is known, and a word on it; never waited for."""
        ...


class ToolAnswer(msgspec.Struct, frozen=True):
    """What came of a call: text for the model, and the outputs by name."""

    text: str
    structured: Mapping[str, Any] | None
    failed: bool


class FlowTools:
    """The flows of a project that agents may call."""

    def __init__(self, publishing: PublishingService, runs: Runs, seconds: float = CALL_SECONDS) -> None:
        self._publishing = publishing
        self._runs = runs
        self._seconds = seconds
        self._limits = set[asyncio.Timeout]()
        self._callers = Counter[str]()

    def drain(self) -> None:
        """Let every call answer now that its run goes on, as it does without this process."""
        self._seconds = 0.0
        for limit in self._limits:
            limit.reschedule(asyncio.get_running_loop().time())

    async def page(self, caller: Caller, cursor: str | None) -> tuple[Sequence[Tool], str | None]:
        """Some tools, and the cursor of the next page."""
        found, following = await self._publishing.tools(caller, PAGE, cursor)
        return [_tool_of(each) for each in found], following

    async def find(self, caller: Caller, name: str) -> FlowVersion:
        """What a tool runs now; NotFound where there is no such tool."""
        return await self._publishing.tool(caller, name)

    async def call(
        self, caller: Caller, version: FlowVersion, arguments: Mapping[str, Json], listener: Listener
    ) -> ToolAnswer:
        """What comes of a run. Cancelled while its listener has left, it ends the run; else that goes on by itself."""
        if self._callers.total() >= MOST_CALLS or self._callers[caller.key_id] >= MOST_OF_ONE:
            return ToolAnswer("Too many calls wait for their runs; wait for some of them.", None, failed=True)
        self._callers[caller.key_id] += 1
        try:
            run = await self._runs.start(caller, version, arguments, trigger=Trigger("mcp"))
            return await self._wait(caller, version, run, listener)
        except PolyforgeError as error:
            return ToolAnswer(error.message, None, failed=True)
        finally:
            self._callers[caller.key_id] -= 1
            self._callers += Counter()

    async def _wait(self, caller: Caller, version: FlowVersion, run: FlowRun, listener: Listener) -> ToolAnswer:
        try:
            async with asyncio.timeout(self._seconds) as limit:
                self._limits.add(limit)
                try:
                    await self._follow(caller, version, run, listener)
                finally:
                    self._limits.discard(limit)
        except TimeoutError:
            text = f"The run {run.id} is not over yet. It goes on; see GET /api/v1/flow-runs/{run.id}."
            return ToolAnswer(text, None, failed=True)
        except asyncio.CancelledError:
            if listener.left:
                await self._cancel(caller, run)
            raise
        return await self._answer(caller, version, run.id)

    async def _follow(self, caller: Caller, version: FlowVersion, run: FlowRun, listener: Listener) -> None:
        done, nodes = 0, version.document.nodes
        total = None if version.document.groups else float(len(nodes))
        async for event in self._runs.events(caller, run.id, 0):
            if event.type in _OVER:
                done += 1
                listener.report(float(done), total, _said(event, version))

    async def _cancel(self, caller: Caller, run: FlowRun) -> None:
        """End a run that nobody waits for; it may be over by now."""
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                await self._runs.cancel(caller, run.id)
        except (PolyforgeError, TimeoutError):
            return

    async def _answer(self, caller: Caller, version: FlowVersion, run_id: str) -> ToolAnswer:
        run = await self._runs.get(caller, run_id)
        if run.state != "succeeded":
            return ToolAnswer(failure_of(run), None, failed=True)
        outputs = dict(await self._runs.outputs(caller, run) or {})
        return ToolAnswer(_text_of(version, outputs), outputs, failed=False)


def failure_of(run: FlowRun) -> str:
    """Why a run came to nothing, and what to do."""
    if run.error is None:
        return f"The run {run.id} was cancelled." if run.state == "cancelled" else f"The run {run.id} is {run.state}."
    where = f"node {run.error.node}: " if run.error.node else ""
    hint = f" ({run.error.hint})" if run.error.hint else ""
    return f"{where}{run.error.message}{hint}"


def _tool_of(published: Published) -> Tool:
    version, document = published.version, published.version.document
    return Tool(
        name=tool_name(version.flow_name, published.publication.alias),
        title=document.name,
        description=document.description or document.name,
        input_schema=inputs_schema(document.interface),
        output_schema=outputs_schema(document.interface),
    )


def _said(event: RunEvent, version: FlowVersion) -> str:
    node = version.document.nodes.get(event.node)
    return (node.title if node is not None and node.title else event.node)[:200]


def _text_of(version: FlowVersion, outputs: Mapping[str, Json]) -> str:
    """One output that is text as it is; else everything as JSON."""
    if len(version.document.interface.outputs) == 1 and len(outputs) == 1:
        only = next(iter(outputs.values()))
        if isinstance(only, str):
            return only
    return msgspec.json.encode(outputs).decode()
