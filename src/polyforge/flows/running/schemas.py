"""What the management API of runs and approvals takes and gives."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from polyforge.flows.running.records import (
    Approval,
    ApprovalState,
    EventType,
    FlowRun,
    RunEvent,
    RunState,
    TriggerKind,
)
from polyforge.kernel.clock import utc
from polyforge.kernel.money import to_usd

MAX_PAGE = 1_000
MAX_EVENTS = 200
"""Of a run at once: each has up to 64 kB of outputs."""
MAX_COST_USD = 1e6
_MAX_TARGETS = 1_000
NodeId = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MaxCost = Annotated[float, Field(gt=0, le=MAX_COST_USD)]


class RunErrorView(BaseModel):
    """Why a run failed."""

    code: str
    message: str
    node: str = Field(description="The node that failed, with the sub-flows around it; empty: the run as a whole.")
    path: str = Field(description="The rounds of the loops around it.")
    hint: str = Field(description="What to do about it.")


class RunTriggerView(BaseModel):
    """What began a run."""

    kind: TriggerKind
    id: str | None


class FlowRunSummary(BaseModel):
    """One run of a list."""

    id: str
    flow_id: str
    flow_name: str
    version: str
    state: RunState
    trigger: RunTriggerView
    asked_by: str = Field(description="The name of the key, the user or the service account that it acts for.")
    cost_usd: float = Field(description="What its nodes said that they cost, so far.")
    job_id: str
    parent_id: str | None = Field(description="The run that results were taken over from.")
    error: RunErrorView | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class FlowRunView(FlowRunSummary):
    """One run with what was asked."""

    inputs: dict[str, Any]
    max_cost_usd: float | None
    targets: list[str] | None
    sub_flows: dict[str, str] = Field(description="The versions of sub-flows by the references to them.")


class FlowRunPage(BaseModel):
    """Some runs, newest first."""

    data: list[FlowRunSummary]
    next_cursor: str | None = Field(description="Pass it as `cursor` for those before these; null: there are none.")


class RunEventView(BaseModel):
    """Something that happened in a run."""

    seq: int = Field(description="Rising, with gaps where pieces of text were taken away.")
    at: datetime
    type: EventType
    node: str
    path: str
    payload: dict[str, Any]


class RunEventPage(BaseModel):
    """Some events of a run, in order."""

    data: list[RunEventView]
    next_cursor: int | None = Field(description="Pass it as `cursor` for what comes after; null: nothing did yet.")


class RunResultView(BaseModel):
    """What came of a run."""

    state: RunState
    outputs: dict[str, Any] | None = Field(description="By name, without those that were skipped; null: not there yet.")
    error: RunErrorView | None


class RerunBody(BaseModel):
    """How a run is to be repeated."""

    model_config = ConfigDict(extra="forbid")

    targets: list[NodeId] | None = Field(
        default=None,
        max_length=_MAX_TARGETS,
        description="Only these nodes, what comes after them, and what was changed run again; the rest is taken over."
        " An empty list: only what was changed, or not done. Left out: everything.",
    )
    inputs: dict[str, Any] | None = Field(default=None, description="Left out: those of the earlier run.")
    version: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = Field(
        default=None, description="An alias or a version of the same flow; left out: that of the earlier run."
    )
    max_cost_usd: MaxCost | None = Field(default=None, description="Left out: that of the earlier run.")


class ApprovalView(BaseModel):
    """What a run asks of people."""

    id: str
    run_id: str
    node: str
    path: str
    flow_id: str
    flow_name: str
    question: str
    form: dict[str, Any] | None = Field(description="A JSON schema of what to fill in; null: nothing.")
    shown: Any = Field(description="What to look at.")
    assignees: list[str]
    state: ApprovalState
    answers: dict[str, Any] | None
    reason: str | None
    decided_by: str | None
    decided_via: Literal["api", "link"] | None
    decided_at: datetime | None
    asked_at: datetime
    expires_at: datetime


class ApprovalPage(BaseModel):
    """Some approvals, newest first."""

    data: list[ApprovalView]
    next_cursor: str | None = Field(description="Pass it as `cursor` for those before these; null: there are none.")


class DecisionBody(BaseModel):
    """What somebody says."""

    model_config = ConfigDict(extra="forbid")

    decision: Literal["approve", "reject"]
    values: dict[str, Any] = Field(default_factory=dict, description="What the form asks for.")
    reason: Annotated[str, StringConstraints(max_length=2_000)] = Field(
        default="", description="Why not; needed to reject."
    )


class ApprovalLinkBody(BaseModel):
    """How long a link is to last."""

    model_config = ConfigDict(extra="forbid")

    seconds: float = Field(default=86_400, ge=60, le=30 * 86_400)


class ApprovalLinkView(BaseModel):
    """A link with which anybody decides in the name of who made it, once."""

    page: str = Field(description="For people: a page with the question and its form.")
    url: str = Field(description="For programs: POST the decision here.")
    expires_at: datetime


def summary_of(run: FlowRun) -> FlowRunSummary:
    """A run of a list."""
    return FlowRunSummary(**_summary(run))


def view_of(run: FlowRun) -> FlowRunView:
    """A run."""
    most = run.max_cost_micros
    pinned = run.pinned.get(run.version, {})
    return FlowRunView(
        **_summary(run),
        inputs=run.inputs,
        max_cost_usd=None if most is None else to_usd(most),
        targets=run.targets,
        sub_flows={reference: version for reference, (_, version) in pinned.items()},
    )


def result_of(run: FlowRun, outputs: Mapping[str, Any] | None) -> RunResultView:
    """What came of a run."""
    return RunResultView(state=run.state, outputs=None if outputs is None else dict(outputs), error=_error_of(run))


def event_of(event: RunEvent) -> RunEventView:
    """An event."""
    return RunEventView(
        seq=event.seq, at=utc(event.at), type=event.type, node=event.node, path=event.path, payload=event.payload
    )


def approval_of(approval: Approval) -> ApprovalView:
    """An approval."""
    via: Any = approval.decided_via
    return ApprovalView(
        id=approval.id,
        run_id=approval.run_id,
        node=approval.node,
        path=approval.path,
        flow_id=approval.flow_id,
        flow_name=approval.flow_name,
        question=approval.question,
        form=approval.form,
        shown=approval.shown,
        assignees=approval.assignees,
        state=approval.state,
        answers=approval.answers,
        reason=approval.reason,
        decided_by=approval.decided_by_name,
        decided_via=via,
        decided_at=None if approval.decided_at is None else utc(approval.decided_at),
        asked_at=utc(approval.asked_at),
        expires_at=utc(approval.expires_at),
    )


def _summary(run: FlowRun) -> dict[str, Any]:
    return {
        "id": run.id,
        "flow_id": run.flow_id,
        "flow_name": run.flow_name,
        "version": run.version,
        "state": run.state,
        "trigger": RunTriggerView(kind=run.trigger.kind, id=run.trigger.id),
        "asked_by": run.asked_by_name,
        "cost_usd": to_usd(run.cost_micros),
        "job_id": run.job_id,
        "parent_id": run.parent_id,
        "error": _error_of(run),
        "created_at": utc(run.created_at),
        "started_at": None if run.started_at is None else utc(run.started_at),
        "ended_at": None if run.ended_at is None else utc(run.ended_at),
    }


def _error_of(run: FlowRun) -> RunErrorView | None:
    error = run.error
    if error is None:
        return None
    return RunErrorView(code=error.code, message=error.message, node=error.node, path=error.path, hint=error.hint)
