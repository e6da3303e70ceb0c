"""The `database` section of the settings."""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_serializer, field_validator

from polyforge.kernel.errors import SettingsError
from polyforge.secrets.references import SecretRef

Dialect = Literal["sqlite", "postgresql"]

_POSTGRES = ("postgresql://", "postgres://")
_REFERENCES = ("env:", "file:")
_PASSWORD = re.compile(r"(?<=://)([^/@?#:]*):[^/?#]*@")
_PASSWORD_PARAMETER = re.compile(r"([?&]password=)[^&#]*")


class DatabaseSettings(BaseModel):
    """Where rows are kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(
        default="sqlite",
        repr=False,
        description="`sqlite` for a file in the data folder, or `postgresql://user:password@host/name`; "
        "`env:NAME` and `file:/path` say where that address is kept.",
    )
    pool_size: int = Field(default=5, ge=2, le=100, description="Most connections per process (PostgreSQL).")
    timeout_seconds: float = Field(
        default=5.0, gt=0, le=3600, description="How long one statement or one connection attempt may take."
    )

    @field_validator("url")
    @classmethod
    def _is_known(cls, url: str) -> str:
        if url != "sqlite" and not url.startswith(_POSTGRES + _REFERENCES):
            raise ValueError("must be `sqlite` or begin with postgresql://, env: or file:")
        return url

    @field_serializer("url")
    def _hide_password(self, url: str) -> str:
        return _PASSWORD_PARAMETER.sub(r"\1********", _PASSWORD.sub(r"\1:********@", url))

    @property
    def dialect(self) -> Dialect:
        """Which database the address means."""
        return "sqlite" if self.url == "sqlite" else "postgresql"

    def address(self) -> str:
        """The address itself, with its password, read from where `url` refers to; SettingsError when none is there."""
        if not self.url.startswith(_REFERENCES):
            return self.url
        address = SecretRef(self.url).reveal()
        if not address.startswith(_POSTGRES):
            raise SettingsError(f"database.url: {self.url} holds no address that begins with postgresql://")
        return address
