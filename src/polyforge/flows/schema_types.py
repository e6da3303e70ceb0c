"""The type of what fits a JSON schema, as far as links can use it."""

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from polyforge.flows.porttypes import BOOL, JSON, MAX_FIELDS, MAX_NESTED, NUMBER, TEXT, PortType, list_of, record_of

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_PLAIN: Final = {"string": TEXT, "number": NUMBER, "integer": NUMBER, "boolean": BOOL}


def type_of_schema(schema: object, depth: int = 0) -> PortType:
    """The type; what cannot be told is JSON."""
    if not isinstance(schema, dict) or depth >= MAX_NESTED:
        return JSON
    said = cast("Mapping[str, Any]", schema)
    kind: object = said.get("type")
    if isinstance(kind, str) and kind in _PLAIN:
        return _PLAIN[kind]
    if kind == "array":
        return list_of(type_of_schema(said.get("items"), depth + 1))
    properties: object = said.get("properties")
    return _record(said, cast("Mapping[str, Any]", properties), depth) if isinstance(properties, dict) else JSON


def _record(schema: Mapping[str, Any], properties: Mapping[str, Any], depth: int) -> PortType:
    if len(properties) > MAX_FIELDS or not all(map(_NAME.fullmatch, properties)):
        return JSON
    listed: object = schema.get("required")
    needed = cast("list[object]", listed) if isinstance(listed, list) else []
    types = {name: type_of_schema(inner, depth + 1) for name, inner in properties.items()}
    return record_of(
        {name: each for name, each in types.items() if name in needed},
        {name: each for name, each in types.items() if name not in needed},
    )
