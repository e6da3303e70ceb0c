"""Anthropic's error envelope. Source: https://docs.claude.com/en/api/errors."""

import re
from typing import Final, cast

import msgspec

from polyforge.dialects.upstream_error import CONTEXT_CODE, Cause, UpstreamError
from polyforge.kernel.errors import PolyforgeError, RateLimited, Unavailable, UpstreamFailed

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""What Anthropic calls the error of a status."""
_CAUSES: Final[dict[str, Cause]] = {
    "rate_limit_error": "rate",
    "overloaded_error": "overloaded",
    "billing_error": "quota",
    "not_found_error": "not_found",
}
_OVERFLOW: Final = "prompt is too long"
"""Anthropic's words for an input that is too long, by which clients know it: there is no code."""
_TOLD: Final[tuple[tuple[str, Cause], ...]] = (
    (_OVERFLOW, "context"),
    ("exceed context limit", "context"),
    ("credit balance is too low", "quota"),
    ("spend limit", "quota"),
    ("usage limits", "quota"),
    ("content filtering policy", "content"),
)
"""What only the words tell."""
_PARAM: Final = re.compile(r"(?P<path>[a-z_][a-z0-9_.]{0,200}): ")
_LONGEST_MESSAGE: Final = 2000
_BROKE_OFF: Final = "the upstream broke off with an error"
_SERVER_ERRORS: Final = 500
_encode: Final = msgspec.json.Encoder().encode


def encode_error(error: PolyforgeError, request_id: str) -> bytes:
    """The error as Anthropic's clients read it."""
    message = error.message
    if error.code == CONTEXT_CODE and _OVERFLOW not in message:
        message = f"{_OVERFLOW}: {message}"
    written = {"type": "error", "error": {"type": type_of(error), "message": message}, "request_id": request_id}
    return _encode(written)


def type_of(error: PolyforgeError) -> str:
    """Anthropic's name for it."""
    kind = _TYPES.get(error.status)
    if kind is None:
        kind = "api_error" if error.status >= _SERVER_ERRORS else "invalid_request_error"
    return kind


def late_error(body: bytes) -> bytes:
    """The event that ends a stream which has begun, from the body of an error."""
    return b"event: error\ndata: " + body + b"\n\n"


def decode_error(body: bytes) -> UpstreamError:
    """The error in an upstream's body, as far as it is one."""
    try:
        content: object = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return UpstreamError()
    error: object = content.get("error") if isinstance(content, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if not isinstance(error, dict):
        return UpstreamError()
    fields = cast(dict[str, object], error)
    kind, message = _text(fields, "type"), _text(fields, "message") or ""
    located = _PARAM.match(message)
    return UpstreamError(message, located["path"] if located else None, kind, _cause(kind, message))


def broken_off(data: bytes) -> PolyforgeError:
    """What an `error` event in the middle of a stream means."""
    said = decode_error(data)
    message = said.message or _BROKE_OFF
    if said.cause == "overloaded":
        return Unavailable(message)
    return RateLimited(message) if said.cause == "rate" else UpstreamFailed(message)


def _cause(kind: str | None, message: str) -> Cause | None:
    lowered = message.lower()
    for words, cause in _TOLD:
        if words in lowered:
            return cause
    return _CAUSES.get(kind or "")


def _text(fields: dict[str, object], name: str) -> str | None:
    value = fields.get(name)
    return value[:_LONGEST_MESSAGE] if isinstance(value, str) else None
