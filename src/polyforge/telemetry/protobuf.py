"""Messages of OpenTelemetry's protocol: the few parts of protobuf that they need.

Sources: https://protobuf.dev/programming-guides/encoding/,
https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/common/v1/common.proto
"""

from functools import lru_cache
from typing import Final

Attribute = str | int | bool

LONGEST_TEXT: Final = 256
"""Characters of a text; what is beyond is left out."""
_ONE_BYTE = tuple(bytes((value,)) for value in range(256))
_VARINT_STEP = 0x80


def varint(value: int) -> bytes:
    """Variable-length integer."""
    if value < _VARINT_STEP:
        return _ONE_BYTE[value]
    return _ONE_BYTE[value & 0x7F | _VARINT_STEP] + varint(value >> 7)


def nested(field: int, payload: bytes) -> bytes:
    """A field that holds bytes: a text, or another message."""
    return _ONE_BYTE[field << 3 | 2] + varint(len(payload)) + payload


def number(field: int, value: int) -> bytes:
    """A field that holds an integer; negative ones as their two's complement."""
    return _ONE_BYTE[field << 3] + varint(value & 0xFFFF_FFFF_FFFF_FFFF)


@lru_cache(maxsize=128)
def _key(key: str) -> bytes:
    return nested(1, key.encode())


def attribute(field: int, key: str, value: Attribute) -> bytes:
    """A field that holds a KeyValue."""
    if isinstance(value, str):
        content = nested(1, value[:LONGEST_TEXT].encode("utf-8", "replace"))
    else:
        content = number(2 if isinstance(value, bool) else 3, value)
    return nested(field, _key(key) + nested(2, content))
