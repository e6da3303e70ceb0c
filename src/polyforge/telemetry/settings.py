"""The `telemetry` section of the settings."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TelemetrySettings(BaseModel):
    """Logs, metrics and traces."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe line written."
    )
    access_log: bool = Field(default=True, description="One JSON line per request.")
    otlp_endpoint: str | None = Field(
        default=None, description="Base URL of an OTLP/HTTP collector; none means no tracing."
    )
    trace_sample: float = Field(default=0.01, ge=0, le=1, description="Share of requests that are traced.")
    metric_models: int = Field(
        default=200, ge=1, description="Most model names that get series of their own; the rest is `other`."
    )
