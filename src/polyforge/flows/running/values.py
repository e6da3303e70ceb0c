"""Values as they go along links: what a conversion makes of one, and whether one is of a type."""

from typing import Any, Final, cast

import msgspec

from polyforge.flows.canonical import canonical_json
from polyforge.flows.document import Json
from polyforge.flows.porttypes import PortType, literal_fits
from polyforge.kernel.errors import Invalid

OBJECT: Final = "$object"
_HANDLES: Final = frozenset({"document", "image", "audio", "table", "chunks", "embedding"})


def converted(name: str | None, value: Json, wanted: PortType) -> Json:
    """A value after a conversion, but for those that need the object store; Invalid where it does not fit."""
    match name:
        case None | "to_json":
            return value
        case "number_to_text":
            return canonical_json(value).decode()
        case "bool_to_text":
            return "true" if value else "false"
        case "json_to_text":
            return msgspec.json.encode(value).decode()
        case "text_to_messages":
            return [{"role": "user", "content": value}]
        case "chunks_to_text":
            return _passages(value)
        case "to_list":
            return [value]
        case "check":
            return _checked(value, wanted)
        case _:
            raise Invalid(f"there is no conversion {name!r}")


def value_fits(value: Json, kind: PortType) -> bool:
    """Whether a value of a run is of a type; what is too large for JSON may be there by reference."""
    match kind.kind:
        case "list":
            if not isinstance(value, list):
                return False
            return kind.item is None or all(value_fits(each, kind.item) for each in cast("list[Json]", value))
        case "record":
            return isinstance(value, dict) and _record_fits(cast("dict[str, Json]", value), kind)
        case handle if handle in _HANDLES:
            return is_object(value) or literal_fits(value, kind)
        case _:
            return literal_fits(value, kind)


def is_object(value: Json) -> bool:
    """Whether a value says where something lies in the object store."""
    return isinstance(value, dict) and isinstance(cast("dict[str, Any]", value).get(OBJECT), str)


def _record_fits(value: dict[str, Json], kind: PortType) -> bool:
    return all(
        value_fits(value[field.name], field.type) if field.name in value else not field.required
        for field in kind.fields
    )


def _checked(value: Json, wanted: PortType) -> Json:
    if not value_fits(value, wanted):
        raise Invalid(f"what came is no {wanted}; look at the node that it comes from")
    return value


def _passages(value: Json) -> str:
    if not isinstance(value, list):
        raise Invalid("the passages lie elsewhere; take them apart with a node first")
    found = cast("list[Any]", value)
    return "\n\n".join(_passage(each) for each in found)


def _passage(chunk: Any) -> str:
    return str(cast("dict[str, Any]", chunk).get("text", "")) if isinstance(chunk, dict) else str(chunk)
