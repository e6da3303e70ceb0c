"""What the overview gives."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from polyforge.gateway.health import Cause
from polyforge.tenancy.limits.records import SubjectKind

State = Literal["ok", "degraded", "down"]
Kind = Literal["gateway", "model_host", "worker", "database", "journal", "cache", "export", "disk"]
Severity = Literal["critical", "warning", "info"]
Code = Literal[
    "budget_spent",
    "budget_nearly_spent",
    "deployment_cooling",
    "model_failed",
    "key_expires",
    "records_dropped",
    "component_down",
    "component_degraded",
    "no_provider",
    "disk_nearly_full",
    "console_not_built",
]
Link = Literal[
    "/keys", "/limits", "/models", "/providers", "/requests", "/settings", "/usage", "/audit", "/local-models"
]


class ComponentView(BaseModel):
    """How one part of the installation does."""

    kind: Kind
    name: str = Field(description="Tells parts of one kind apart, as in `gateway-0`.")
    state: State
    detail: str = Field(description="What there is to know of it, in words.")
    latency_ms: float | None = Field(description="How long it took to answer just now, of what was asked.")
    backlog_bytes: int | None = Field(description="Of the journal: what is not in the database yet.")
    lag_seconds: float | None = Field(description="Of the journal and of exports: how long the oldest has waited.")
    lag_events: int | None = Field(description="Of exports of the audit log: events that the sink lacks.")
    used_bytes: int | None = Field(description="Of caches and disks.")
    capacity_bytes: int | None = Field(description="Of caches and disks.")
    started_at: datetime | None = Field(description="Of processes.")
    seen_at: datetime | None = Field(default=None, description="Of workers: when they were last heard of.")


class CoolingView(BaseModel):
    """A deployment that is left alone for a while."""

    model: str = Field(description="The name that callers use.")
    provider: str
    deployment: str = Field(description="The provider's own name of the model.")
    cause: Cause
    seconds: float = Field(description="How long it is left alone still.")


class DeploymentsView(BaseModel):
    """How the deployments do of the models that the caller may use."""

    ready: int
    cooling: int
    cooling_now: list[CoolingView] = Field(description="Those that cool, at most 50.")


class MinuteView(BaseModel):
    """The calls that began in one minute."""

    at: datetime
    requests: int
    errors: int
    refused: int = Field(description="Requests that were turned away before they were calls; not among `requests`.")
    input_tokens: int
    output_tokens: int
    p50_ms: float | None = Field(description="Half of the calls took at most so long, to within 2.5 %.")
    p95_ms: float | None


class HourView(BaseModel):
    """The last hour of the project's calls."""

    since: datetime
    requests: int
    errors: int
    refused: int
    input_tokens: int
    output_tokens: int
    p50_ms: float | None
    p95_ms: float | None
    minutes: list[MinuteView] = Field(description="Sixty, the oldest first; the last one is under way.")


class DayView(BaseModel):
    """What a day's calls came to, in UTC, up to a time; the same sums as `GET /api/v1/usage` has."""

    since: datetime
    until: datetime
    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    mean_seconds: float
    cost_usd: float
    price_usd: float


class ModelToday(BaseModel):
    """What the calls of one model came to today."""

    model: str
    requests: int
    errors: int
    total_tokens: int
    price_usd: float


class TrafficView(BaseModel):
    """What the project's calls came to."""

    hour: HourView
    today: DayView
    yesterday: DayView = Field(description="Up to the same minute of the day.")
    top_models: list[ModelToday] = Field(description="The five that came to most today.")


class BudgetView(BaseModel):
    """A budget that the caller's own calls count for."""

    kind: Literal["key", "limit"] = Field(description="The key's own, or a limit on money.")
    id: str = Field(description="Of the key or of the limit.")
    name: str
    subject: SubjectKind
    subject_id: str
    window: str
    amount_usd: float
    used_usd: float
    left_usd: float
    percent: float
    hard: bool = Field(description="Whether calls stop at it; else it only tells.")
    starts_again: datetime | None


class AttentionView(BaseModel):
    """Something that somebody should look at."""

    severity: Severity
    code: Code
    subject: str = Field(description="What it is about, so that two of one code can be told apart.")
    message: str = Field(description="What is so.")
    hint: str = Field(description="What to do about it.")
    link: Link | None = Field(description="The list of the console where that is done.")


class Overview(BaseModel):
    """How everything does now, as far as the caller may know."""

    at: datetime
    state: State = Field(description="The worst of all components, as far as they are shown; else `ok`.")
    attention: list[AttentionView] = Field(description="The most severe first; at most 100.")
    components: list[ComponentView] | None = Field(description="Null without the permission `metrics:read`.")
    deployments: DeploymentsView
    traffic: TrafficView | None = Field(description="Null without the permission `usage:read`.")
    budgets: list[BudgetView]
