"""The `artifacts` section of the settings."""

from pydantic import BaseModel, ConfigDict, Field

_GIB = 1024**3


class ArtifactSettings(BaseModel):
    """How much models may take, and how they are fetched."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_bytes: int = Field(default=64 * _GIB, ge=1, description="Most bytes of all files of a model, unpacked.")
    max_files: int = Field(default=10_000, ge=1, le=1_000_000, description="Most files of a model.")
    keep_free_bytes: int = Field(default=_GIB, ge=0, description="What has to stay free on the disk.")
    stall_seconds: float = Field(
        default=60.0, gt=0, description="How long a source may send nothing before it is asked again."
    )
    attempts: int = Field(
        default=6, ge=1, le=100, description="How often in a row a file is asked for without a byte more of it."
    )
    unpack_seconds: float = Field(default=1800.0, gt=0, description="How long unpacking an archive may take.")
    check_seconds: float = Field(
        default=300.0, gt=0, description="How long a model may take to load, and to run once, when it is added."
    )
    check_memory_bytes: int = Field(
        default=16 * _GIB, ge=1, description="What a model may take of memory then; at most three quarters of all."
    )
    keep_partial_days: float = Field(
        default=7.0, gt=0, description="How long what was fetched in part is kept to be continued."
    )
