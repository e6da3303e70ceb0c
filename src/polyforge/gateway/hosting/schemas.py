"""What the routes of hosted models take and give."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from polyforge.serving.lifecycle.keeping import Leaving
from polyforge.serving.repository import State

HostedState = State
Origin = Literal["declared", "registered", "repository"]


class BatchView(BaseModel):
    """The runs of one size since the host started."""

    rows: int
    runs: int
    mean_ms: float


class FiguresView(BaseModel):
    """What a version did since the host started, as Triton's statistics have it."""

    succeeded: int = Field(description="Requests answered.")
    failed: int = Field(description="Requests that were taken and got an error.")
    timed_out: int = Field(description="Those among `failed` that waited for too long.")
    rejected: int = Field(description="Requests that were not taken because too many waited.")
    cancelled: int
    rows: int = Field(description="Rows computed.")
    runs: int = Field(description="Runs of the model.")
    mean_batch_rows: float | None = Field(description="Rows per run; null: there was no run.")
    mean_request_ms: float | None = Field(description="From arrival to answer.")
    mean_queue_ms: float | None = Field(description="The part of it that requests waited for a thread.")
    mean_compute_ms: float | None = Field(description="The part of it that they were computed.")
    cache_hits: int
    cache_misses: int
    batches: list[BatchView] = Field(description="By rows, smallest first.")


class HostedVersionView(BaseModel):
    """One version of a model, as the host has it."""

    version: str
    state: HostedState
    reason: str = Field(description="Why it does not answer; empty: it does.")
    answers: bool = Field(description="Whether a request would be answered now.")
    platform: str = Field(description="What computes it; empty as long as that is not known.")
    resident: bool = Field(description="Whether it is in memory; one that is not is loaded when it is asked.")
    memory_bytes: int = Field(description="Memory that is counted for it.")
    loads: int
    load_failures: int
    unloads: dict[Leaving, int] = Field(description="How often it left the memory, by reason.")
    queue: int = Field(description="Requests that wait for a thread now.")
    instances: int = Field(description="Runs under way at once, at most; 0: as many as the host has threads.")
    max_batch_rows: int = Field(description="Rows in one run, at most; 0 and 1: every request alone.")
    processes: int = Field(description="Processes that compute it; 0: it is computed in the host's own.")
    last_used_at: datetime | None = Field(description="When it last answered; null: not since the host started.")
    figures: FiguresView


class HostedModelView(BaseModel):
    """A model that our own model host computes."""

    name: str = Field(description="What callers call it.")
    host_name: str = Field(description="What the host calls it.")
    origin: Origin = Field(description="Where it comes from; only what is not `registered` can be loaded and unloaded.")
    state: HostedState = Field(description="Of the version that does best.")
    memory_bytes: int = Field(description="Of all versions.")
    queue: int
    last_used_at: datetime | None
    versions: list[HostedVersionView] = Field(
        description="Newest first; empty for a model of the repository that was never loaded."
    )


class HostedModelPage(BaseModel):
    """Some models of the host, by name."""

    data: list[HostedModelView]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the models after these; null: there are none.")
