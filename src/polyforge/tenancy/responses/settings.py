"""The `responses` section of the settings."""

from pydantic import BaseModel, ConfigDict, Field


class ResponseSettings(BaseModel):
    """What the Responses API keeps of conversations, sealed with the master key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    retention_days: float = Field(
        default=30.0, ge=0, le=3650, description="How long a response can be referred to; 0 keeps none."
    )
    max_bytes: int = Field(
        default=8 * 1024 * 1024,
        ge=1024,
        le=256 * 1024 * 1024,
        description="Largest conversation that is kept, as JSON; the response of a larger one says `store: false`.",
    )
