"""The `batches` section of the settings."""

from pydantic import BaseModel, ConfigDict, Field


class BatchSettings(BaseModel):
    """How batches run, on the processes of the role `worker`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_lines: int = Field(default=50_000, ge=1, le=1_000_000, description="Most lines of one batch.")
    max_line_bytes: int = Field(
        default=4 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024, description="Longest line of an input file."
    )
    max_unfinished: int = Field(
        default=100, ge=1, le=10_000, description="Most batches of one project that wait or run at once."
    )
    lines_at_once: int = Field(
        default=16,
        ge=1,
        le=256,
        description="Most calls that the batches of one worker make at once; fewer while callers are being answered.",
    )
    inputs_at_once: int = Field(
        default=128,
        ge=1,
        le=2_048,
        description="Most texts of lines for the same embedding model that are sent to it in one call.",
    )
    retention_days: float = Field(
        default=90.0,
        gt=0,
        le=3650,
        description="How long it is known that there was a batch; its files have their own.",
    )
