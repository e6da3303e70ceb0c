"""What the management API of requests gives."""

from datetime import datetime

from pydantic import BaseModel, Field


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


class AttemptView(BaseModel):
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
    hops: list[HopView] = Field(description="Empty once the details' time is up. The last, settlement, is not told.")
    upstream_ms: float = Field(description="The part of its time that upstreams took.")
    tried: list[AttemptView]
    guardrails: list[FoundView]
    dropped: list[str] = Field(description="Parameters that the provider has no place for.")
    route: str | None = Field(description="Where the caller wanted it to go: its `x-polyforge-route`.")
    trace_id: str | None


class RequestPage(BaseModel):
    """Some requests, newest first."""

    data: list[RequestSummary]
    next_cursor: str | None = Field(
        description="Pass it as `cursor` to go on; null: there are no more. A page looks at some thousand requests, so "
        "with filters it may hold few of them, or none, and yet not be the last."
    )
