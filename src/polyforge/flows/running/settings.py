"""The `flows.runs` section of the settings."""

from pydantic import BaseModel, ConfigDict, Field


class RunSettings(BaseModel):
    """How flows run, on the processes of the role `worker`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_unfinished: int = Field(
        default=200,
        ge=1,
        le=10_000,
        description="Most runs of one project that are queued or run at once.",
    )
    max_waiting: int = Field(
        default=10_000,
        ge=1,
        le=10_000,
        description="Most runs of one project that wait for somebody or for a time.",
    )
    nodes_at_once: int = Field(default=16, ge=1, le=256, description="Most nodes of one run that work at once.")
    max_input_bytes: int = Field(
        default=1 << 20, ge=1024, le=16 << 20, description="Most bytes of the inputs of one run, as JSON."
    )
    max_events: int = Field(
        default=100_000,
        ge=100,
        le=1_000_000,
        description="Most events of one run that are kept; it goes on all the same.",
    )
    retention_days: float = Field(
        default=90.0, gt=0, le=3_650, description="How long a run is kept with its events and results once it ended."
    )
    result_days: float = Field(
        default=30.0, gt=0, le=3_650, description="How long results of nodes with `cache: auto` are taken again."
    )
    max_results: int = Field(
        default=100_000,
        ge=100,
        le=10_000_000,
        description="Most such results that one project keeps, of up to 64 kB each; of more the oldest go.",
    )
