"""OpenAI's error envelope, and what a validation failure says in it."""

import re
from typing import Final, cast

import msgspec

from polyforge.dialects.upstream_error import CONTEXT_CODE, Cause, UpstreamError
from polyforge.kernel.errors import BudgetSpent, Invalid, PolyforgeError

_PATH = re.compile(r" - at `(?:key in )?\$\.?(?P<path>[^`]*)`$")
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<field>[^`]+)`")
_MISSING = re.compile(r"missing required field `(?P<field>[^`]+)`")
_TOO_LONG = re.compile(
    r"maximum (?:context|model|prompt) length|exceeds? the (?:context window|available context size)"
    r"|input tokens exceed|`inputs` (?:tokens \+|must have less)",
    re.IGNORECASE,
)
"""What servers say of an input that is too long, where their error has no code for it: vLLM, llama.cpp, TGI."""
_OVERFLOW: Final = "Input tokens exceed the configured limit"
"""OpenAI's words for it, by which frameworks know it: they shorten the conversation then and ask again."""


class _Body(msgspec.Struct, gc=False):
    message: str
    type: str
    param: str | None
    code: str | None


class _Envelope(msgspec.Struct, gc=False):
    error: _Body


_LONGEST_MESSAGE = 2000
_CAUSES: dict[str, Cause] = {
    "insufficient_quota": "quota",
    "rate_limit_exceeded": "rate",
    CONTEXT_CODE: "context",
    "exceed_context_size_error": "context",
    "content_filter": "content",
    "content_policy_violation": "content",
    "model_not_found": "not_found",
    "NotFoundError": "not_found",
    "DeploymentNotFound": "not_found",
}
_encode = msgspec.json.Encoder().encode


def explain_validation(error: Exception) -> Invalid:
    """The 400 for a body that does not decode; `param` is the path of the field, as in `messages[0].role`."""
    if isinstance(error, RecursionError):
        return Invalid("the JSON is nested too deeply")
    if isinstance(error, UnicodeDecodeError):
        return Invalid("the body is not valid UTF-8")
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return Invalid(f"the body is not valid JSON: {text}")
    path = ""
    if located := _PATH.search(text):
        path = located["path"]
        text = text[: located.start()]
    if missing := _MISSING.search(text):
        path = f"{path}.{missing['field']}" if path else missing["field"]
    if unknown := _UNKNOWN.search(text):
        path = f"{path}.{unknown['field']}" if path else unknown["field"]
        text = "there is no such field"
    if not path:
        return Invalid(f"the body must be a JSON object: {text}")
    return Invalid(f"{path}: {text}", param=path)


def encode_error(error: PolyforgeError) -> bytes:
    """The error as OpenAI's clients read it."""
    message = error.message
    if error.code == CONTEXT_CODE and _OVERFLOW not in message:
        message = f"{_OVERFLOW}: {message}"
    return _encode(_Envelope(_Body(message, error.kind, error.param, error.code)))


def status_of(error: PolyforgeError) -> int:
    """Its HTTP status in this dialect, where a spent budget is a 429 as at OpenAI."""
    return 429 if isinstance(error, BudgetSpent) else error.status


def decode_error(body: bytes) -> UpstreamError:
    """The error in an upstream's body, as far as it is one."""
    try:
        content: object = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return UpstreamError()
    error: object = content.get("error", content) if isinstance(content, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if isinstance(error, str):
        return UpstreamError(error[:_LONGEST_MESSAGE])
    if not isinstance(error, dict):
        return UpstreamError()
    fields = cast(dict[str, object], error)
    code, message = _text(fields, "code") or _text(fields, "type"), _text(fields, "message") or ""
    cause = _CAUSES.get(code or "") or ("context" if _TOO_LONG.search(message) else None)
    return UpstreamError(message, _text(fields, "param"), code, cause)


def _text(fields: dict[str, object], name: str) -> str | None:
    value = fields.get(name)
    return value[:_LONGEST_MESSAGE] if isinstance(value, str) else None
