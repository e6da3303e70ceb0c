"""What the management API of the export of the log of requests gives."""

from datetime import datetime

from pydantic import BaseModel, Field


class LogExportView(BaseModel):
    """How far an export is."""

    name: str
    use: str = Field(description="The kind of its sink.")
    lag: int = Field(description="Batches that it does not have yet.")
    failures: int = Field(description="Tries that failed since the last that did not.")
    error: str | None = Field(description="What the last try failed with; null: it did not.")
    retry_at: datetime | None = Field(description="When it is tried again.")
    dead_letters: int = Field(description="Requests that it refused for good.")


class LogExportList(BaseModel):
    """Every export of the settings."""

    data: list[LogExportView]


class LogDeadLetterView(BaseModel):
    """A request that a sink refused for good."""

    id: str
    export: str
    request_id: str
    reason: str
    at: datetime
    wanted_at: datetime | None = Field(description="When somebody asked to send it again.")


class LogDeadLetterPage(BaseModel):
    """Some dead letters, newest first."""

    data: list[LogDeadLetterView]
    next_cursor: str | None
