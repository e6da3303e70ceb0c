"""What the management API of models gives."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from polyforge.gateway.health import Cause
from polyforge.kernel.tasks import Task
from polyforge.registry.catalog import Origin
from polyforge.registry.settings import Hardware, Strategy


class RatesView(BaseModel):
    """USD per million tokens, and per call, image, second or character."""

    input: float
    cached_input: float
    cache_write: float
    output: float
    reasoning: float
    audio_input: float
    audio_output: float
    image_input: float
    per_call: float
    per_image: float
    per_second: float
    per_character: float


class TierView(RatesView):
    """What all of a call costs whose prompt is long."""

    above: int = Field(description="For prompts of more input tokens than this.")


class PriceView(RatesView):
    """Rates and where they come from."""

    origin: str = Field(description="`declared`, `estimated`, `own machines`, or the edition of a catalogue.")
    tiers: list[TierView]
    batch: RatesView | None = Field(description="What holds in a batch instead.")


class HealthView(BaseModel):
    """How a deployment does."""

    state: Literal["ready", "cooling", "loading", "unavailable"] = Field(
        description="`cooling`: left alone for a while after it failed; the last two: how our own model host has it."
    )
    reason: str | None = Field(description="Why it is unavailable.")
    cooling_seconds: float | None = Field(description="How long it is left alone still.")
    cause: Cause | None = Field(description="Why it is left alone.")
    first_token_seconds: float | None = Field(description="Mean time to the first token of a stream lately.")
    answer_seconds: float | None = Field(description="Mean time of a whole answer lately.")


class DeploymentView(BaseModel):
    """One place that can answer for a model."""

    provider: str
    model: str = Field(description="The provider's own name; empty: what the wildcard matched.")
    weight: float
    priority: int
    context: int | None
    output: int | None
    vision: bool | None
    tools: bool | None
    structured_output: bool | None
    region: str | None
    hardware: Hardware | None
    tags: list[str]
    price: PriceView | None = Field(description="What callers are charged; null: nobody knows, and calls are refused.")
    cost: PriceView | None = Field(description="What the provider charges; only shown to those who may read usage.")
    health: HealthView


class ModelView(BaseModel):
    """A name that callers use, and what answers for it."""

    name: str
    task: Task
    strategy: Strategy
    on_context_overflow: Literal["refuse", "larger"]
    declared_in: Origin = Field(
        description="`file`: polyforge.yaml; `api`: added there for all; `project`: registered by the project;"
        " `package`: comes with Polyforge."
    )
    deployments: list[DeploymentView]


class ModelList(BaseModel):
    """Every model that the caller may use."""

    data: list[ModelView]


class JudgementView(BaseModel):
    """What routing makes of one deployment."""

    provider: str
    model: str
    why: str


class AttemptView(JudgementView):
    """A deployment that would be tried."""

    attempt: int = Field(description="From 1.")


class CandidateView(BaseModel):
    """Where the traffic might have gone instead."""

    name: str
    cost_usd: float = Field(description="What the covered calls would have cost.")
    actual_cost_usd: float = Field(description="What the covered calls did cost.")
    covered_requests: int = Field(description="Calls that the candidate has a price for.")
    origins: list[str] = Field(description="Where its prices come from.")
    unknown: list[str] = Field(description="Models that it has no price for.")


class ComparisonView(BaseModel):
    """What the same traffic would have cost elsewhere, by plain rates: without what long prompts add."""

    since: datetime
    until: datetime
    requests: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_usd: float = Field(description="What it did cost.")
    candidates: list[CandidateView]


class Explanation(BaseModel):
    """Where a request would go now, and why."""

    model: str
    strategy: Strategy
    attempts: list[AttemptView] = Field(description="In their likeliest order.")
    left_out: list[JudgementView]
