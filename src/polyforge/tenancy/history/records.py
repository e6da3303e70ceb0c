"""Requests as the history tells of them, and what can be asked for."""

import re
from typing import Final

import msgspec

from polyforge.kernel.errors import Invalid
from polyforge.kernel.money import Micros
from polyforge.kernel.usage import Usage
from polyforge.tenancy.ledger.details import Details

_CURSOR: Final = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)~([0-9A-Z]{26}|)")


class Entry(msgspec.Struct, frozen=True):
    """One request of the ledger."""

    id: str
    key_id: str
    user_id: str
    end_user: str
    task: str
    model: str
    provider: str
    deployment: str
    status: str
    http_status: int
    error: str
    started_at: float
    duration_ms: int
    stream: bool
    tags: str
    cached: str
    usage: Usage
    cost: Micros
    price: Micros
    saved: Micros
    details: Details


class Which(msgspec.Struct, frozen=True):
    """Which requests are asked for; what is empty or None leaves all of them."""

    key: tuple[str, ...] = ()
    user: tuple[str, ...] = ()
    end_user: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    provider: tuple[str, ...] = ()
    status: tuple[str, ...] = ()
    error: tuple[str, ...] = ()
    error_text: str = ""
    """Within the code of the error."""
    tag: tuple[str, ...] = ()
    """With each of these."""
    since: float | None = None
    until: float | None = None
    min_duration_ms: int | None = None
    min_price: Micros | None = None

    @property
    def filters(self) -> bool:
        """Whether some of the requests of its time are not asked for."""
        whose = (self.key, self.user, self.end_user, self.tag)
        what = (self.model, self.provider, self.status, self.error, self.error_text)
        return any((*whose, *what)) or self.min_duration_ms is not None or self.min_price is not None


class Place(msgspec.Struct, frozen=True):
    """Just after a request in the order of the history, which is newest first."""

    started_at: float
    id: str
    """Empty: after every request that started at that moment or later."""

    def __str__(self) -> str:
        return f"{self.started_at:.9f}~{self.id}"


def read_place(cursor: str | None) -> Place | None:
    """The place that a cursor names; Invalid when it is none."""
    if cursor is None:
        return None
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise Invalid("is no cursor of this list", param="cursor")
    return Place(float(match[1]), match[2])


END: Final = Place(0.0, "")
"""After every request."""
