"""What every dialect's writer of answers is told, and does."""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import msgspec

from polyforge.kernel.chat import Delta
from polyforge.kernel.money import Micros
from polyforge.kernel.usage import Usage


class Answering(msgspec.Struct, frozen=True):
    """What an answer says of itself."""

    id: str
    """The request's id, a ULID."""
    model: str
    """What the caller called it."""
    created: int
    """Seconds since the epoch."""
    wants_usage: bool = False
    """Whether the caller asked for usage at the end of a stream."""
    asked: bytes = b""
    """The body of the request, for dialects whose answers repeat what was asked."""
    keeps: bool = False
    """Whether the answer will be kept."""
    used: Usage | None = None
    """What the request used altogether, once that is settled."""
    price: Micros | None = None
    """What it is charged for."""
    provider: str | None = None
    """Who answers, for callers who may know."""
    deployment: str | None = None
    """What that provider calls the model."""


class StreamWriter(Protocol):
    """Writes canonical deltas as the server-sent events of one answer."""

    def write(self, deltas: Iterable[Delta]) -> bytes:
        """The events to send for them."""
        ...

    def end(self, usage: Usage | None) -> bytes:
        """What comes after the last delta; `usage` is None where the provider told none."""
        ...


@runtime_checkable
class FailureWriter(Protocol):
    """A writer that knows how its stream tells of a failure after the beginning."""

    def fail(self, error: bytes) -> bytes:
        """The last events of a stream that broke off; `error` is the body that a failed request would have got."""
        ...


@runtime_checkable
class ChargedWriter(Protocol):
    """A writer whose stream says at its end what the request is charged for."""

    def charge(self, used: Usage, price: Micros) -> None:
        """What the request used altogether and what that is charged for, told before the end is written."""
        ...
