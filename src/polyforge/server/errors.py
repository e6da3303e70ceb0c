"""The one table of how errors look: one rendering per dialect, chosen by path."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from math import ceil
from typing import Any, Final

import msgspec

from polyforge.dialects import anthropic_errors, openai_errors
from polyforge.kernel.errors import (
    BudgetSpent,
    Faulty,
    InvalidClient,
    InvalidGrant,
    InvalidModelOutput,
    InvalidScope,
    MethodNotAllowed,
    Outdated,
    PolyforgeError,
    RateLimited,
    Unauthenticated,
    Unavailable,
    UnsupportedGrantType,
    UnsupportedTokenType,
)
from polyforge.tenancy.people.tokens.api import OAUTH_PATHS

Headers = list[tuple[bytes, bytes]]


class Rendered(msgspec.Struct, frozen=True, gc=False):
    """An error ready to send."""

    status: int
    headers: Headers
    body: bytes


class _Problem(msgspec.Struct, omit_defaults=True):
    type: str
    title: str
    status: int
    detail: str
    code: str
    param: str | None = None
    request_id: str | None = None
    output: str | None = None
    """What a model said that has not the form it must have, cut off where it is long."""
    problems: Sequence[Mapping[str, Any]] = ()
    """All that is wrong with a flow."""
    current: Mapping[str, Any] | None = None
    """What was changed since the caller saw it."""


_encode: Final = msgspec.json.Encoder().encode
_SERVER_ERRORS: Final = 500
_LONGEST_OUTPUT: Final = 2_000
ANTHROPIC_PATHS: Final = ("/v1/messages", "/v1/messages/count_tokens")
_OAUTH_CHARACTERS: Final = frozenset(map(chr, range(0x20, 0x7F))) - {'"', "\\"}
_BASIC: Final = (b"www-authenticate", b'Basic realm="polyforge"')
OPAQUE: Final = "something went wrong on our side; the request id tells us where"


def opaque() -> PolyforgeError:
    """What a caller learns of an unexpected failure."""
    return PolyforgeError(OPAQUE)


def render_openai(error: PolyforgeError, request_id: str) -> Rendered:
    """OpenAI's envelope."""
    headers = error_headers(error, b"application/json", request_id)
    return Rendered(openai_errors.status_of(error), headers, openai_errors.encode_error(error))


def render_anthropic(error: PolyforgeError, request_id: str) -> Rendered:
    """Anthropic's envelope, with the header in which its clients look for the request's id."""
    headers = [*error_headers(error, b"application/json", request_id), (b"request-id", request_id.encode())]
    return Rendered(error.status, headers, anthropic_errors.encode_error(error, request_id))


def render_problem(error: PolyforgeError, request_id: str) -> Rendered:
    """RFC 9457 problem details, on the platform's own paths."""
    problem = _Problem(
        type="about:blank",
        title=_title(error.status),
        status=error.status,
        detail=error.message,
        code=error.code,
        param=error.param,
        request_id=request_id,
        output=error.output[:_LONGEST_OUTPUT] if isinstance(error, InvalidModelOutput) else None,
        problems=error.problems if isinstance(error, Faulty) else (),
        current=error.current if isinstance(error, Outdated) else None,
    )
    return Rendered(error.status, error_headers(error, b"application/problem+json", request_id), _encode(problem))


def render_oauth(error: PolyforgeError, request_id: str) -> Rendered:
    """OAuth 2's errors (RFC 6749 section 5.2), where its clients look for them."""
    body = _encode({"error": _oauth_code(error), "error_description": _oauth_text(error.message)})
    headers = error_headers(error, b"application/json", request_id)
    if isinstance(error, Unauthenticated):
        headers = [*(pair for pair in headers if pair[0] != b"www-authenticate"), _BASIC]
    headers.append((b"cache-control", b"no-store"))
    return Rendered(error.status, headers, body)


def _oauth_code(error: PolyforgeError) -> str:
    if isinstance(error, InvalidClient | InvalidGrant | InvalidScope | UnsupportedGrantType | UnsupportedTokenType):
        return error.code
    if isinstance(error, RateLimited | Unavailable):
        return "temporarily_unavailable"
    return "server_error" if error.status >= _SERVER_ERRORS else "invalid_request"


def _oauth_text(message: str) -> str:
    """Only the characters that the standard allows."""
    return "".join(character if character in _OAUTH_CHARACTERS else "'" for character in message)


def renderer_for(path: str) -> Callable[[PolyforgeError, str], Rendered]:
    """How errors look on a path."""
    if path in OAUTH_PATHS:
        return render_oauth
    if path in ANTHROPIC_PATHS:
        return render_anthropic
    return render_openai if path.startswith("/v1/") or path == "/v1" else render_problem


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def error_headers(error: PolyforgeError, content_type: bytes, request_id: str) -> Headers:
    """What every dialect says of an error in headers: whose it is, and when or how to try again."""
    headers = [(b"content-type", content_type), (b"x-request-id", request_id.encode())]
    wait = error.retry_after
    if wait is None and isinstance(error, Unavailable):
        wait = 1.0
    if wait is not None:
        headers.append((b"retry-after", b"%d" % max(1, ceil(wait))))
        if isinstance(error, RateLimited | Unavailable):
            headers.append((b"retry-after-ms", b"%d" % max(1, ceil(wait * 1000))))
    if isinstance(error, BudgetSpent):
        headers.append((b"x-should-retry", b"false"))
    if isinstance(error, Unauthenticated):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allowed.encode()))
    return headers
