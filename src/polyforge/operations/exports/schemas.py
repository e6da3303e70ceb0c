"""What the routes of exports take."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from polyforge.operations.exports.records import Format
from polyforge.tenancy.schemas import Moment, Name

Status = Literal["ok", "error", "cancelled", "interrupted", "refused"]
Names = Annotated[list[Name], Field(max_length=50)]


class NewRequestExport(BaseModel):
    """Which requests a file is to have."""

    model_config = ConfigDict(extra="forbid")

    format: Format = "csv"
    since: Moment = Field(description="From this time on.")
    until: Moment | None = Field(default=None, description="Up to this time, without it; default: now.")
    model: Names = Field(default_factory=list[str], description="Only requests for one of these models.")
    key: Names = Field(default_factory=list[str], description="Only requests with one of these keys, by their ids.")
    status: list[Status] = Field(default_factory=list[Status], max_length=5, description="Only those that ended so.")
