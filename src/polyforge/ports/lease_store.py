"""The port to what several machines share of limits: a pool for each limit, of which every machine holds a part.

A pool has a name that says whose it is, of what, and in which window. What all machines hold of it, and what was used
by nobody who holds any of it, is together never more than is allowed. A machine uses only what it holds, so no limit is
passed as long as each machine remembers what it holds no better than the store does.

A store may lose what it knew. From its memory on it then has another *epoch*, and grants nothing that counts for good
until every machine has told it again what it holds.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from polyforge.ports.secret_source import SecretSource

NOT_TOLD = -1


class Standing(msgspec.Struct, frozen=True):
    """How a store and one machine stand to each other."""

    epoch: str
    """Another one whenever the store has lost what it knew."""
    is_open: bool
    """Whether every machine has told what it holds."""
    arrivals: int
    """How many machines have told."""
    machines: int
    """How many were heard of lately."""


class Claim(msgspec.Struct, frozen=True):
    """What a machine says it holds of a pool, and what it asks for."""

    pool: str
    number: int
    """Rises with every claim of a machine on a pool; one that comes late is not heard."""
    held: int
    """What it holds, used or not."""
    need: int = 0
    """It gets at least so much more, or nothing."""
    want: int = 0
    """It would like so much more."""
    allowed: int = 0
    """What all may hold together."""
    used: int = NOT_TOLD
    """What was used by nobody who holds any of it, as far as this machine knows. It counts if nobody has told yet, and
    until the store is open if it is more than what was told."""
    lasts: float = 0.0
    """Seconds after which a machine that is not heard of holds nothing any more; 0: it holds what it held for good."""
    only_less: bool = False
    """Whether it is heard only where the machine is known to hold more."""
    expires: float = 0.0
    """Second since the epoch after which nobody asks for the pool any more; 0: never."""


class Grant(msgspec.Struct, frozen=True):
    """What a machine is given of a pool, beside what it said it held."""

    granted: int
    left: int
    """What nobody holds."""
    others: int
    """What the others hold or have used."""
    scarce: bool
    """Whether somebody was lately given nothing: what a machine does not need now, it should give back."""


class LeaseStore(Protocol):
    """Hands out parts of pools. Built from its settings, `Adapter(settings)`; that does no I/O.

    Every method raises Unavailable when the store cannot be reached in time; a claim may then still be heard later.
    """

    async def open(self, secrets: SecretSource) -> None:
        """Get ready. Does not require the store to be up. `secrets` is where `secret:name` is asked for."""
        ...

    async def close(self) -> None:
        """Let go of what `open` took."""
        ...

    async def beat(self, machine: str) -> Standing:
        """Say that a machine lives."""
        ...

    async def register(self, epoch: str, machine: str, machines: Sequence[str], seen: int, patience: float) -> bool:
        """Say that a machine has told what it holds, as is needed of all `machines`; whether the store is open now.

        `seen` is how many arrivals it knew of when it began: all must have told once more after the last one came, so
        that what was used by those who hold nothing any more is known. Those that have not `patience` seconds after the
        epoch began are waited for no longer.
        """
        ...

    async def claim(self, epoch: str, machine: str, claims: Sequence[Claim], machines: int = 1) -> list[Grant] | None:
        """What a machine gets, for each claim; None, and nothing was heard, when the epoch is over.

        `machines` is how many it knows of, in case the store has just forgotten.
        """
        ...
