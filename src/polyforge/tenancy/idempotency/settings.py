"""The `idempotency` section of the settings."""

from pydantic import BaseModel, ConfigDict, Field


class IdempotencySettings(BaseModel):
    """What becomes of requests that carry an `Idempotency-Key`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    retention_hours: float = Field(
        default=24.0, gt=0, le=24 * 365, description="How long the answer to a key is given again."
    )
    max_bytes: int = Field(
        default=8 * 1024 * 1024,
        ge=1024,
        le=256 * 1024 * 1024,
        description="Largest answer that is kept; who repeats the key of a larger one is refused.",
    )
    wait_seconds: float = Field(
        default=60.0, ge=0, le=600, description="How long a repeated request waits for the first to be answered."
    )
