"""The `egress` section of the settings: what may be called though it is not public."""

from ipaddress import ip_network
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MAX_ALLOWED: Final = 100
_LONGEST_NAME: Final = 253


def _is_a_place(entry: str) -> str:
    """A host's name, an address or a network; ValueError for anything else, such as a URL."""
    try:
        return str(ip_network(entry))
    except ValueError:
        if not entry or len(entry) > _LONGEST_NAME or not entry.isascii() or set(entry) & set("/:@?# *[]"):
            raise ValueError(
                "must be a host's name, an address such as 10.0.0.7, or a network such as 10.0.0.0/8"
            ) from None
    return entry.lower().rstrip(".")


class EgressSettings(BaseModel):
    """Where providers may be that are added over the API, beside the public internet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    allow: tuple[Annotated[str, AfterValidator(_is_a_place)], ...] = Field(
        default=(),
        max_length=MAX_ALLOWED,
        description="Hosts, addresses and networks that may be called although they are private, as in"
        " `[ollama.internal, 10.0.0.0/8]`. What this file declares is trusted, and needs no entry here.",
    )
