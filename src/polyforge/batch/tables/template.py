"""Bodies of calls with `{{column}}` in their texts. Values are put in once and never read again. Pure."""

import re
from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from polyforge.kernel.errors import Invalid

_PLACE: Final = re.compile(r"\{\{\s*([^{}]{1,200}?)\s*\}\}")
_DEEPEST: Final = 32
_MOST_PLACES: Final = 200
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


class Template:
    """A body. A text that is one placeholder becomes the value as it is; in others values are text."""

    def __init__(self, text: str) -> None:
        try:
            self._tree: Any = _decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Invalid("body: must be JSON", param="body") from error
        self._places = 0
        self._names: set[str] = set()
        self._look(self._tree, 0)
        if not self._names:
            raise Invalid("body: name at least one column, such as {{text}}", param="body")

    @property
    def columns(self) -> frozenset[str]:
        """What it needs of a row."""
        return frozenset(self._names)

    def fill(self, row: Mapping[str, Any]) -> bytes:
        """The body for a row, as JSON; Invalid where that is no object, or the row lacks a column."""
        body = self._filled(self._tree, row)
        if not isinstance(body, dict):
            raise Invalid("body: must become a JSON object", param="body")
        return _encode(cast(dict[str, Any], body))

    def _look(self, node: Any, depth: int) -> None:
        if depth > _DEEPEST:
            raise Invalid(f"body: goes deeper than {_DEEPEST} levels", param="body")
        if isinstance(node, str):
            found = _PLACE.findall(node)
            self._places += len(found)
            self._names.update(found)
            if self._places > _MOST_PLACES:
                raise Invalid(f"body: has more than {_MOST_PLACES} placeholders", param="body")
        for each in _below(node):
            self._look(each, depth + 1)

    def _filled(self, node: Any, row: Mapping[str, Any]) -> Any:
        if isinstance(node, str):
            return _text(node, row)
        if isinstance(node, list):
            return [self._filled(each, row) for each in cast(list[Any], node)]
        if isinstance(node, dict):
            return {name: self._filled(each, row) for name, each in cast(dict[str, Any], node).items()}
        return node


def _below(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return list(cast(dict[str, Any], node).values())
    return cast(list[Any], node) if isinstance(node, list) else []


def _text(text: str, row: Mapping[str, Any]) -> Any:
    whole = _PLACE.fullmatch(text)
    if whole is not None:
        return _value(whole[1], row)
    return _PLACE.sub(lambda found: _as_text(_value(found[1], row)), text)


def _value(name: str, row: Mapping[str, Any]) -> Any:
    if name not in row:
        raise Invalid(f"there is no column {name!r}", param="body")
    return row[name]


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else _encode(value).decode()
