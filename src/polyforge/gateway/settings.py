"""The `gateway` section of the settings."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TimeoutSettings(BaseModel):
    """The four timeouts of one attempt and the deadline of the whole request, in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    connect: float = Field(default=5.0, gt=0, description="To open a connection to the upstream.")
    first_token: float = Field(default=60.0, gt=0, description="From sending the request to the first content.")
    idle: float = Field(default=60.0, gt=0, description="Between two chunks of a stream.")
    total: float = Field(default=600.0, gt=0, description="One attempt altogether.")
    request: float = Field(default=600.0, gt=0, description="The whole request with all its attempts.")


class EstimateSettings(BaseModel):
    """What a model of unknown cost is taken to cost, in USD per million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(default=5.0, ge=0, description="USD per million input tokens.")
    output: float = Field(default=15.0, ge=0, description="USD per million output tokens.")


class GatewaySettings(BaseModel):
    """The path of a request."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeouts: TimeoutSettings = Field(default_factory=TimeoutSettings)
    attempts: int = Field(default=3, ge=1, le=10, description="Most deployments tried for one request.")
    cooldown_seconds: float = Field(
        default=5.0, ge=0, description="How long a failing deployment is left alone at least."
    )
    quota_cooldown_seconds: float = Field(
        default=300.0, ge=0, description="How long a deployment is left alone whose account has no credit left."
    )
    latency_half_life_seconds: float = Field(
        default=60.0, gt=0, description="After how long a measured latency counts half, for `least_latency`."
    )
    route_overrides: Literal["none", "tags", "all"] = Field(
        default="tags",
        description="What callers may choose deployments by, in x-polyforge-route: nothing, `tag`, `region` and"
        " `hardware`, or `provider` and `strategy` as well.",
    )
    max_body_bytes: int = Field(default=32 * 1024 * 1024, ge=1024, description="Largest request body.")
    unknown_price: Literal["estimate", "refuse"] = Field(
        default="estimate", description="What to do with a model whose cost nobody declared: never free."
    )
    estimate: EstimateSettings = Field(default_factory=EstimateSettings)
    default_output_tokens: int = Field(
        default=4096,
        ge=1,
        description="Output reserved per choice where neither the caller nor the deployment sets a limit.",
    )
    max_limited_keys: int = Field(
        default=65_536,
        ge=16,
        description="Most keys and counters of limits that one machine can track at once; end users, whose names"
        " callers make up, get half of them.",
    )
    unsupported_parameters: Literal["refuse", "drop"] = Field(
        default="refuse",
        description="What to do with a parameter that the provider has no place for: refuse the request, or leave the"
        " parameter out and say so in x-polyforge-dropped.",
    )
    caller_keys: Literal["refuse", "allow"] = Field(
        default="refuse",
        description="Whether callers may bring their own key of the provider, in x-polyforge-provider-key.",
    )
    code_model: str | None = Field(
        default=None,
        min_length=1,
        description="The model of code operations whose request names none; default: the first chat model declared that"
        " the caller may use.",
    )
    max_in_flight: int = Field(
        default=10_000, ge=1, description="Most requests one worker holds at once; more get 503."
    )
