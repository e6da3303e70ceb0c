"""The `tokens` section of the settings."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class TokenSettings(BaseModel):
    """How tokens are counted without asking a provider."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: dict[str, Path] = Field(
        default_factory=dict,
        description="The tokenizer.json of models, by name or pattern as in `mistral-*`; the first that fits is taken.",
    )
