"""Whether the parameters of a node fit: their JSON schema, then what its `x-` keywords say of texts and references."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, cast

import jsonschema_rs
import msgspec

from polyforge.flows.expressions import check_cel, check_jmespath
from polyforge.flows.porttypes import parse_type
from polyforge.flows.problems import Code
from polyforge.flows.templates import parse_template
from polyforge.flows.urls import check_address

_MOST_FAULTS: Final = 10
_CRON: Final = re.compile(r"[0-9A-Za-z*,/-]{1,40}( [0-9A-Za-z*,/?#-]{1,40}){4}")
_BRANCHES: Final = ("anyOf", "oneOf", "allOf")
_EACH: Final = "*"
"""In a path: every item of a list, and every value of an object."""
Keys = tuple[str | int, ...]
Schema = Mapping[str, Any]


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with a parameter, and the keys that lead to it."""

    code: Code
    keys: Keys
    message: str
    hint: str


class Probe(msgspec.Struct, frozen=True):
    """A keyword of ours at a place in a schema."""

    path: tuple[str, ...]
    keyword: str
    setting: Any


class ParamsRule:
    """The rule for the parameters of one type of node."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        # Messages go to whoever reads the flow; what stands in it may be a key that should not be there.
        self._validator: Any = jsonschema_rs.validator_for(dict(schema), mask="it", offline=True)
        self._probes = tuple(_probes(schema, ()))

    def faults(self, params: Mapping[str, Any]) -> list[Fault]:
        """What is wrong, but for expressions, which need to know the inputs."""
        errors = islice(self._validator.iter_errors(params), _MOST_FAULTS)
        if wrong := [self._fault(error) for error in errors]:
            return list(dict.fromkeys(wrong))
        return [
            fault for probe, keys, value in self._found(params, _CHECKS) for fault in _ask(probe.keyword, keys, value)
        ]

    def expression_faults(self, params: Mapping[str, Any], names: Sequence[str]) -> list[Fault]:
        """What is wrong with the expressions in CEL, which may use `names`."""
        found = list[Fault]()
        for _, keys, value in self._found(params, ("x-cel",)):
            try:
                check_cel(value, names)
            except ValueError as error:
                hint = "declare what it uses under `inputs`, and write it in CEL"
                found.append(Fault("bad_expression", keys, str(error), hint))
        return found

    def expressions(self, params: Mapping[str, Any]) -> int:
        """How many characters its expressions have."""
        return sum(len(value) for _, _, value in self._found(params, ("x-cel", "x-jmespath")))

    def values(self, params: Mapping[str, Any], keyword: str) -> Iterator[tuple[Any, Any]]:
        """The values that a keyword is about, each with what the keyword says."""
        for probe, _, value in self._found(params, (keyword,)):
            yield probe.setting, value

    def _found(self, params: Mapping[str, Any], keywords: Collection[str]) -> Iterator[tuple[Probe, Keys, Any]]:
        for probe in self._probes:
            if probe.keyword in keywords:
                for keys, value in _values(params, probe.path, ()):
                    if isinstance(value, _KINDS.get(probe.keyword, str)):
                        yield probe, keys, value

    def _fault(self, error: Any) -> Fault:
        keys: Keys = tuple(error.instance_path)
        marks = _marks(self._schema, keys)
        if error.kind.name == "required" and (code := self._missing(keys, error.kind.property)):
            return Fault(code, (*keys, error.kind.property), "it is not given", "say how much it is at most")
        if "x-secret" in marks and isinstance(error.instance, str) and keys[-1:] != ("$secret",):
            hint = 'keep it as a secret and write {"$secret": "its-name"}'
            return Fault("literal_secret", keys, "a secret stands in the flow itself", hint)
        if "x-ref" in marks:
            hint = f'write {{"$ref": "{marks["x-ref"]}:name"}}, with `@alias` for one that is not the usual one'
            return Fault("bad_reference", keys, "it is no reference of the right kind", hint)
        if "x-secret" in marks:
            return Fault("bad_reference", keys, "it is no reference to a secret", 'write {"$secret": "its-name"}')
        return Fault("bad_param", keys, str(error.message)[:300], "see the parameters of this type of node")

    def _missing(self, keys: Keys, name: str) -> Code | None:
        """The code of what is wrong when a certain parameter is left out."""
        inner = _schema_at(self._schema, keys)
        field: Schema = inner.get("properties", {}).get(name, {}) if inner else {}
        return field.get("x-missing")


_KINDS: Final[Mapping[str, type]] = {"x-schema": dict, "x-ref": dict, "x-secret": dict}


def _check_schema(value: Any) -> None:
    try:
        jsonschema_rs.validator_for(value, mask="it", offline=True, pattern_options=jsonschema_rs.RegexOptions())
    except ValueError as error:
        raise ValueError(str(error).partition("\n")[0]) from error


def _check_cron(value: str) -> None:
    if not _CRON.fullmatch(value):
        raise ValueError("it is not five fields of cron, as in `0 9 * * 1`")


_CHECKS: Final[Mapping[str, tuple[Any, Code, str]]] = {
    "x-template": (parse_template, "bad_template", "write `{{name}}` for an input, and `\\{{` for two braces"),
    "x-jmespath": (check_jmespath, "bad_expression", "see jmespath.org"),
    "x-schema": (_check_schema, "bad_schema", "write a JSON schema that refers to nothing outside itself"),
    "x-type": (parse_type, "bad_type", "see the types in the reference of the format"),
    "x-url": (check_address, "bad_param", "write an http:// or https:// address"),
    "x-cron": (_check_cron, "bad_param", "write minute, hour, day, month and weekday"),
}


def _ask(keyword: str, keys: Keys, value: Any) -> Iterator[Fault]:
    check, code, hint = _CHECKS[keyword]
    try:
        check(value)
    except ValueError as error:
        yield Fault(code, keys, str(error)[:300], hint)
    except jsonschema_rs.ReferencingError as error:
        yield Fault(code, keys, str(error).partition("\n")[0][:300], hint)


def _inner(schema: Schema) -> Iterator[tuple[str | None, Schema]]:
    """The schemas directly inside one, with the key that leads there; None where it is the same place."""
    properties: Mapping[str, Schema] = schema.get("properties", {})
    yield from properties.items()
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            yield _EACH, schema[keyword]
    for keyword in _BRANCHES:
        for branch in cast("Sequence[Schema]", schema.get(keyword, ())):
            yield None, branch


def _probes(schema: Schema, path: tuple[str, ...]) -> Iterator[Probe]:
    for keyword, setting in schema.items():
        if keyword.startswith("x-") and keyword != "x-missing":
            yield Probe(path, keyword, setting)
    if "x-ref" in schema or "x-secret" in schema:
        return
    for key, inner in _inner(schema):
        yield from _probes(inner, path if key is None else (*path, key))


def _values(value: Any, path: tuple[str, ...], keys: Keys) -> Iterator[tuple[Keys, Any]]:
    """The values at a path."""
    if not path:
        yield keys, value
        return
    for key, inner in _entries(value, path[0]):
        yield from _values(inner, path[1:], (*keys, key))


def _entries(value: Any, key: str) -> list[tuple[str | int, Any]]:
    if isinstance(value, dict):
        named = cast("dict[str, Any]", value)
        if key == _EACH:
            return list(named.items())
        return [(key, named[key])] if key in named else []
    return list(enumerate(cast("list[Any]", value))) if isinstance(value, list) and key == _EACH else []


def _schema_at(schema: Schema, keys: Keys) -> Schema | None:
    for key in keys:
        found = _step(schema, key)
        if found is None:
            return None
        schema = found
    return schema


def _step(schema: Schema, key: str | int) -> Schema | None:
    inner = [(name, each) for name, each in _inner(schema) if name is not None]
    exact = next((each for name, each in inner if name == key), None)
    return exact or next((each for name, each in inner if name == _EACH), None)


def _marks(schema: Schema, keys: Keys) -> dict[str, Any]:
    """Our keywords on the way to a place, those of alternatives included."""
    found = dict[str, Any]()
    at: Schema | None = schema
    for key in (*keys, None):
        if at is None:
            break
        for each in (at, *(branch for name, branch in _inner(at) if name is None)):
            found |= {keyword: each[keyword] for keyword in ("x-ref", "x-secret") if keyword in each}
        at = None if key is None else _step(at, key)
    return found
