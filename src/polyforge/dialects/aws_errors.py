"""The errors of AWS's services, in the answers of their REST-JSON protocols and as exceptions in their event streams.

Source: https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html#operation-error-serialization
"""

import re
from typing import Final

import msgspec

from polyforge.dialects.openai_errors import decode_error as decode_openai_error
from polyforge.dialects.upstream_error import Cause, UpstreamError

TYPE_HEADER: Final = "x-amzn-errortype"
"""Names the error, except where the body does."""
_LONGEST_MESSAGE: Final = 2000
_UNKNOWN: Final = (None, None)
_KINDS: Final[dict[str, tuple[int | None, Cause | None]]] = {
    "throttling": (429, "rate"),
    "toomanyrequests": (429, "rate"),
    "servicequotaexceeded": (429, "quota"),
    "modelnotready": (503, "overloaded"),
    "serviceunavailable": (503, "overloaded"),
    "modeltimeout": (408, None),
    "model": (502, None),
    "modelstream": (502, None),
    "internalserver": (500, None),
    "internalstreamfailure": (500, None),
    "accessdenied": (403, "denied"),
    "expiredtoken": (403, "denied"),
    "incompletesignature": (403, "denied"),
    "invalidsignature": (403, "denied"),
    "missingauthenticationtoken": (403, "denied"),
    "unrecognizedclient": (403, "denied"),
    "resourcenotfound": (404, "not_found"),
    "validation": (400, None),
}
"""What an error means, by its name without `Exception` or `Error`."""
_TOO_LONG: Final = re.compile(
    r"(?:input|prompt) is too long|maximum context length|context window|too many (?:input )?tokens(?! per)"
    r"|input tokens? (?:count )?exceed",
    re.IGNORECASE,
)
_NO_MODEL: Final = re.compile(
    r"provided model identifier is invalid|^(?:endpoint|inference component) .{1,200} not found", re.IGNORECASE
)
_PER_DAY: Final = re.compile(r"tokens per day", re.IGNORECASE)


class _Body(msgspec.Struct, gc=False):
    kind: str | None = msgspec.field(default=None, name="__type")
    message: str | None = None
    upper_message: str | None = msgspec.field(default=None, name="Message")
    original_status: int | None = msgspec.field(default=None, name="OriginalStatusCode")
    original_message: str | None = msgspec.field(default=None, name="OriginalMessage")


_body: Final = msgspec.json.Decoder(_Body)


def decode_error(body: bytes, kind: str | None = None) -> UpstreamError:
    """The error in a body, as far as it is one; `kind` is its name where the body does not tell it."""
    try:
        wire = _body.decode(body)
    except (ValueError, RecursionError):
        wire = _Body()
    name = (wire.kind or kind or "").rpartition("#")[2].partition(":")[0][:200]
    message = (wire.message or wire.upper_message or "")[:_LONGEST_MESSAGE]
    if wire.original_status is not None and 400 <= wire.original_status < 500:  # noqa: PLR2004
        return _of_the_model(wire.original_status, wire.original_message or message)
    status, cause = _meaning(name, message)
    return UpstreamError(message, code=name or None, cause=cause, status=status)


def _meaning(name: str, message: str) -> tuple[int | None, Cause | None]:
    short = name.lower().removesuffix("exception").removesuffix("error")
    if short == "validation" and _TOO_LONG.search(message):
        return 400, "context"
    if short == "validation" and _NO_MODEL.search(message):
        return 404, "not_found"
    if short == "throttling" and _PER_DAY.search(message):
        return 429, "quota"
    return _KINDS.get(short, _UNKNOWN)


def _of_the_model(status: int, message: str) -> UpstreamError:
    """What a container behind SageMaker said itself, often in OpenAI's envelope."""
    said = decode_openai_error(message.encode("utf-8", "replace"))
    said.message = said.message or message[:_LONGEST_MESSAGE]
    said.status = status
    return said
