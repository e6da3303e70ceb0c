"""What the routes of flags take and give."""

from datetime import datetime
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from polyforge.kernel.ids import decode
from polyforge.operations.flags.flags import WHOLE

MAX_PAGE: Final = 1_000
MAX_PROJECTS: Final = 1_000
LAST_VERSION: Final = 2**63 - 1


def _project(text: str) -> str:
    decode(text)
    return text


FlagName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=200)]
ProjectId = Annotated[str, AfterValidator(_project)]
Version = Annotated[int, Field(strict=True, ge=0, le=LAST_VERSION)]


class FlagBody(BaseModel):
    """What to set a flag to; all of it, what is left out takes its default."""

    model_config = ConfigDict(extra="forbid")

    enabled: Annotated[bool, Field(strict=True)] = Field(description="False: off for everybody.")
    projects: Annotated[list[ProjectId], Field(max_length=MAX_PROJECTS)] | None = Field(
        default=None, description="The ids of the projects that it is on for; null: all."
    )
    share: float = Field(
        default=WHOLE,
        ge=0,
        le=WHOLE,
        allow_inf_nan=False,
        description="Percent of the subjects that it is on for; always the same ones.",
    )
    version: Version | None = Field(
        default=None, description="Refuse when this is not the current version; 0: there must be none."
    )


class FlagReturn(BaseModel):
    """Which version of a flag to return to."""

    model_config = ConfigDict(extra="forbid")

    version: Annotated[int, Field(strict=True, ge=1, le=LAST_VERSION)]


class FlagView(BaseModel):
    """A flag."""

    name: str
    enabled: bool
    projects: list[str] | None
    share: float
    version: int
    changed_at: datetime
    changed_by: str = Field(description="The id of the key, user or service account.")


class FlagPage(BaseModel):
    """Some flags, by name."""

    data: list[FlagView]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the flags after these; null: there are none.")


class FlagVersion(BaseModel):
    """What a flag was set to, once; without a setting it was removed."""

    version: int
    removed: bool
    enabled: bool | None
    projects: list[str] | None
    share: float | None
    changed_at: datetime
    changed_by: str


class FlagHistory(BaseModel):
    """Versions of a flag, newest first."""

    data: list[FlagVersion]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the versions before these; null: none.")
