"""The `models` section of the settings: logical names and what answers for them."""

from pydantic import BaseModel, ConfigDict, Field, model_validator

from polyforge.kernel.tasks import Task


class Prices(BaseModel):
    """Rates in USD: per million tokens, or per call. What is not named costs what plain input or output costs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float | None = Field(default=None, ge=0, description="USD per million input tokens.")
    cached_input: float | None = Field(
        default=None, ge=0, description="USD per million input tokens read from a cache."
    )
    cache_write: float | None = Field(
        default=None, ge=0, description="USD per million input tokens written to a cache."
    )
    output: float | None = Field(default=None, ge=0, description="USD per million output tokens.")
    per_call: float | None = Field(default=None, ge=0, description="USD per answered call.")

    @model_validator(mode="after")
    def _names_a_rate(self) -> "Prices":
        if not self.model_fields_set:
            raise ValueError("names no rate; give input and output, or per_call")
        return self


class DeploymentLimits(BaseModel):
    """What a deployment can take."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    context: int | None = Field(default=None, ge=1, description="Most tokens of input and output together.")
    output: int | None = Field(default=None, ge=1, description="Most output tokens.")


class DeploymentSettings(BaseModel):
    """One place that can answer for a model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: str = Field(description="A name from `providers`.")
    model: str | None = Field(default=None, description="The provider's own name; default: what the caller asked for.")
    weight: float = Field(default=1.0, gt=0, description="Share of the traffic among deployments of the same priority.")
    priority: int = Field(
        default=0, ge=0, description="Lower is tried first; the next only when the lower cannot answer."
    )
    limits: DeploymentLimits = Field(default_factory=DeploymentLimits)
    cost: Prices | None = Field(default=None, description="What the provider charges us.")


class ModelSettings(BaseModel):
    """A name that callers use. `name/*` stands for every model of one provider."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Task = "chat"
    deployments: tuple[DeploymentSettings, ...] = Field(default=(), description="What answers for it.")
    source: str | None = Field(
        default=None, description="A local model: `file:///folder`. Served by our own model host."
    )
    price: Prices | None = Field(
        default=None, description="What callers are charged; default: the cost of the deployment."
    )

    @model_validator(mode="after")
    def _has_one_origin(self) -> "ModelSettings":
        if bool(self.deployments) == (self.source is not None):
            raise ValueError("needs either deployments or a source")
        return self
