"""From an upstream's status and words to the one error tree."""

from typing import Final

from polyforge.dialects.upstream_error import CONTEXT_CODE, UpstreamError
from polyforge.kernel.errors import (
    ModelNotFound,
    PolyforgeError,
    QuotaSpent,
    RateLimited,
    TimedOut,
    Unavailable,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamRefused,
)
from polyforge.ports.provider import KEY_HEADER

QUOTA_SECONDS: Final = 60.0
"""How long to leave an account alone whose credit is used up."""
_CODES: Final = {"context": CONTEXT_CODE, "not_found": ModelNotFound.code}
"""What callers know some refusals by, whatever the provider calls them."""
OVERLOADED: Final = 529
"""Anthropic's status for being too busy."""


def refusal(status: int, said: UpstreamError, retry_after: float | None, *, brought: bool) -> PolyforgeError:
    """What a status other than 200 means; `retry_after` is the header's, `brought`: the caller brought the key."""
    message = said.message or f"the upstream answered with status {status}"
    status = said.status or status
    wait = retry_after if said.retry_after is None else said.retry_after
    if said.cause == "quota" and status in (400, 402, 403, 429):
        return QuotaSpent("the quota at the provider is used up", retry_after=QUOTA_SECONDS)
    if status == 429:  # noqa: PLR2004
        return RateLimited(message, retry_after=wait)
    if status == OVERLOADED or said.cause == "overloaded":
        return Unavailable(message, retry_after=wait)
    if status == 408:  # noqa: PLR2004
        return TimedOut(message)
    denied = status in (401, 403) or said.cause == "denied"
    if denied and brought:
        kept = status if status in (401, 403) else 401
        return UpstreamRefused(f"the provider refused the key in {KEY_HEADER}", status=kept, param=KEY_HEADER)
    if denied:
        return UpstreamDenied("the provider refused our credentials; check its api_key")
    if 400 <= status < 500:  # noqa: PLR2004
        code = _CODES.get(said.cause or "", said.code)
        return UpstreamRefused(message, status=status, param=said.param, code=code)
    return UpstreamFailed(message, retry_after=wait)
