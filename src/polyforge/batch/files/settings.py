"""The `files` section of the settings."""

from pydantic import BaseModel, ConfigDict, Field


class FileSettings(BaseModel):
    """What callers may upload, and how long it stays."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_bytes: int = Field(
        default=512 * 1024 * 1024, ge=1024, le=64 * 1024**3, description="Largest file that is taken."
    )
    max_project_bytes: int = Field(
        default=100 * 1024**3, ge=1024, description="Most bytes that the files of one project may have together."
    )
    batch_retention_days: float = Field(
        default=30.0,
        gt=0,
        le=3650,
        description="How long files for batches and what batches made stay, unless who uploads says it. Others stay"
        " until they are deleted.",
    )
    uploads_at_once: int = Field(
        default=16, ge=1, le=1000, description="Most uploads under way in one gateway worker; others are told to wait."
    )
