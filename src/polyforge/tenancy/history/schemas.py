"""What the management API of requests takes and gives."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from polyforge.database.texts import storable
from polyforge.tenancy.schemas import Name


class RequestSummary(BaseModel):
    """One request: who, what, how it ended, what it came to."""

    id: str = Field(description="The request id, as the caller was told in `x-request-id`.")
    started_at: datetime
    duration_ms: int
    first_token_ms: float | None = Field(description="To the first content of a stream.")
    key: str = Field(description="The key's id.")
    user: str | None = Field(description="The id of the user who called or who made the key.")
    end_user: str | None = Field(description="Whom the caller asked for, as the caller names them.")
    path: str | None
    task: str
    model: str = Field(description="What the caller asked for.")
    provider: str | None
    deployment: str | None = Field(description="The provider's own name of the model.")
    stream: bool
    status: str = Field(description="`ok`, `error`, `cancelled`, `interrupted` or `refused`.")
    http_status: int
    error: str | None = Field(description="The code of the error that the caller got.")
    tags: list[str]
    cached: str | None = Field(
        description="`exact`, `semantic` or `idempotent` where an earlier answer was given again."
    )
    input_tokens: int = Field(description="Every token of the prompt, cached or not.")
    cached_tokens: int = Field(description="The part of the input that the provider read from its cache.")
    output_tokens: int
    cost_usd: float = Field(description="What the provider charges.")
    price_usd: float = Field(description="What the caller is charged.")
    attempts: int


class HopView(BaseModel):
    """One of the hops that a request goes through."""

    name: str
    microseconds: int


class TriedView(BaseModel):
    """One deployment that was tried."""

    provider: str
    deployment: str
    after_ms: float = Field(description="From the start of the request to that of the attempt.")
    duration_ms: float | None = Field(description="null: it was not over when the request was settled.")
    outcome: str = Field(description="`ok`, or the code of the error.")


class FoundView(BaseModel):
    """What a guardrail did."""

    guardrail: str
    stage: str = Field(description="`input` or `output`.")
    action: str
    kinds: list[str]
    count: int


class RequestView(RequestSummary):
    """One request with all that is known of it."""

    cache_write_tokens: int
    reasoning_tokens: int
    images: int
    audio_seconds: float
    characters: int
    estimated: bool = Field(description="Whether tokens were estimated because the provider told none.")
    saved_usd: float = Field(description="What it would have cost, had its answer not been kept.")
    hops: list[HopView] = Field(description="Empty once the details' time is up; fewer than eight when it ended early.")
    upstream_ms: float = Field(description="The part of its time that upstreams took.")
    tried: list[TriedView]
    guardrails: list[FoundView]
    dropped: list[str] = Field(description="Parameters that the provider has no place for.")
    route: str | None = Field(description="Where the caller wanted it to go: its `x-polyforge-route`.")
    trace_id: str | None
    feedback: list["FeedbackView"] = Field(description="What was said of the answer, newest first.")


class RequestPage(BaseModel):
    """Some requests, newest first."""

    data: list[RequestSummary]
    next_cursor: str | None = Field(
        description="Pass it as `cursor` to go on; null: there are no more. A page looks at some thousand requests, so "
        "with filters it may hold few of them, or none, and yet not be the last."
    )
    searched_until: datetime | None = Field(
        description="Every request that is newer was looked at by now; null: all there are."
    )


class NewFeedback(BaseModel):
    """What somebody says of an answer."""

    model_config = ConfigDict(extra="forbid")

    rating: Literal[-1, 1] | None = Field(default=None, description="Bad or good.")
    score: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = Field(
        default=None, description="How good, from 0 to 1; in the place of a rating."
    )
    comment: Annotated[str, StringConstraints(max_length=2_000), AfterValidator(storable)] = ""
    labels: list[Name] = Field(default=[], max_length=20)

    @model_validator(mode="after")
    def _says_how_good(self) -> "NewFeedback":
        if (self.rating is None) == (self.score is None):
            raise ValueError("needs either rating or score")
        return self


class FeedbackView(BaseModel):
    """What somebody said of an answer."""

    id: str
    request_id: str
    model: str
    provider: str | None
    deployment: str | None
    rating: int | None
    score: float | None
    comment: str
    labels: list[str]
    given_by: str = Field(description="The key or the user who said so; each says one thing of a request, the last.")
    created_at: datetime


class FeedbackPage(BaseModel):
    """Some feedback, newest first."""

    data: list[FeedbackView]
    next_cursor: str | None = Field(description="Pass it as `cursor` for those after these; null: there are none.")


class ModelFeedbackView(BaseModel):
    """What was said of the answers of a model, by who answered."""

    model: str
    provider: str | None
    deployment: str | None
    good: int
    bad: int
    scored: int
    score: float | None = Field(description="The mean of the scores.")


class FeedbackReport(BaseModel):
    """Sums of feedback, the model with most of it first."""

    data: list[ModelFeedbackView]
