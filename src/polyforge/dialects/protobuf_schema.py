"""Protobuf messages as data: what text, JSON and binary forms of one message have in common. No library.

A schema is written in lines: `message Name` begins a message; `enum Name VALUE VALUE` numbers its values from 0, and
a second line for the same enum goes on; a field is `number name type`, with `type[]` for repeated ones, `type[key]`
for maps and `|choice` behind the members of a oneof. Read messages are dictionaries under the names of the schema:
enums by name, absent fields left out.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from polyforge.kernel.errors import Invalid

MAX_DEPTH: Final = 32

_INTEGERS: Final = {
    "int32": (-(1 << 31), (1 << 31) - 1),
    "int64": (-(1 << 63), (1 << 63) - 1),
    "uint32": (0, (1 << 32) - 1),
    "uint64": (0, (1 << 64) - 1),
}
SCALARS: Final = frozenset({*_INTEGERS, "bool", "string", "bytes", "float", "double"})
_FIELD: Final = re.compile(r"(\d+) (\w+) (\w+)(?:\[(\w*)\])?(?: \|(\w+))?")

Values = dict[str, Any]


class Field(msgspec.Struct, frozen=True):
    """One field; `key` is the type of a map's keys."""

    number: int
    name: str
    type: str
    repeated: bool = False
    key: str | None = None
    choice: str | None = None


class Schema(msgspec.Struct, frozen=True):
    """Messages by name with their fields by name, and enums with the numbers of their values."""

    messages: Mapping[str, Mapping[str, Field]]
    enums: Mapping[str, Mapping[str, int]]

    def field(self, message: str, name: str) -> Field:
        """A field of a message; Invalid when it has none of this name."""
        field = self.messages[message].get(name)
        if field is None:
            raise Invalid(f"{message} has no field '{name}'", param=name)
        return field

    def put(self, values: Values, message: str, field: Field, value: Any) -> None:
        """Add what was read under a field that may be repeated, a map, or one of a choice; Invalid when it is there."""
        if field.key is not None:
            values.setdefault(field.name, {}).update(value)
            return
        if field.repeated:
            values.setdefault(field.name, []).append(value)
            return
        if field.name in values:
            raise Invalid(f"{message}.{field.name} is given twice", param=field.name)
        self._check_choice(values, message, field)
        values[field.name] = value

    def scalar(self, field: Field, value: Any) -> Any:
        """A value that a scalar or enum field can hold; Invalid when it cannot."""
        return self._scalar(field.name, field.type, value)

    def key(self, field: Field, value: Any) -> Any:
        """A key that a map can have."""
        return self._scalar(f"{field.name}.key", field.key or "string", value)

    def empty_entry(self, field: Field) -> tuple[Any, Any]:
        """The key and the value of a map's entry that says neither."""
        value: Any = {} if field.type in self.messages else self._default(field.type)
        return self._default(field.key or "string"), value

    def from_json(self, message: str, document: object, *, depth: int = 0) -> Values:
        """A message from protobuf's JSON form, names as declared or in lower camel case; Invalid says what is wrong."""
        if not isinstance(document, dict):
            raise Invalid(f"{message} must be an object")
        if depth > MAX_DEPTH:
            raise Invalid(f"{message} is nested too deep")
        values: Values = {}
        for name, given in cast(dict[str, Any], document).items():
            if given is None:
                continue
            field = self.field(message, _snake(name))
            for value in _each(field, given):
                self.put(values, message, field, self._json_value(field, value, depth + 1))
        return values

    def completed(self, message: str, values: Values) -> Values:
        """The message with every scalar, list and map that was left out at its default; absent messages stay absent."""
        whole: Values = {}
        for field in self.messages[message].values():
            value = values.get(field.name)
            if value is None:
                self._put_default(whole, field)
            elif field.key is not None:
                whole[field.name] = {key: self._completed(field, item) for key, item in value.items()}
            elif field.repeated:
                whole[field.name] = [self._completed(field, item) for item in value]
            else:
                whole[field.name] = self._completed(field, value)
        return whole

    def _completed(self, field: Field, value: Any) -> Any:
        return self.completed(field.type, value) if field.type in self.messages else value

    def _put_default(self, whole: Values, field: Field) -> None:
        if field.key is not None:
            whole[field.name] = {}
        elif field.repeated:
            whole[field.name] = []
        elif field.choice is None and field.type not in self.messages:
            whole[field.name] = self._default(field.type)

    def _default(self, kind: str) -> Any:
        if kind in self.enums:
            return next(iter(self.enums[kind]))
        if kind in ("string", "bytes"):
            return ""
        return False if kind == "bool" else 0

    def _check_choice(self, values: Values, message: str, field: Field) -> None:
        if field.choice is None:
            return
        for other in self.messages[message].values():
            if other.choice == field.choice and other.name in values:
                raise Invalid(f"{message} has both '{other.name}' and '{field.name}'; give one", param=field.name)

    def _json_value(self, field: Field, value: Any, depth: int) -> Any:
        if field.key is not None:
            key, item = value
            return {self.key(field, _number(field.key, key)): self._json_item(field, item, depth)}
        return self._json_item(field, value, depth)

    def _json_item(self, field: Field, value: Any, depth: int) -> Any:
        if field.type in self.messages:
            return self.from_json(field.type, value, depth=depth)
        return self.scalar(field, _number(field.type, value))

    def _scalar(self, name: str, kind: str, value: Any) -> Any:
        if kind in self.enums:
            return self._enum(name, kind, value)
        if kind in _INTEGERS:
            low, high = _INTEGERS[kind]
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise Invalid(f"{name}: must be a whole number from {low} to {high}", param=name)
            return value
        if kind in ("float", "double"):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise Invalid(f"{name}: must be a number", param=name)
            return float(value)
        expected = bool if kind == "bool" else str
        if not isinstance(value, expected):
            raise Invalid(f"{name}: must be a {kind}", param=name)
        return value

    def _enum(self, name: str, kind: str, value: Any) -> str:
        numbers = self.enums[kind]
        if isinstance(value, str) and value in numbers:
            return value
        for known, number in numbers.items():
            if value == number and not isinstance(value, bool):
                return known
        raise Invalid(f"{name}: must be one of {', '.join(numbers)}", param=name)


def read_schema(text: str) -> Schema:
    """The schema that a text declares; ValueError for a line that is no declaration."""
    messages: dict[str, dict[str, Field]] = {}
    enums: dict[str, dict[str, int]] = {}
    fields: dict[str, Field] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        word, *rest = line.split()
        if word == "message":
            fields = messages.setdefault(rest[0], {})
        elif word == "enum":
            values = enums.setdefault(rest[0], {})
            values.update((name, number) for number, name in enumerate(rest[1:], len(values)))
        else:
            field = _field(line)
            fields[field.name] = field
    return Schema(messages, enums)


def _field(line: str) -> Field:
    match = _FIELD.fullmatch(line)
    if match is None:
        raise ValueError(f"no declaration of a field: {line}")
    number, name, kind, bracket, choice = match.groups()
    return Field(int(number), name, kind, bracket == "", bracket or None, choice)


def _each(field: Field, given: Any) -> list[Any]:
    if field.key is not None:
        if not isinstance(given, dict):
            raise Invalid(f"{field.name}: must be an object", param=field.name)
        return list(cast(dict[str, Any], given).items())
    if not field.repeated:
        return [given]
    if not isinstance(given, list):
        raise Invalid(f"{field.name}: must be a list", param=field.name)
    return cast(list[Any], given)


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda match: f"_{match[0].lower()}", name)


def _number(kind: str, value: Any) -> Any:
    """JSON has 64-bit numbers as strings too, and whole ones as floats."""
    if kind in _INTEGERS and isinstance(value, str) and re.fullmatch(r"-?\d{1,20}", value):
        return int(value)
    if kind in _INTEGERS and isinstance(value, float) and value.is_integer():
        return int(value)
    return value
