"""The `events` section of the settings."""

from pydantic import BaseModel, ConfigDict, Field


class EventSettings(BaseModel):
    """The stream of what happens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep_days: float = Field(default=7.0, gt=0, le=3650, description="How long events can be read again.")
    max_subscribers: int = Field(
        default=200, ge=1, le=100_000, description="Most open streams of events per gateway process; more get 503."
    )
