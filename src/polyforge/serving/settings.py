"""The `serving` section of the settings."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class ServingSettings(BaseModel):
    """The model host."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threads: int | None = Field(default=None, ge=1, le=256, description="Compute threads; default: one per core.")
    max_queue: int = Field(default=1024, ge=1, description="Requests waiting for a thread; more get 503.")
    max_batch_texts: int = Field(default=2048, ge=1, description="Most texts in one embedding request.")
    repository: Path | None = Field(
        default=None, description="Folder in Triton's layout; its models are served as they are."
    )
    timeout_seconds: float = Field(default=60.0, gt=0, description="How long one request to the host may take.")
