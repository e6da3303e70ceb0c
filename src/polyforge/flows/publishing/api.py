"""Routes of flows that others use: run one, see what it takes, publish it, take it away as a script."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel
from starlette.types import Receive

from polyforge.database.texts import storable
from polyforge.flows.keeping.records import FlowVersion
from polyforge.flows.keeping.service import FlowService
from polyforge.flows.publishing.openapi import openapi_of
from polyforge.flows.publishing.running import Runs, Stream, Streams
from polyforge.flows.publishing.schemas import (
    MOST_SECONDS,
    USUAL_SECONDS,
    FlowPageView,
    PublicationBody,
    PublicationPage,
    PublicationView,
    PublishedRunView,
    RunBody,
    page_view,
    publication_view,
    run_view,
)
from polyforge.flows.publishing.scripts import to_python
from polyforge.flows.publishing.service import PublishingService
from polyforge.flows.publishing.waiting import RunWaiters
from polyforge.flows.running.records import FlowRun
from polyforge.kernel.errors import Unavailable
from polyforge.kernel.money import from_usd
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.frames import StreamFrames
from polyforge.tenancy.permission import Permission

Reader = Annotated[Caller, Depends(Permission("flows:read"))]
Editor = Annotated[Caller, Depends(Permission("flows:write"))]
Runner = Annotated[Caller, Depends(Permission("flows:run"))]
Reference = Annotated[
    str, Path(max_length=140, description="`FLOW`, `FLOW@ALIAS` or `FLOW@VERSION`; FLOW is an id or a short name.")
]
FlowName = Annotated[str, Path(max_length=64, description="Its id or its short name.")]
AliasName = Annotated[str, Path(max_length=64), AfterValidator(storable)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        pattern=r"^[\x20-\x7e]+$",
        description="Whoever sends the same again under it is given the run that there is.",
    ),
]
_STREAMED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "model": PublishedRunView,
        "description": "The run is over; with `stream`, what happens in it, and the run as the last event.",
        "content": {"text/event-stream": {}},
    },
    202: {
        "model": PublishedRunView,
        "description": "The run goes on, also where there are too many streams; see `Location`.",
    },
}
_SCRIPT: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"text/x-python": {}}}}
_DOCUMENT: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": {"type": "object"}}}}
}


def router(
    flows: FlowService, publishing: PublishingService, runs: Runs, streams: Streams, waiters: RunWaiters, site: str
) -> APIRouter:
    """The routes under /api/v1/flows for what is done with versions. `site` is our public address."""
    routes = APIRouter(prefix="/api/v1/flows", tags=["flows"])
    _add_running(routes, flows, runs, streams, waiters)
    _add_describing(routes, flows, publishing, site)
    _add_publishing(routes, flows, publishing)
    return routes


def _add_running(routes: APIRouter, flows: FlowService, runs: Runs, streams: Streams, waiters: RunWaiters) -> None:
    @routes.post("/{reference}/run", response_model=None, responses=_STREAMED)
    async def run_flow(
        request: Request, caller: Runner, reference: Reference, body: RunBody, idempotency_key: IdempotencyKey = None
    ) -> Response:
        """Run a stored version of a flow as the caller, whose limits and budgets apply."""
        run = await _begun(caller, flows, runs, reference, body, idempotency_key)
        if body.mode == "stream" and (stream := await _stream(caller, streams, run)) is not None:
            headers = {"location": f"/api/v1/flow-runs/{run.id}"}
            told = _with_end(stream, partial(_ended, caller, runs, run))
            return StreamFrames(streams, stream, content=told, headers=headers)
        if body.mode == "sync":
            run = await waiters.wait(caller, run, body.timeout_seconds, partial(_left, request.receive))
        view = await _told(caller, runs, run)
        headers = {"location": f"/api/v1/flow-runs/{run.id}"}
        return JSONResponse(view.model_dump(mode="json"), 200 if run.finished else 202, headers)


def _add_describing(routes: APIRouter, flows: FlowService, publishing: PublishingService, site: str) -> None:
    @routes.get("/{reference}/openapi.json", response_model=None, responses=_DOCUMENT)
    async def describe_flow(caller: Reader, reference: Reference) -> dict[str, Any]:
        """The API of one flow, as an OpenAPI document of its own."""
        version = await flows.resolve(caller, reference)
        return openapi_of(version, _named(version), site, USUAL_SECONDS, MOST_SECONDS)

    @routes.get("/{reference}/export.py", response_class=Response, responses=_SCRIPT)
    async def export_flow_as_script(caller: Reader, reference: Reference) -> Response:
        """A version as a Python script that builds it again: its hash is the version's id."""
        version = await flows.resolve(caller, reference)
        headers = {"content-disposition": f'attachment; filename="{version.flow_name}.py"'}
        return Response(to_python(version.document), media_type="text/x-python", headers=headers)

    @routes.get("/{reference}/page")
    async def get_flow_page(caller: Runner, reference: Reference) -> FlowPageView:
        """What the page of a published alias asks and shows."""
        return page_view(await publishing.page(caller, reference))


def _add_publishing(routes: APIRouter, flows: FlowService, publishing: PublishingService) -> None:
    @routes.get("/{flow}/publications")
    async def list_flow_publications(caller: Reader, flow: FlowName) -> PublicationPage:
        """What is published of a flow."""
        shown, _ = await flows.get(caller, flow)
        found = await publishing.of_flow(caller, shown.flow.id)
        return PublicationPage(data=[publication_view(each, shown.flow.slug) for each in found], next_cursor=None)

    @routes.put("/{flow}/publications/{alias}")
    async def publish_flow(caller: Editor, flow: FlowName, alias: AliasName, body: PublicationBody) -> PublicationView:
        """Publish an alias as a tool for agents, as a page for people, or both; whoever uses it needs a key."""
        published = await publishing.publish(caller, flow, alias, tool=body.tool, page=body.page)
        return publication_view(published.publication, published.version.flow_name)

    @routes.delete("/{flow}/publications/{alias}", status_code=204)
    async def withdraw_flow(caller: Editor, flow: FlowName, alias: AliasName) -> Response:
        """Publish an alias no more; runs that have begun go on."""
        await publishing.withdraw(caller, flow, alias)
        return Response(status_code=204)


def _named(version: FlowVersion) -> str:
    return f"{version.flow_name}@{version.alias or version.version}"


async def _begun(
    caller: Caller, flows: FlowService, runs: Runs, reference: str, body: RunBody, key: str | None
) -> FlowRun:
    """The run that the key began before, else a new one."""
    most = None if body.max_cost_usd is None else from_usd(body.max_cost_usd)
    # First, since the alias may have moved and the flow may be put away by now.
    run = await runs.begun_before(caller, reference, body.inputs, idempotency_key=key, max_cost=most)
    if run is not None:
        return run
    version = await flows.resolve(caller, reference)
    return await runs.start(caller, version, body.inputs, idempotency_key=key, max_cost=most, reference=reference)


async def _left(receive: Receive) -> None:
    """Return once the caller has hung up."""
    while (await receive())["type"] != "http.disconnect":
        continue


async def _stream(caller: Caller, streams: Streams, run: FlowRun) -> Stream | None:
    """A stream of a run; None where there are too many. The run has begun, and is answered for without one."""
    try:
        return await streams.subscribe(caller, run.id, 0)
    except Unavailable:
        return None


async def _ended(caller: Caller, runs: Runs, run: FlowRun) -> PublishedRunView:
    return await _told(caller, runs, await runs.get(caller, run.id))


async def _with_end(stream: Stream, end: Callable[[], Awaitable[BaseModel]]) -> AsyncGenerator[bytes]:
    """A stream; unless it is ended before, the last event, `run`, says what came of the run."""
    async for frame in stream.frames():
        yield frame
    if not stream.ended:
        yield b"event: run\ndata: " + (await end()).model_dump_json().encode() + b"\n\n"


async def _told(caller: Caller, runs: Runs, run: FlowRun) -> PublishedRunView:
    return run_view(run, await runs.outputs(caller, run) if run.state == "succeeded" else None)
