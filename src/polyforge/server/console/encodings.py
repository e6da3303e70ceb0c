"""Which of the stored encodings of a file a caller takes: `Accept-Encoding` as RFC 9110 section 12.5.3 reads it."""

from collections.abc import Collection
from typing import Final

IDENTITY: Final = "identity"
_PREFERRED: Final = ("br", "gzip", IDENTITY)
"""The smallest first, for callers to whom all are alike."""
_MOST: Final = 32


def choose_encoding(accepted: bytes | None, stored: Collection[str]) -> str:
    """The one to send of `stored`; what is stored as it is when nothing else will do."""
    if accepted is None:
        return IDENTITY
    weights = _weights(accepted)
    anything = weights.get("*", 0.0)
    best, highest = IDENTITY, 0.0
    for name in _PREFERRED:
        weight = weights.get(name, anything if name != IDENTITY else 0.0)
        if name in stored and weight > highest:
            best, highest = name, weight
    return best


def _weights(accepted: bytes) -> dict[str, float]:
    """How much each encoding is liked, from 0 to 1; what cannot be read is not liked."""
    weights: dict[str, float] = {}
    for part in accepted.decode("latin-1").lower().split(",", _MOST)[:_MOST]:
        name, *parameters = (piece.strip() for piece in part.split(";"))
        weights[name.replace("x-gzip", "gzip")] = _weight(parameters)
    return weights


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return _number(value.strip())
    return 1.0


def _number(text: str) -> float:
    whole, _, fraction = text.partition(".")
    if whole not in ("0", "1") or not (fraction == "" or fraction.isdecimal()) or not text.isascii():
        return 0.0
    return min(float(text), 1.0)
