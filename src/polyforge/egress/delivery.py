"""Handing a body over to a receiver, and what its answer means for it."""

import asyncio
from typing import Final, NamedTuple

from polyforge.egress.http import Answer
from polyforge.kernel.errors import Invalid, PolyforgeError, Unavailable
from polyforge.kernel.retry_after import read_retry_after

_OK: Final = range(200, 300)
_REFUSED: Final = frozenset({400, 413, 422})
"""Statuses that speak of what was sent; with any other, such as 401 or 404, waiting or an operator can help."""


class Delivered(NamedTuple):
    """How a receiver answered."""

    status: int
    body: bytes
    retry_after: float | None

    def require_taken(self) -> None:
        """Nothing for any 2xx; Invalid when what was sent was refused for good, else Unavailable."""
        if self.status in _REFUSED:
            raise Invalid(f"the sink refused it with {self.status}")
        if self.status not in _OK:
            raise Unavailable(f"the sink answered {self.status}", retry_after=self.retry_after)


async def deliver(answer: Answer, seconds: float, most_bytes: int) -> Delivered:
    """Make a call and read its answer of at most `most_bytes`; Unavailable when there is none within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            try:
                await answer.open()
                body = await answer.body(most_bytes)
                return Delivered(answer.status, body, read_retry_after(answer.header))
            finally:
                await answer.close()
    except TimeoutError as error:
        raise Unavailable("the sink did not answer in time") from error
    except PolyforgeError as error:
        raise Unavailable(error.message, retry_after=error.retry_after) from error
