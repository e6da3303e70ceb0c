"""The `batches` section of the settings."""

from pydantic import BaseModel, ConfigDict, Field

EVERYBODY = "*"


class StoreSettings(BaseModel):
    """A store of data that batches may read and write; the other keys are its adapter's own."""

    model_config = ConfigDict(extra="allow", frozen=True)

    use: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="The adapter's name: `folder`, `s3`, `gs` or `az`.")
    projects: tuple[str, ...] = Field(
        min_length=1, description="Ids of the projects that may use it; `*` for every project of this installation."
    )

    def serves(self, project_id: str) -> bool:
        """Whether a project may use it."""
        return EVERYBODY in self.projects or project_id in self.projects


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
    max_table_bytes: int = Field(
        default=4 * 1024**3, ge=1024, description="Largest Parquet table that a batch reads from a store, or writes."
    )
    stores: dict[str, StoreSettings] = Field(
        default_factory=dict, max_length=100, description="Stores of data that batches may read and write, by name."
    )
