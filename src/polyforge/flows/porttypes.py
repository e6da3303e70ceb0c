"""What goes through links: a small lattice of types, how they are written, and which fits where.

`any` is above everything; `json` is above text, number, bool, and lists and records of such; the rest are handles of
what is too large or too special for JSON. The lattice is data, so that the console asks the same table as the server.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, cast

import msgspec

MAX_WRITTEN: Final = 4_000
MAX_NESTED: Final = 8
MAX_FIELDS: Final = 100
_TOKEN: Final = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]{0,63}|[<>{}:,?])")


class Kind(msgspec.Struct, frozen=True):
    """A kind of type. `above`: the kinds that take it as it is; `json`: whether its values are plain JSON."""

    title: str
    description: str
    above: tuple[str, ...] = ("any",)
    json: bool = False


KINDS: Final[Mapping[str, Kind]] = {
    "any": Kind("Anything", "A value of any type; what takes one cannot rely on anything.", ()),
    "json": Kind("JSON", "Any JSON value.", ("any",), json=True),
    "text": Kind("Text", "Unicode text.", ("json", "any"), json=True),
    "number": Kind("Number", "A number.", ("json", "any"), json=True),
    "bool": Kind("Yes or no", "True or false.", ("json", "any"), json=True),
    "list": Kind("List", "Values of one type in order: `list<text>`.", ("json", "any"), json=True),
    "record": Kind(
        "Record", "Named values: `record{name: text, age?: number}`; `?` marks what may be absent.", ("json", "any"),
        json=True,
    ),
    "document": Kind("Document", "A file with text in it, kept as an object."),
    "chunks": Kind("Chunks", "Passages of documents with where they come from."),
    "embedding": Kind("Embedding", "A vector that stands for a meaning."),
    "table": Kind("Table", "Rows with named columns, kept as an object."),
    "model": Kind("Model", "A model by its name."),
    "image": Kind("Image", "A picture, kept as an object."),
    "audio": Kind("Audio", "A recording, kept as an object."),
    "messages": Kind("Messages", "A conversation: messages with a role and content."),
}  # fmt: skip


class PortType(msgspec.Struct, frozen=True):
    """A type: a kind, with the items of a list or the fields of a record."""

    kind: str
    item: "PortType | None" = None
    fields: tuple["RecordField", ...] = ()

    def __str__(self) -> str:
        """As it is written in a flow."""
        if self.item is not None:
            return f"list<{self.item}>"
        if self.kind == "record":
            return "record{" + ", ".join(str(field) for field in self.fields) + "}"
        return self.kind


class RecordField(msgspec.Struct, frozen=True):
    """One named value of a record."""

    name: str
    type: PortType
    required: bool = True

    def __str__(self) -> str:
        return f"{self.name}{'' if self.required else '?'}: {self.type}"


ANY: Final = PortType("any")
JSON: Final = PortType("json")
TEXT: Final = PortType("text")
NUMBER: Final = PortType("number")
BOOL: Final = PortType("bool")


def list_of(item: PortType) -> PortType:
    """The lists of a type."""
    return PortType("list", item)


def record_of(fields: Mapping[str, PortType], optional: Mapping[str, PortType] | None = None) -> PortType:
    """Records with these fields, sorted, so that the order in which they are written does not count."""
    there = [RecordField(name, kind) for name, kind in fields.items()]
    there += [RecordField(name, kind, required=False) for name, kind in (optional or {}).items()]
    return PortType("record", None, tuple(sorted(there, key=lambda field: field.name)))


@lru_cache(maxsize=4096)
def parse_type(written: str) -> PortType:
    """A type from how it is written; ValueError says what is wrong with it."""
    if len(written) > MAX_WRITTEN:
        raise ValueError(f"a type has at most {MAX_WRITTEN} characters")
    reader = _Reader(written)
    found = reader.type(0)
    reader.end()
    return found


class _Reader:
    """Reads a type from left to right."""

    def __init__(self, written: str) -> None:
        self._tokens = list[str]()
        place = 0
        while match := _TOKEN.match(written, place):
            self._tokens.append(match[1])
            place = match.end()
        if written[place:].strip():
            raise ValueError(f"a type cannot go on with {written[place : place + 20].strip()!r}")
        self._place = 0

    def type(self, depth: int) -> PortType:
        """A whole type."""
        kind = self._next("the name of a type")
        if kind not in KINDS:
            raise ValueError(f"there is no type {kind!r}; there are {', '.join(KINDS)}")
        if depth > MAX_NESTED:
            raise ValueError(f"types are nested at most {MAX_NESTED} deep")
        if kind == "list":
            return list_of(self._item(depth))
        if kind == "record":
            return self._record(depth)
        return PortType(kind)

    def end(self) -> None:
        """ValueError when something is left."""
        if self._place < len(self._tokens):
            raise ValueError(f"a type ends before {self._tokens[self._place]!r}")

    def _item(self, depth: int) -> PortType:
        if not self._take("<"):
            return ANY
        item = self.type(depth + 1)
        self._need(">")
        return item

    def _record(self, depth: int) -> PortType:
        there, optional = dict[str, PortType](), dict[str, PortType]()
        if not self._take("{") or self._take("}"):
            return record_of({})
        while True:
            name = self._next("the name of a field")
            if name in there or name in optional or not name[0].isidentifier():
                raise ValueError(f"{name!r} cannot be a field here")
            fields = optional if self._take("?") else there
            self._need(":")
            fields[name] = self.type(depth + 1)
            if len(there) + len(optional) > MAX_FIELDS:
                raise ValueError(f"a record has at most {MAX_FIELDS} fields")
            if not self._take(","):
                break
        self._need("}")
        return record_of(there, optional)

    def _next(self, what: str) -> str:
        if self._place == len(self._tokens):
            raise ValueError(f"the type is cut off: {what} is missing")
        self._place += 1
        return self._tokens[self._place - 1]

    def _take(self, sign: str) -> bool:
        there = self._place < len(self._tokens) and self._tokens[self._place] == sign
        self._place += there
        return there

    def _need(self, sign: str) -> None:
        if self._next(f"`{sign}`") != sign:
            raise ValueError(f"`{sign}` is missing before {self._tokens[self._place - 1]!r}")


def is_json(kind: PortType) -> bool:
    """Whether all values of a type are plain JSON."""
    if kind.item is not None:
        return is_json(kind.item)
    return KINDS[kind.kind].json and all(is_json(field.type) for field in kind.fields)


@lru_cache(maxsize=16_384)
def assignable(source: PortType, target: PortType) -> bool:
    """Whether every value of `source` is one of `target`."""
    if target.kind == "json":
        return is_json(source)
    if source.kind != target.kind:
        return target.kind in KINDS[source.kind].above
    if source.item is not None and target.item is not None:
        return assignable(source.item, target.item)
    return _fields_fit(source, target)


def _fields_fit(source: PortType, target: PortType) -> bool:
    """Whether records fit: a field that only the target knows may be there with another type, so even a `?` needs it.

    What the target does not name has to be JSON, or a record would lead handles past `json`.
    """
    there = {field.name: field for field in source.fields}
    for wanted in target.fields:
        given = there.pop(wanted.name, None)
        if given is None or (wanted.required and not given.required) or not assignable(given.type, wanted.type):
            return False
    return all(is_json(rest.type) for rest in there.values())


def literal_fits(value: Any, kind: PortType) -> bool:
    """Whether a value that is written down in a flow is one of a type."""
    match kind.kind:
        case "any" | "json":
            return True
        case "text":
            return isinstance(value, str)
        case "bool":
            return isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "list" | "embedding":
            return _items_fit(value, kind.item or NUMBER)
        case "record":
            return isinstance(value, dict) and _record_fits(cast("dict[str, Any]", value), kind)
        case "messages":
            return _items_fit(value, _MESSAGE)
        case "chunks" | "table":
            return _items_fit(value, _ANY_RECORD)
        case handle:
            return _is_reference(value, "model" if handle == "model" else "object")


_MESSAGE: Final = record_of({"role": TEXT, "content": JSON})
_ANY_RECORD: Final = record_of({})


def _items_fit(value: Any, item: PortType) -> bool:
    return isinstance(value, list) and all(literal_fits(each, item) for each in cast("list[Any]", value))


def _record_fits(value: dict[str, Any], kind: PortType) -> bool:
    return all(
        literal_fits(value[field.name], field.type) if field.name in value else not field.required
        for field in kind.fields
    )


def _is_reference(value: Any, kind: str) -> bool:
    if not isinstance(value, dict):
        return False
    named = cast("dict[str, Any]", value)
    reference: Any = named.get("$ref")
    starts = isinstance(reference, str) and reference.startswith(f"{kind}:") and len(reference) > len(kind) + 1
    return starts and len(named) == 1
