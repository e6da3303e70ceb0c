"""Which answers of a model are kept, as settings say it and as the path of a request reads it."""

from typing import Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

Languages = Literal["english", "latin", "any"]
"""What an embedding model was made for: English text, languages in Latin letters, or whatever comes."""
Partition = Literal["project", "key"]


class SemanticCacheSettings(BaseModel):
    """Answers to questions that mean the same. Off unless configured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        default="polyforge/static-minilm",
        min_length=1,
        description="The embedding model that compares questions; each question is a call of it, on the caller's key.",
    )
    languages: Languages = Field(
        default="english",
        description="What it was made for; questions in other languages or scripts are not looked up, because unrelated"
        " ones look alike to it.",
    )
    threshold: float = Field(default=0.95, ge=0.8, le=1.0, description="Least cosine similarity of two questions.")
    max_entries: int = Field(
        default=10_000, ge=10, le=1_000_000, description="Most questions that one gateway worker remembers."
    )
    max_characters: int = Field(default=2000, ge=10, le=20_000, description="Longest question that is looked up.")


class ModelCacheSettings(BaseModel):
    """Which answers are kept and given again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exact: bool = Field(
        default=True,
        description="Give the answer to the same request again, whatever its temperature.",
    )
    ttl: float = Field(default=3600.0, gt=0, le=30 * 86_400, description="How long an answer is kept, in seconds.")
    max_ttl: float = Field(
        default=86_400.0, gt=0, le=30 * 86_400, description="The longest time that callers may ask for, in seconds."
    )
    partition: Partition = Field(
        default="project", description="Who shares answers: the keys of a project, or each key with nobody."
    )
    price: float = Field(
        default=0.0, ge=0, le=1, description="What callers are charged for a hit, as a share of the answer's price."
    )
    semantic: SemanticCacheSettings | None = Field(
        default=None, description="Give the answers to questions again that mean the same."
    )


class CacheRules(msgspec.Struct, frozen=True, gc=False):
    """What holds for one model."""

    exact: bool
    ttl: float
    max_ttl: float
    partition: Partition
    price: float
    semantic: SemanticCacheSettings | None
    tag: bytes = b""
    """Differs when the model is answered for by others than before, so that their answers are not given again."""


def rules_of(settings: ModelCacheSettings | None, tag: bytes) -> CacheRules | None:
    """The rules for a model; None where nothing is kept."""
    if settings is None or not (settings.exact or settings.semantic):
        return None
    return CacheRules(
        settings.exact,
        settings.ttl,
        max(settings.ttl, settings.max_ttl),
        settings.partition,
        settings.price,
        settings.semantic,
        tag,
    )
