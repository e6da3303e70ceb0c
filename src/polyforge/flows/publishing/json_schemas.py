"""What goes into a flow and what comes out, as JSON schemas (2020-12)."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from polyforge.flows.document import Declared, Interface, Promised
from polyforge.flows.porttypes import PortType, parse_type

Schema = dict[str, Any]
TYPE_KEYWORD: Final = "x-flow-type"
"""A keyword of ours: the type as flows write it."""
_OBJECT: Final[Schema] = {
    "type": "object",
    "properties": {"$object": {"type": "string", "description": "Where it lies."}},
    "required": ["$object"],
}
_REFERENCE: Final[Schema] = {
    "type": "object",
    "properties": {"$ref": {"type": "string", "pattern": "^model:."}},
    "required": ["$ref"],
}
_MESSAGE: Final[Schema] = {
    "type": "object",
    "properties": {"role": {"type": "string"}, "content": {}},
    "required": ["role", "content"],
}
_LISTS: Final[Mapping[str, Schema]] = {
    "messages": _MESSAGE,
    "chunks": {"type": "object"},
    "table": {"type": "object"},
    "embedding": {"type": "number"},
}
_PLAIN: Final = {"text": "string", "number": "number", "bool": "boolean"}


def schema_of_type(kind: PortType) -> Schema:
    """The values of a type."""
    match kind.kind:
        case "text" | "number" | "bool":
            return {"type": _PLAIN[kind.kind]}
        case "list":
            return {"type": "array", **({} if kind.item is None else {"items": schema_of_type(kind.item)})}
        case "record":
            return _record(kind)
        case "messages":
            return {"type": "array", "items": _MESSAGE}
        case "chunks" | "table" | "embedding":
            return {"anyOf": [{"type": "array", "items": _LISTS[kind.kind]}, _OBJECT]}
        case "document" | "image" | "audio":
            return dict(_OBJECT)
        case "model":
            return dict(_REFERENCE)
        case _:
            return {}


def inputs_schema(interface: Interface) -> Schema:
    """What a run may be given."""
    return {
        "type": "object",
        "properties": {name: _declared(each) for name, each in interface.inputs.items()},
        "required": [name for name, each in interface.inputs.items() if must_be_given(each)],
        "additionalProperties": False,
    }


def outputs_schema(interface: Interface) -> Schema:
    """What a run gives. An output that was skipped is left out, so none must be there."""
    return {"type": "object", "properties": {name: _promised(each) for name, each in interface.outputs.items()}}


def must_be_given(declared: Declared) -> bool:
    """Whether a run cannot begin without an input."""
    return declared.required and declared.default is msgspec.UNSET


def _declared(each: Declared) -> Schema:
    default = {} if each.default is msgspec.UNSET else {"default": each.default}
    return {**_promised(each), **default}


def _promised(each: Declared | Promised) -> Schema:
    said = {"title": each.title, "description": each.description}
    known = {name: text for name, text in said.items() if text is not None}
    return {**known, **schema_of_type(parse_type(each.type)), TYPE_KEYWORD: each.type}


def _record(kind: PortType) -> Schema:
    return {
        "type": "object",
        "properties": {field.name: schema_of_type(field.type) for field in kind.fields},
        "required": [field.name for field in kind.fields if field.required],
    }
