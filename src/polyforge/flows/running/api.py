"""Routes of runs and of approvals."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Path, Query, Response
from pydantic import AfterValidator

from polyforge.database.texts import storable
from polyforge.flows.running.approvals import Answer, ApprovalService
from polyforge.flows.running.contract import FlowVersions
from polyforge.flows.running.records import ApprovalState, RunState
from polyforge.flows.running.schemas import (
    MAX_EVENTS,
    MAX_PAGE,
    ApprovalLinkBody,
    ApprovalLinkView,
    ApprovalPage,
    ApprovalView,
    DecisionBody,
    FlowRunPage,
    FlowRunView,
    RerunBody,
    RunEventPage,
    RunResultView,
    approval_of,
    event_of,
    result_of,
    summary_of,
    view_of,
)
from polyforge.flows.running.service import RunService
from polyforge.flows.running.store import RunFilter
from polyforge.flows.running.streams import RunStreams
from polyforge.kernel.clock import utc
from polyforge.kernel.money import from_usd
from polyforge.tenancy.callers import Caller, Origin
from polyforge.tenancy.frames import StreamFrames, place_of
from polyforge.tenancy.permission import Open, Permission

LAST_SEQUENCE: Final = 2**31 - 1
_FRAMES: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"text/event-stream": {}}}}
_VALUE: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"application/json": {}}}}


Reader = Annotated[Caller, Depends(Permission("flows:read"))]
Runner = Annotated[Caller, Depends(Permission("flows:run"))]
Decider = Annotated[Caller, Depends(Permission("approvals:decide"))]
Anybody = Annotated[Origin, Depends(Open())]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Cursor = Annotated[str, Query(max_length=64), AfterValidator(storable)]
RunId = Annotated[str, Path(max_length=64), AfterValidator(storable)]
ApprovalId = Annotated[str, Path(max_length=64), AfterValidator(storable)]
Filter = Annotated[str | None, Query(max_length=64), AfterValidator(lambda value: value and storable(value))]
Token = Annotated[str, Query(max_length=8_000, description="As the link has it.")]
LastId = Annotated[
    str | None, Header(max_length=19, description="Go on after the one with this id, as browsers say it on resuming.")
]
After = Annotated[int | None, Query(ge=0, le=LAST_SEQUENCE, description="The same, for who cannot set headers.")]


def runs_router(runs: RunService, streams: RunStreams, versions: FlowVersions) -> APIRouter:
    """The routes under /api/v1/flow-runs."""
    routes = APIRouter(prefix="/api/v1/flow-runs", tags=["flow-runs"])
    _add_reading(routes, runs, streams)
    _add_changing(routes, runs, versions)
    return routes


def _add_reading(routes: APIRouter, runs: RunService, streams: RunStreams) -> None:
    @routes.get("")
    async def list_flow_runs(
        caller: Reader,
        flow: Filter = None,
        trigger: Filter = None,
        state: Annotated[list[RunState], Query(max_length=6)] = [],  # noqa: B006  # FastAPI copies it
        limit: Limit = 100,
        cursor: Cursor = "",
    ) -> FlowRunPage:
        """The project's runs of flows, newest first; of one flow or trigger, by their ids, or all."""
        which = RunFilter(flow, tuple(state), trigger)
        found, following = await runs.page(caller, limit, cursor or None, which)
        return FlowRunPage(data=[summary_of(each) for each in found], next_cursor=following)

    @routes.get("/{run_id}")
    async def get_flow_run(caller: Reader, run_id: RunId) -> FlowRunView:
        """One run."""
        return view_of(await runs.get(caller, run_id))

    @routes.get("/{run_id}/result")
    async def get_flow_run_result(caller: Reader, run_id: RunId) -> RunResultView:
        """What came of a run, however large it is."""
        run = await runs.get(caller, run_id)
        return result_of(run, await runs.outputs(caller, run))

    @routes.get("/{run_id}/history")
    async def list_flow_run_events(
        caller: Reader,
        run_id: RunId,
        limit: Annotated[int, Query(ge=1, le=MAX_EVENTS)] = 100,
        cursor: Annotated[int, Query(ge=0, le=LAST_SEQUENCE, description="Events after this one.")] = 0,
    ) -> RunEventPage:
        """What happened in a run, oldest first: each node with what it gave, cost and took."""
        found = await runs.history(caller, run_id, cursor, limit)
        following = found[-1].seq if len(found) == limit else None
        return RunEventPage(data=[event_of(each) for each in found], next_cursor=following)

    @routes.get("/{run_id}/values/{name}", response_class=Response, responses=_VALUE)
    async def get_flow_run_value(
        caller: Reader, run_id: RunId, name: Annotated[str, Path(max_length=64), AfterValidator(storable)]
    ) -> Response:
        """The outputs of a node that are too long for its event, which names them as `stored`."""
        return Response(await runs.value(caller, run_id, name), media_type="application/json")

    @routes.get("/{run_id}/events", status_code=200, response_class=StreamFrames, responses=_FRAMES)
    async def follow_flow_run(
        caller: Reader, run_id: RunId, after: After = None, last_event_id: LastId = None
    ) -> StreamFrames:
        """Follow a run as server-sent events, from its beginning or after one; `end` with its state once it is over."""
        place = place_of(after, last_event_id, LAST_SEQUENCE) or 0
        return StreamFrames(streams, await streams.subscribe(caller, run_id, place))


def _add_changing(routes: APIRouter, runs: RunService, versions: FlowVersions) -> None:
    @routes.post("/{run_id}/cancel")
    async def cancel_flow_run(caller: Runner, run_id: RunId) -> FlowRunView:
        """End a run; calls that its nodes make now are broken off."""
        return view_of(await runs.cancel(caller, run_id))

    @routes.post("/{run_id}/rerun", status_code=201)
    async def rerun_flow(caller: Runner, run_id: RunId, body: RerunBody) -> FlowRunView:
        """Run again what a finished run ran, all of it or a part, as the caller."""
        run = await runs.get(caller, run_id)
        version = None if body.version is None else await versions.resolve(caller, f"{run.flow_id}@{body.version}")
        most = None if body.max_cost_usd is None else from_usd(body.max_cost_usd)
        made = await runs.rerun(
            caller, run_id, targets=body.targets, inputs=body.inputs, version=version, max_cost=most
        )
        return view_of(made)


def approvals_router(approvals: ApprovalService, site: str) -> APIRouter:
    """The routes under /api/v1/approvals. `site` is our public address."""
    routes = APIRouter(prefix="/api/v1/approvals", tags=["approvals"])

    @routes.get("")
    async def list_approvals(
        caller: Reader,
        mine: Annotated[bool, Query(description="Only what the caller may decide.")] = False,
        state: Annotated[list[ApprovalState], Query(max_length=5)] = [],  # noqa: B006  # FastAPI copies it
        run: Filter = None,
        limit: Limit = 100,
        cursor: Cursor = "",
    ) -> ApprovalPage:
        """What runs of the project ask of people, newest first."""
        found, following = await approvals.page(
            caller, limit, cursor or None, states=tuple(state), run_id=run, mine=mine
        )
        return ApprovalPage(data=[approval_of(each) for each in found], next_cursor=following)

    @routes.get("/{approval_id}")
    async def get_approval(caller: Reader, approval_id: ApprovalId) -> ApprovalView:
        """One approval."""
        return approval_of(await approvals.get(caller, approval_id))

    @routes.post("/{approval_id}/decide")
    async def decide_approval(caller: Decider, approval_id: ApprovalId, body: DecisionBody) -> ApprovalView:
        """Approve or reject, once; for who is asked, and for administrators."""
        return approval_of(await approvals.decide(caller, approval_id, _answer_of(body)))

    @routes.post("/{approval_id}/links", status_code=201)
    async def create_approval_link(
        caller: Decider, approval_id: ApprovalId, body: ApprovalLinkBody
    ) -> ApprovalLinkView:
        """A link with which anybody decides in the caller's name, once: a page for people, an address for programs."""
        token, until = await approvals.link(caller, approval_id, body.seconds)
        url = f"{site}/api/v1/auth/approvals/{approval_id}/decide?token={token}"
        page = f"{site}/auth/approval#id={approval_id}&token={token}"
        return ApprovalLinkView(page=page, url=url, expires_at=utc(until))

    return routes


def approval_links_router(approvals: ApprovalService) -> APIRouter:
    """The routes that links lead to: nobody has signed in there."""
    routes = APIRouter(prefix="/api/v1/auth/approvals", tags=["approvals"])

    @routes.get("/{approval_id}")
    async def get_approval_by_link(origin: Anybody, approval_id: ApprovalId, token: Token) -> ApprovalView:
        """What a link is for, for as long as it can be decided."""
        del origin
        return approval_of(await approvals.shown_by_link(token, approval_id))

    @routes.post("/{approval_id}/decide")
    async def decide_by_link(
        origin: Anybody, approval_id: ApprovalId, token: Token, body: DecisionBody
    ) -> ApprovalView:
        """Approve or reject with a link, in the name of who made it."""
        del origin
        return approval_of(await approvals.decide_by_link(token, approval_id, _answer_of(body)))

    return routes


def _answer_of(body: DecisionBody) -> Answer:
    return Answer(body.decision, body.values, body.reason)
