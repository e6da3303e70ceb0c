"""How a call went, beside what it came to: one small blob in its row of the ledger, written with its settlement.

The blob is a MessagePack array in the order of `Details`; later versions add fields at its end. Times in it are as they
were taken, in nanoseconds of a clock of which only differences say something: whoever reads it subtracts.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

import msgspec

Tried = tuple[str, str, int, int, str]
"""Provider, its own name of the model, start and end, and `ok` or the code of the error."""


class FoundDetail(msgspec.Struct, frozen=True, gc=False):
    """What a guardrail did; never any text."""

    guardrail: str
    stage: str
    action: str
    kinds: tuple[str, ...] = ()
    count: int = 0


class Details(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is known when a call is settled; its last hop, the settlement itself, is all but over then."""

    path: str
    """As it is declared, without anything that callers make up."""
    marks: tuple[int, ...] = ()
    """The start, and the end of each hop, in the order of `polyforge.telemetry.hops.HOPS`."""
    waited: int = 0
    """Nanoseconds that upstreams took."""
    tried: tuple[Tried, ...] = ()
    first_token: int = 0
    """0 where nothing was streamed."""
    trace_id: bytes = b""
    found: tuple[FoundDetail, ...] = ()
    """What guardrails found."""
    dropped: tuple[str, ...] = ()
    """Parameters that the provider has no place for."""
    wish: str = ""
    """Where the caller wanted it to go, as it said so."""

    @property
    def hops_us(self) -> list[int]:
        """Microseconds per hop; shorter where the call did not get through all of them."""
        return [(after - before) // 1000 for before, after in pairwise(self.marks)]

    @property
    def first_token_ms(self) -> float | None:
        """Milliseconds to the first content of a stream."""
        return self.milliseconds(self.first_token) if self.first_token and self.marks else None

    def milliseconds(self, moment: int) -> float:
        """Milliseconds from the start to a moment."""
        return (moment - self.marks[0]) // 1000 / 1000 if self.marks else 0.0


NO_DETAILS: Final = Details("")
encode_details: Final[Callable[[tuple[Any, ...]], bytes]] = msgspec.msgpack.Encoder().encode
"""A blob of the fields of `Details` in their order, as a tuple: making a struct of them would cost as much again."""
_decoder = msgspec.msgpack.Decoder(Details)


def decode_details(blob: bytes | None) -> Details:
    """What a blob says; of a row without one, and of a blob that nobody can read, nothing."""
    if not blob:
        return NO_DETAILS
    try:
        return _decoder.decode(blob)
    except msgspec.MsgspecError:
        return NO_DETAILS
