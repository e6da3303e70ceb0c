"""What the management API of secrets takes and gives."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from polyforge.secrets.references import NAME_PATTERN

MAX_VALUE_BYTES = 64 * 1024
MAX_PROJECTS = 1_000
RESERVED = "sealing"
_ID_PATTERN = "^[0-9A-HJKMNP-TV-Z]{26}$"


def _small_enough(value: SecretStr) -> SecretStr:
    size = len(value.get_secret_value().encode())
    if size > MAX_VALUE_BYTES:
        raise ValueError(f"has {size} bytes; at most {MAX_VALUE_BYTES} are kept")
    return value


def _not_reserved(name: str) -> str:
    if name == RESERVED:
        raise ValueError(f"must not be {RESERVED!r}: there is a path of this name")
    return name


SecretName = Annotated[str, StringConstraints(pattern=NAME_PATTERN), AfterValidator(_not_reserved)]
SecretValue = Annotated[SecretStr, Field(min_length=1), AfterValidator(_small_enough)]
Projects = Annotated[list[Annotated[str, StringConstraints(pattern=_ID_PATTERN)]], Field(max_length=MAX_PROJECTS)]
_PROJECTS = "Ids of the projects that may use it; null: every one of the organization; none: only the settings file."


class NewSecret(BaseModel):
    """A secret to keep."""

    model_config = ConfigDict(extra="forbid")

    name: SecretName = Field(description="What it is called in `secret:name`: a-z, 0-9, `.`, `_` and `-`.")
    value: SecretValue = Field(description="Up to 64 KiB of text. It is never shown again.")
    projects: Projects | None = Field(default=None, description=_PROJECTS)


class SecretChanges(BaseModel):
    """What to change about a secret: what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    value: SecretValue = Field(default_factory=lambda: SecretStr(""), description="The new value.")
    projects: Projects | None = Field(default=None, description=_PROJECTS)


class SecretView(BaseModel):
    """A secret without its value."""

    id: str
    name: str
    version: int = Field(description="1 when it was made, one more with every change.")
    projects: list[str] | None = Field(description=_PROJECTS)
    created_at: datetime
    changed_at: datetime


class SecretPage(BaseModel):
    """Some secrets, newest first."""

    data: list[SecretView]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the ones after these; null: there are none.")


class SealedWith(BaseModel):
    """How much one master key has sealed."""

    master: str = Field(description="Which master key; says nothing about the key itself.")
    rows: int
    current: bool = Field(description="New values are sealed with it.")
    available: bool = Field(description="It is configured here, so that what it sealed can be opened.")


class SealingView(BaseModel):
    """How far sealing everything with the current master key has come."""

    current: str = Field(description="The master key that seals.")
    left: int = Field(description="Rows that another one sealed.")
    data: list[SealedWith]
