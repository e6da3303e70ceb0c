"""The `models` section of the settings: logical names and what answers for them."""

from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from polyforge.kernel.prices import PriceList, Rates
from polyforge.kernel.tasks import Task
from polyforge.registry.caching import ModelCacheSettings

Strategy = Literal["weighted", "least_latency", "least_cost"]
"""How deployments of the same priority are put in order."""
Hardware = Literal["cpu", "gpu"]
BACKEND = r"^[a-z][a-z0-9_]*$"
HOSTING: Final = frozenset(
    {"backend", "batch_rows", "idle_unload", "instances", "isolated", "keep_warm", "options", "priority", "threads"}
)
"""Settings that only mean something for a local model."""
PRIORITIES: Final = 9
USUAL_PRIORITY: Final = 5
MAX_RATE: Final = 1e9
MAX_WEIGHT: Final = 1e9
LABEL = r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$"
Label = Annotated[str, StringConstraints(pattern=LABEL)]


class RateSettings(BaseModel):
    """Rates in USD: per million tokens, or per call, image, second or character."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    input: float | None = Field(default=None, ge=0, le=MAX_RATE, description="USD per million input tokens.")
    cached_input: float | None = Field(
        default=None, ge=0, le=MAX_RATE, description="USD per million input tokens read from a cache."
    )
    cache_write: float | None = Field(
        default=None, ge=0, le=MAX_RATE, description="USD per million input tokens written to a cache."
    )
    output: float | None = Field(default=None, ge=0, le=MAX_RATE, description="USD per million output tokens.")
    reasoning: float | None = Field(
        default=None,
        ge=0,
        le=MAX_RATE,
        description="USD per million output tokens that are thought; default: as other output.",
    )
    audio_input: float | None = Field(
        default=None, ge=0, le=MAX_RATE, description="USD per million input tokens of audio; default: as other input."
    )
    audio_output: float | None = Field(
        default=None, ge=0, le=MAX_RATE, description="USD per million output tokens of audio; default: as other output."
    )
    image_input: float | None = Field(
        default=None, ge=0, le=MAX_RATE, description="USD per million input tokens of images; default: as other input."
    )
    per_call: float | None = Field(default=None, ge=0, le=MAX_RATE, description="USD per answered call.")
    per_image: float | None = Field(default=None, ge=0, le=MAX_RATE, description="USD per image made.")
    per_second: float | None = Field(
        default=None, ge=0, le=MAX_RATE, description="USD per second of audio heard or spoken."
    )
    per_character: float | None = Field(
        default=None, ge=0, le=MAX_RATE, description="USD per character spoken or translated."
    )

    @model_validator(mode="after")
    def _names_a_rate(self) -> "RateSettings":
        if not self.model_fields_set & set(Rates.__struct_fields__):
            raise ValueError("names no rate; give input and output, or per_call")
        return self


class TierSettings(RateSettings):
    """What all tokens of a call cost whose prompt is long; what is not named is as without the tier."""

    above: int = Field(ge=1, description="For prompts of more input tokens than this.")


class TieredSettings(RateSettings):
    """Rates that may depend on the length of the prompt."""

    tiers: tuple[TierSettings, ...] = Field(
        default=(), max_length=10, description="What all tokens of calls with longer prompts cost instead."
    )


class Prices(TieredSettings):
    """Rates in USD. What is not named costs what plain input or output costs."""

    batch: TieredSettings | None = Field(default=None, description="What costs something else in a batch.")

    def listed(self) -> PriceList:
        """The same as everybody else writes it."""
        return msgspec.convert(self.model_dump(), PriceList)


class DeploymentLimits(BaseModel):
    """What a deployment can take."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    context: int | None = Field(default=None, ge=1, description="Most tokens of input and output together.")
    output: int | None = Field(default=None, ge=1, description="Most output tokens.")


class DeploymentCapabilities(BaseModel):
    """What a deployment can do; what is not said is taken to be possible."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    vision: bool | None = Field(default=None, description="Whether it takes images and files.")
    tools: bool | None = Field(default=None, description="Whether it can be offered tools.")
    structured_output: bool | None = Field(default=None, description="Whether its answers can follow a JSON schema.")


class RoutingSettings(BaseModel):
    """Which of several deployments answers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    strategy: Strategy = Field(
        default="weighted",
        description="The order within a priority: by chance in proportion to the weights, the quickest first, or the"
        " cheapest first for the tokens of the request.",
    )
    exploration: float = Field(
        default=0.05,
        ge=0,
        le=0.5,
        description="With `least_latency`: the share of requests whose order is left to chance, to measure the others.",
    )


class DeploymentSettings(BaseModel):
    """One place that can answer for a model."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    provider: str = Field(description="A name from `providers`.")
    model: str | None = Field(default=None, description="The provider's own name; default: what the caller asked for.")
    weight: float = Field(
        default=1.0, gt=0, le=MAX_WEIGHT, description="Share of the traffic among deployments of the same priority."
    )
    priority: int = Field(
        default=0, ge=0, description="Lower is tried first; the next only when the lower cannot answer."
    )
    limits: DeploymentLimits = Field(default_factory=DeploymentLimits)
    capabilities: DeploymentCapabilities = Field(default_factory=DeploymentCapabilities)
    region: str | None = Field(default=None, pattern=LABEL, description="Where data goes, as in `eu`.")
    hardware: Hardware | None = Field(default=None, description="What it runs on.")
    tags: tuple[Label, ...] = Field(default=(), max_length=50, description="What callers may choose it by.")
    cost: Prices | None = Field(
        default=None, description="What the provider charges us; default: its published price, if there is one."
    )
    cost_as: str | None = Field(
        default=None,
        pattern=r"^[^/\s]+/\S+$",
        description="Costs what the catalogue of prices says of `seller/model`, where the name alone does not tell.",
    )

    @model_validator(mode="after")
    def _has_one_cost(self) -> "DeploymentSettings":
        if self.cost is not None and self.cost_as is not None:
            raise ValueError("has either cost or cost_as")
        return self


class ModelSettings(BaseModel):
    """A name that callers use. `name/*` stands for every model of one provider."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    task: Task = "chat"
    deployments: tuple[DeploymentSettings, ...] = Field(default=(), description="What answers for it.")
    source: str | None = Field(
        default=None,
        description="A model of our own model host: `file:///folder`, or `https://host` for one that another server"
        " computes.",
    )
    backend: str | None = Field(
        default=None, pattern=BACKEND, description="What computes a local model; default: what its files call for."
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Settings of a local model's backend.")
    instances: int | None = Field(
        default=None, ge=1, le=256, description="Runs of a local model at the same time; default: one per core."
    )
    batch_rows: int | None = Field(
        default=None, ge=1, le=4096, description="Most rows in one run of a local model; 1: every request alone."
    )
    threads: int | None = Field(
        default=None, ge=1, le=256, description="Threads of one run of a local model; default: one."
    )
    priority: int | None = Field(
        default=None,
        ge=1,
        le=PRIORITIES,
        description="How urgent requests for a local model are beside those for others: 1 most, 9 least; default: as 5."
        " A caller's own `priority` can only be a larger number.",
    )
    isolated: bool = Field(default=False, description="Run a local model in processes of its own.")
    keep_warm: bool = Field(
        default=False, description="Keep a local model in memory, though nobody uses it or others need the room."
    )
    idle_unload: float | None = Field(
        default=None,
        gt=0,
        description="Seconds without a request after which a local model leaves the memory; default:"
        " `serving.idle_unload`.",
    )
    price: Prices | None = Field(
        default=None, description="What callers are charged; default: the cost of the deployment."
    )
    routing: RoutingSettings = Field(default_factory=RoutingSettings)
    on_context_overflow: Literal["refuse", "larger"] = Field(
        default="refuse",
        description="What to do when a provider finds the prompt too long: tell the caller, or try the deployments with"
        " a larger `limits.context`.",
    )
    guardrails: tuple[str, ...] = Field(
        default=(), description="Names from `guardrails` that its calls have to pass, beside those that all do."
    )
    cache: ModelCacheSettings | None = Field(
        default=None, description="Which answers are kept and given again; default: `cache.default`."
    )

    @model_validator(mode="after")
    def _has_one_origin(self) -> "ModelSettings":
        if bool(self.deployments) == (self.source is not None):
            raise ValueError("needs either deployments or a source")
        hosting = [name for name in sorted(HOSTING) if getattr(self, name) not in (None, False, {})]
        if self.source is None and hosting:
            raise ValueError(f"{hosting[0]}: is for local models, those with a source")
        return self
