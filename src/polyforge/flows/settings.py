"""The `flows` section of the settings."""

import re
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from polyforge.flows.facilities.settings import CodeLimits, ConnectionSettings
from polyforge.flows.running.settings import RunSettings

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_MOST: Final = 100


class FlowSettings(BaseModel):
    """What flows may do, and how much."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: bool = Field(
        default=False,
        description="Whether nodes may run Python, in a process without files and network; Linux only. It is off"
        " because whoever may write flows then runs programs on this machine.",
    )
    code_limits: CodeLimits = Field(default_factory=CodeLimits)
    runs: RunSettings = Field(default_factory=RunSettings)
    connections: dict[str, ConnectionSettings] = Field(
        default_factory=dict,
        max_length=_MOST,
        description="Databases that nodes may read from, by name.",
    )

    @field_validator("connections")
    @classmethod
    def _are_named(cls, connections: dict[str, ConnectionSettings]) -> dict[str, ConnectionSettings]:
        for name in connections:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name[:70]!r} must be 1 to 64 of a-z, 0-9, `.`, `_` and `-`")
        return connections
