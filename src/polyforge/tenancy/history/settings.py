"""The `requests` section of the settings."""

from pydantic import BaseModel, ConfigDict, Field

from polyforge.tenancy.payloads.settings import PayloadSettings


class RequestSettings(BaseModel):
    """What is kept of requests, beside what they came to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    details_days: float = Field(
        default=90.0,
        gt=0,
        le=3650,
        description="How long the hops and attempts of a request are kept; its row in the ledger stays.",
    )
    refused_per_second: int = Field(
        default=50,
        ge=0,
        le=10_000,
        description="Most refused requests that a worker writes down in a second; the others are counted in a metric.",
    )
    payloads: PayloadSettings = Field(default_factory=PayloadSettings)
