"""What the routes of the cache answer."""

from datetime import datetime

from pydantic import BaseModel, Field


class ModelCacheView(BaseModel):
    """What the cache did for one model."""

    model: str
    hits: int = Field(description="Requests that got an answer made for an earlier one.")
    misses: int = Field(description="Requests whose answer was made for them, those past the cache included.")
    hit_rate: float = Field(description="Hits as a share of both.")
    saved_usd: float = Field(description="What those answers cost when they were made.")


class StoreView(BaseModel):
    """How the place does where answers are kept; of memory, that of the worker which was asked."""

    use: str
    available: bool
    entries: int | None = Field(description="Answers of all projects; null where it cannot be told.")
    bytes: int | None
    capacity_bytes: int | None
    evicted: int = Field(description="Answers that made room for others.")
    failures: int = Field(description="Look-ups that came to nothing because it could not be reached.")


class CacheView(BaseModel):
    """The cache as a project sees it."""

    since: datetime
    data: list[ModelCacheView]
    store: StoreView


class ClearedView(BaseModel):
    """What was removed."""

    removed: int = Field(description="Answers; in memory, those of the worker that was asked. The others follow.")
