"""Fields of a JSON body replaced, while every other value stays the bytes it came as."""

import re
from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from polyforge.dialects.bodies import read_fields

_ESCAPED_NAME: Final = re.compile(rb'\\[^"\\]*"\s*:')
_MOST_LOOKED_FOR: Final = 40
_encode: Final = msgspec.json.Encoder().encode


def with_fields(body: bytes, changes: Mapping[str, msgspec.Raw], without: Collection[str] = ()) -> bytes:
    """The body with these fields, and without those; the same bytes when nothing is to be changed.

    But a field that stands twice is sent once, as we read it, so that the upstream cannot understand another request
    than the one that was admitted.
    """
    fields = read_fields(body)
    kept = all(fields.get(name) == value for name, value in changes.items()) and not any(
        name in fields for name in without
    )
    if kept and stands_once(fields, body):
        return body
    fields |= changes
    for name in without:
        fields.pop(name, None)
    return _encode(fields)


def stands_once(fields: Collection[str], body: bytes) -> bool:
    """Whether no field can stand twice; true only where that is certain."""
    if len(fields) > _MOST_LOOKED_FOR or _ESCAPED_NAME.search(body):
        return False
    return all(body.count(_encode(field)) == 1 for field in fields)
