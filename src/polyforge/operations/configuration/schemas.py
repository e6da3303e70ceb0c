"""What the routes of configurations give."""

from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

MAX_PAGE: Final = 1_000
LAST_VERSION: Final = 2**63 - 1


class ConfigurationView(BaseModel):
    """One version of what is declared."""

    version: int
    source: Literal["file", "rollback"]
    of_version: int | None = Field(description="The version that a rollback returned to.")
    accepted: bool
    reason: str | None = Field(description="Why it was refused.")
    active: bool = Field(description="Whether it is in force.")
    restorable: bool = Field(description="Whether one can return to it: not when secrets were written out in it.")
    needs_restart: list[str] = Field(description="Paths of settings that changed with it and wait for a restart.")
    created_at: datetime
    created_by: str = Field(description="The id of the key, user or service account; zeros: a file.")
    host: str = Field(description="The machine whose file it was, or that was asked to roll back.")


class ConfigurationContent(ConfigurationView):
    """One version with what it declares; secrets only as references, stars for those that were written out."""

    models: dict[str, Any]
    providers: dict[str, Any]


class ConfigurationPage(BaseModel):
    """Some versions, newest first."""

    data: list[ConfigurationView]
    running: int | None = Field(description="The version that the process runs which answers this.")
    next_cursor: str | None = Field(description="Pass it as `cursor` for the versions before these; null: none.")
