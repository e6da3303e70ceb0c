"""The `serving` section of the settings."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from polyforge.secrets.references import SecretRef


class ServingSettings(BaseModel):
    """The model host."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threads: int | None = Field(default=None, ge=1, le=256, description="Compute threads; default: one per core.")
    max_queue: int = Field(default=1024, ge=1, description="Requests waiting for a thread; more get 503.")
    max_queue_per_model: int = Field(
        default=512, ge=1, description="Requests of one model waiting for a thread; more get 503."
    )
    response_cache_mb: int = Field(
        default=0,
        ge=0,
        description="Memory, in millions of bytes, for answers that are given again to equal requests, of models whose"
        " configuration says `response_cache`; 0: none.",
    )
    max_batch_texts: int = Field(default=2048, ge=1, description="Most texts in one embedding request.")
    repository: Path | None = Field(
        default=None, description="Folder in Triton's layout; its models are served as they are."
    )
    repository_poll_seconds: float | None = Field(
        default=None,
        ge=0.1,
        description="Seconds between looks for new, changed and removed models in `repository`; what is still being"
        " copied waits. `null`: models change only when somebody asks for it.",
    )
    timeout_seconds: float = Field(default=60.0, gt=0, description="How long one request to the host may take.")
    token: SecretRef | None = Field(
        default=None,
        description="What callers of a model host show that runs without a gateway (`--role models`), as"
        " `Authorization: Bearer ...`; needed where other machines can reach it.",
    )
    max_request_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=1024,
        description="Largest request, or answer, of the Open Inference Protocol, over HTTP and gRPC.",
    )
    memory_mb: int | None = Field(
        default=None,
        ge=1,
        description="Most memory of all models together, in millions of bytes; the least recently used leave for others"
        " and are loaded again when they are asked. `null`: no limit.",
    )
    idle_unload: float | None = Field(
        default=None,
        gt=0,
        description="Seconds without a request after which a model leaves the memory; `null`: never.",
    )
    load_seconds: float = Field(
        default=30.0, gt=0, description="How long a request waits for a model to be loaded, before it gets 503."
    )
    parallel_loads: int = Field(default=2, ge=1, le=64, description="Models that are loaded at the same time.")
    tune: bool = Field(
        default=True,
        description="Measure models while nobody asks anything: how many runs at once suit them, and how much in one.",
    )
    stuck_seconds: float = Field(
        default=120.0, gt=0, description="A run that lasts longer makes the model host start anew."
    )
