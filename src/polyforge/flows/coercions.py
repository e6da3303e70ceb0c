"""Conversions that a link may name, so that a reader and a comparison see them; nothing is converted silently."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from polyforge.flows.porttypes import ANY, JSON, KINDS, TEXT, PortType, assignable, is_json, list_of

_MADE_OF_JSON: Final = ("messages", "chunks", "embedding", "table")


class Coercion(msgspec.Struct, frozen=True):
    """One conversion. `sources` and `targets` say in words between which types it leads; `applies` decides."""

    name: str
    title: str
    sources: str
    targets: str
    applies: Callable[[PortType, PortType], bool]


def _between(source: str, target: str) -> Callable[[PortType, PortType], bool]:
    return lambda given, wanted: given.kind == source and wanted.kind == target


def _json_to_text(given: PortType, wanted: PortType) -> bool:
    return given.kind in ("json", "list", "record") and is_json(given) and wanted == TEXT


def _to_list(given: PortType, wanted: PortType) -> bool:
    return wanted.item is not None and wanted.item != ANY and assignable(given, wanted.item)


def _to_json(given: PortType, wanted: PortType) -> bool:
    return given.kind in _MADE_OF_JSON and wanted.kind == "json"


def _checked(given: PortType, wanted: PortType) -> bool:
    return given == ANY or (given == JSON and KINDS[wanted.kind].json) or _looser(given, wanted)


def _looser(given: PortType, wanted: PortType) -> bool:
    """Whether the types differ only in what lists and records hold, so that a look at the value decides."""
    return given.kind == wanted.kind and given.kind in ("list", "record")


_LISTED: Final = (
    Coercion("number_to_text", "Write the number", "number", "text", _between("number", "text")),
    Coercion("bool_to_text", "Write true or false", "bool", "text", _between("bool", "text")),
    Coercion("json_to_text", "Write it as JSON", "json, list, record", "text", _json_to_text),
    Coercion("text_to_messages", "One message of the user", "text", "messages", _between("text", "messages")),
    Coercion("text_to_document", "A document of plain text", "text", "document", _between("text", "document")),
    Coercion("chunks_to_text", "The passages, one after the other", "chunks", "text", _between("chunks", "text")),
    Coercion("to_json", "The same as JSON", ", ".join(_MADE_OF_JSON), "json", _to_json),
    Coercion("to_list", "A list of one", "T", "list<T>", _to_list),
    Coercion("check", "Look when it runs; fail where it does not fit", "any, json, list, record", "T", _checked),
)
COERCIONS: Final[Mapping[str, Coercion]] = {each.name: each for each in _LISTED}


def coercion_for(source: PortType, target: PortType) -> str | None:
    """The conversion that leads from one type to another, the surest first; None where there is none."""
    return next((each.name for each in _LISTED if each.applies(source, target)), None)


def coercion_applies(name: str, source: PortType, target: PortType) -> bool:
    """Whether a conversion leads from one type to another that would not take it as it is."""
    found = COERCIONS.get(name)
    return found is not None and not assignable(source, target) and found.applies(source, target)


def lattice() -> dict[str, Any]:
    """The kinds and conversions as JSON, for whoever checks links elsewhere."""
    return {
        "kinds": {
            name: {"title": kind.title, "description": kind.description, "above": list(kind.above), "json": kind.json}
            for name, kind in KINDS.items()
        },
        "coercions": [
            {"name": each.name, "title": each.title, "from": each.sources, "to": each.targets} for each in _LISTED
        ],
        "examples": [_example(source, target) for source in _EXAMPLES for target in _EXAMPLES],
    }


_EXAMPLES: Final = (*(PortType(name) for name in KINDS if name not in ("list", "record")), list_of(TEXT), list_of(ANY))


def _example(source: PortType, target: PortType) -> dict[str, Any]:
    """What is true of two types, so that another implementation can be tried against this one."""
    fits = assignable(source, target)
    return {
        "from": str(source),
        "to": str(target),
        "fits": fits,
        "coercion": None if fits else coercion_for(source, target),
    }
