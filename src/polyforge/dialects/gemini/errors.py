"""Google's error envelope: a google.rpc.Status.

Source: https://google.aip.dev/193 and google/rpc/error_details.proto.
"""

import re
from typing import Final

import msgspec

from polyforge.dialects.upstream_error import Cause, UpstreamError

_LONGEST_MESSAGE: Final = 2000
_LONGEST_WAIT: Final = 86_400.0
_TOO_LONG: Final = re.compile(r"input token count.{0,100}?(?:exceeds|only supports)", re.IGNORECASE | re.DOTALL)
_SPENT: Final = re.compile(r"credits? (?:are|is) depleted|spend(?:ing)? cap|limit: 0\b", re.IGNORECASE)
_SECONDS: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")
_CAUSES: Final[dict[str, Cause]] = {"UNAVAILABLE": "overloaded", "NOT_FOUND": "not_found"}
_BAD_KEYS: Final = frozenset({"API_KEY_INVALID", "API_KEY_EXPIRED", "API_KEY_SERVICE_BLOCKED"})


class _Violation(msgspec.Struct, rename="camel"):
    quota_id: str | None = None


class _Detail(msgspec.Struct, rename="camel"):
    reason: str | None = None
    metadata: dict[str, str] | None = None
    retry_delay: str | None = None
    violations: list[_Violation] | None = None


class _Status(msgspec.Struct):
    message: str | None = None
    status: str | None = None
    details: list[msgspec.Raw] | None = None


class _Envelope(msgspec.Struct):
    error: _Status


_envelope: Final = msgspec.json.Decoder(_Envelope)
_list: Final = msgspec.json.Decoder(list[_Envelope])
_detail: Final = msgspec.json.Decoder(_Detail)


def decode_error(body: bytes) -> UpstreamError:
    """The error in an upstream's body, as far as it is one; `retry_after` is the RetryInfo's."""
    try:
        status = _list.decode(body)[0].error if body.lstrip().startswith(b"[") else _envelope.decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, IndexError):
        return UpstreamError()
    details = _read_details(status.details or [])
    message = status.message or ""
    return UpstreamError(
        message[:_LONGEST_MESSAGE],
        code=status.status.lower()[:100] if status.status else None,
        cause=_cause(status.status or "", message, details),
        retry_after=next((wait for detail in details if (wait := _wait(detail)) is not None), None),
    )


def _read_details(raws: list[msgspec.Raw]) -> list[_Detail]:
    """The details that can be read; there are many kinds, and what is of no use here may have any form."""
    details: list[_Detail] = []
    for raw in raws[:20]:
        try:
            details.append(_detail.decode(raw))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return details


def _cause(status: str, message: str, details: list[_Detail]) -> Cause | None:
    if any(detail.reason in _BAD_KEYS for detail in details):
        return "denied"
    if status == "RESOURCE_EXHAUSTED":
        return "quota" if _is_spent(message, details) else "rate"
    if status == "INVALID_ARGUMENT" and _TOO_LONG.search(message):
        return "context"
    return _CAUSES.get(status)


def _is_spent(message: str, details: list[_Detail]) -> bool:
    """Whether it is no rate that was too high: the quota of a day is used up, or the money."""
    names = [violation.quota_id or "" for detail in details for violation in detail.violations or ()]
    names += [(detail.metadata or {}).get("quota_limit", "") for detail in details]
    return any("PerDay" in name for name in names) or _SPENT.search(message) is not None


def _wait(detail: _Detail) -> float | None:
    found = _SECONDS.fullmatch(detail.retry_delay or "")
    return min(_LONGEST_WAIT, float(found[1])) if found else None
