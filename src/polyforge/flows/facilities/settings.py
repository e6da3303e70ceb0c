"""Settings of what nodes may use."""

from typing import Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from polyforge.secrets.references import SecretRef

_POSTGRES: Final = ("postgresql://", "postgres://")
_SQLITE: Final = "sqlite:///"


class CodeLimits(BaseModel):
    """What code in nodes may use up."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    memory_mb: int = Field(default=512, ge=32, le=4_096, description="Most memory that a node may ask for, in MiB.")
    seconds: float = Field(default=60.0, gt=0, le=3_600, description="How long code may run.")
    at_once: int = Field(default=2, ge=1, le=64, description="Processes at a time, in each worker.")


class ConnectionSettings(BaseModel):
    """A database that nodes may read from. Give it a role that may read and no more."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: SecretRef = Field(
        description="`postgresql://user:password@host/name`, or `sqlite:////path/to/file.db`; `env:NAME`, `file:/path`"
        " and `secret:name` say where that address is kept."
    )
    projects: tuple[str, ...] | None = Field(
        default=None, max_length=10_000, description="Ids of the projects that may read from it; `null`: all of them."
    )
    max_rows: int = Field(default=10_000, ge=1, le=100_000, description="Most rows of one answer.")
    max_bytes: int = Field(default=8 << 20, ge=1_024, le=256 << 20, description="Most bytes of one answer, as JSON.")
    seconds: float = Field(default=30.0, gt=0, le=3_600, description="How long one query may take.")
    at_once: int = Field(default=4, ge=1, le=64, description="Queries at a time, in each worker.")

    @model_validator(mode="after")
    def _is_known(self) -> "ConnectionSettings":
        shown = str(self.url)
        if shown.startswith(("env:", "file:", "secret:")):
            return self
        check_address(self.url.reveal())
        return self


def check_address(address: str) -> str:
    """An address of a database as it is; ValueError, which repeats nothing of it, for one that cannot be one."""
    if not address.startswith((*_POSTGRES, _SQLITE)) or address == _SQLITE:
        raise ValueError("must begin with postgresql:// or sqlite:///")
    return address


def sqlite_path(address: str) -> str | None:
    """The file that an address names; None where it is no SQLite's."""
    return address.removeprefix(_SQLITE) if address.startswith(_SQLITE) else None
