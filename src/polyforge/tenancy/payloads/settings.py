"""The `requests.payloads` section of the settings."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Keeping = Literal["never", "asked", "always"]
"""Whose payloads are kept: nobody's, those of requests that ask for it, those of all."""


class PayloadSettings(BaseModel):
    """What is kept of the words of requests and answers. Nothing is, unless somebody says so here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep: Keeping = Field(
        default="never",
        description="Keep the payloads of no request, of those that say `x-polyforge-log: payload`, or of all.",
    )
    projects: dict[str, Keeping] = Field(
        default_factory=dict, description="The same for a project, by its id, in the place of `keep`."
    )
    models: dict[str, Keeping] = Field(
        default_factory=dict,
        description="The same for a model, by its name, or `name/*`; of a project and a model the stricter counts.",
    )
    allow_none: bool = Field(
        default=True,
        description="Whether a request may say `x-polyforge-log: none` where all are kept; else it is refused.",
    )
    retention_days: float = Field(default=30.0, gt=0, le=3650, description="How long they are kept.")
    max_bytes: int = Field(
        default=64 * 1024,
        ge=1024,
        le=4 * 1024 * 1024,
        description="Most bytes that are kept of a request, and of an answer; the rest is cut off.",
    )
    max_waiting_bytes: int = Field(
        default=16 * 1024 * 1024,
        ge=64 * 1024,
        le=1024 * 1024 * 1024,
        description="Most bytes that wait in a worker to be written; what comes then is not kept, and counted.",
    )
