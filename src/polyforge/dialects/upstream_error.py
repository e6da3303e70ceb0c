"""What an upstream says of its refusal, whatever its dialect."""

from typing import Final, Literal

import msgspec

Cause = Literal["rate", "quota", "overloaded", "context", "content", "not_found", "denied"]
"""Too fast, out of credit, too busy, the input is too long for the model, its content is not allowed, no such model, a
bad key (for providers that say so with another status than 401 and 403)."""

CONTEXT_CODE: Final = "context_length_exceeded"
"""The code of our error for an input that is too long for the model."""


class UpstreamError(msgspec.Struct, gc=False):
    """Every field may be missing."""

    message: str = ""
    param: str | None = None
    code: str | None = None
    cause: Cause | None = None
    retry_after: float | None = None
    """Seconds, where the body says it and not a header."""
    status: int | None = None
    """The status that it stands for, where the answer's own says less, or there is none."""
