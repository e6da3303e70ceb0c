"""Runs of flows as the rest of the house sees them, what happens in them, and what they ask of people."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from polyforge.flows.document import Json
from polyforge.kernel.errors import PolyforgeError
from polyforge.kernel.money import Micros
from polyforge.tenancy.callers import Caller

KIND: Final = "flow.run"
QUEUE: Final = "flows"
RUN_PREFIX: Final = "run_"
APPROVAL_PREFIX: Final = "appr_"
RunState = Literal["queued", "running", "waiting", "succeeded", "failed", "cancelled"]
UNFINISHED: Final[tuple[RunState, ...]] = ("queued", "running", "waiting")
FINISHED: Final[tuple[RunState, ...]] = ("succeeded", "failed", "cancelled")
TriggerKind = Literal["api", "console", "cli", "mcp", "form", "schedule", "webhook", "rerun"]
EventType = Literal[
    "run.started",
    "run.succeeded",
    "run.failed",
    "run.cancelled",
    "node.started",
    "node.token",
    "node.log",
    "node.waiting",
    "node.finished",
    "node.failed",
    "node.skipped",
    "item.left_out",
    "events.left_out",
]
LAST: Final[frozenset[str]] = frozenset({"run.succeeded", "run.failed", "run.cancelled"})
"""After one of these nothing more happens, unless somebody has the job tried again."""
ApprovalState = Literal["pending", "approved", "rejected", "expired", "withdrawn"]
MAX_INLINE: Final = 64 * 1024
"""Bytes of outputs that are kept with the step; what is longer lies in the object store by its hash."""


class Trigger(msgspec.Struct, frozen=True):
    """What began a run. `outputs` go to the node of the type `trigger.<kind>`, where the flow has one."""

    kind: TriggerKind = "api"
    id: str | None = None
    outputs: Mapping[str, Json] = {}


class RunError(msgspec.Struct, frozen=True):
    """Why a run, or a node of it, failed, and what to do."""

    code: str
    message: str
    node: str = ""
    path: str = ""
    hint: str = ""

    @classmethod
    def of(cls, error: PolyforgeError, node: str = "", path: str = "") -> "RunError":
        """The words of one of our own errors."""
        if isinstance(error, NodeFailed):
            return error.error
        hint = "try it again: what was done is not repeated" if error.retryable else ""
        return cls(error.code, error.message[:2_000], node, path, hint)


class NodeFailed(PolyforgeError):
    """A node failed for good, and its policy does not say what else to do."""

    status = 422

    def __init__(self, error: RunError, *, fatal: bool = False) -> None:
        where = f"node {error.node}{f' [{error.path}]' if error.path else ''}: " if error.node else ""
        super().__init__(f"{where}{error.message}")
        self.code = error.code
        self.error = error
        self.fatal = fatal
        """Whether it ends the run whatever policies say, as a spent budget does."""


class FlowRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one version of a flow."""

    id: str
    organization_id: str
    project_id: str
    flow_id: str
    flow_name: str
    version: str
    plan: str
    pinned: dict[str, dict[str, tuple[str, str]]]
    """By version, what each reference to a flow in it meant when the run was made: the flow and the version."""
    state: RunState
    inputs: dict[str, Json]
    outputs: "dict[str, Json] | StoredOutputs | None"
    error: RunError | None
    cost_micros: Micros
    max_cost_micros: Micros | None
    trigger: Trigger
    asked_by_id: str
    asked_by_name: str
    user_id: str | None
    job_id: str
    parent_id: str | None
    targets: list[str] | None
    last_seq: int
    created_at: float
    started_at: float | None
    ended_at: float | None

    @property
    def finished(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state in FINISHED


class StoredOutputs(msgspec.Struct, frozen=True, tag="stored", tag_field="$stored"):
    """Outputs that are too long for a row: the SHA-256 that they lie under."""

    sha256: str
    bytes: int


class RunEvent(msgspec.Struct, frozen=True):
    """Something that happened in a run."""

    seq: int
    at: float
    type: EventType
    node: str
    path: str
    payload: dict[str, Any]


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """What a run asks of people."""

    id: str
    run_id: str
    node: str
    path: str
    flow_id: str
    flow_name: str
    question: str
    form: dict[str, Any] | None
    shown: Json
    assignees: list[str]
    state: ApprovalState
    answers: dict[str, Json] | None
    reason: str | None
    decided_by_id: str | None
    decided_by_name: str | None
    decided_via: str | None
    decided_at: float | None
    asked_at: float
    expires_at: float


class Question(msgspec.Struct, frozen=True):
    """What a node wants to have decided."""

    node: str
    path: str
    text: str
    form: Mapping[str, Any] | None
    shown: Json
    assignees: tuple[str, ...]
    seconds: float


class Decision(msgspec.Struct, frozen=True):
    """What came of it."""

    state: ApprovalState
    answers: dict[str, Json] = {}
    reason: str = ""


class Site(msgspec.Struct, frozen=True):
    """Which run it is, and for whom."""

    run_id: str
    flow_id: str
    flow_name: str
    caller: Caller
