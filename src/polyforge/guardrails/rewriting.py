"""Texts replaced where they stand in a body, whatever its dialect; every other value stays as it is."""

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


def with_texts(body: bytes, changes: Mapping[str, str]) -> bytes:
    """A JSON body in which strings that are keys of `changes` are their values; names of fields stay."""
    return _encode(_changed(_decode(body), changes))


def _changed(value: Any, changes: Mapping[str, str]) -> Any:
    """RecursionError is no concern: decoding refuses what is nested too deeply."""
    if isinstance(value, str):
        return changes.get(value, value)
    if isinstance(value, list):
        return [_changed(item, changes) for item in cast(list[Any], value)]
    if isinstance(value, dict):
        return {name: _changed(item, changes) for name, item in cast(dict[str, Any], value).items()}
    return value
