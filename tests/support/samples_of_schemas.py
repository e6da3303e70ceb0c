"""The smallest body that an OpenAPI schema accepts, so that a test can call any route and be judged by who it is."""

from collections.abc import Mapping
from typing import Any, cast

Json = Any
BY_FORMAT = {"email": "someone@example.com", "date-time": "2030-01-01T00:00:00Z", "uri": "https://example.com/"}


def smallest(schema: Mapping[str, Any], components: Mapping[str, Any]) -> Json:
    """A value that the schema accepts, with no field that may be left out."""
    if "$ref" in schema:
        return smallest(components[str(schema["$ref"]).rpartition("/")[2]], components)
    for choice in ("const", "default"):
        if choice in schema:
            return schema[choice]
    if "enum" in schema:
        return schema["enum"][0]
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return smallest(schema[several][0], components)
    return _of_type(schema, components)


def _of_type(schema: Mapping[str, Any], components: Mapping[str, Any]) -> Json:
    kind = schema.get("type", "object")
    if kind == "object":
        properties = cast(dict[str, Any], schema.get("properties", {}))
        return {name: smallest(properties[name], components) for name in schema.get("required", [])}
    if kind == "array":
        return [smallest(schema["items"], components)] * int(schema.get("minItems", 0))
    if kind == "string":
        return BY_FORMAT.get(schema.get("format", ""), "a" * max(1, int(schema.get("minLength", 1))))
    if kind in ("integer", "number"):
        return max(0, schema.get("minimum", 0), schema.get("exclusiveMinimum", -1) + 1)
    return False
