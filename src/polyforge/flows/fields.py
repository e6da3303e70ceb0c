"""The schemas of parameters, in few words: JSON schema with keywords of our own that say what a text is.

`x-template`: text with `{{name}}`. `x-cel`: the parameter that declares the names an expression may use. `x-jmespath`,
`x-schema`, `x-type`, `x-url`, `x-cron`: what the text or object must be. `x-secret`, `x-ref`: a reference, and to what.
`x-missing`: the code of the problem when it is left out.
"""

from collections.abc import Mapping
from typing import Any, Final

from polyforge.flows import bounds
from polyforge.flows.problems import Code

Field = dict[str, Any]
NAMES: Final = "^[A-Za-z][A-Za-z0-9_]{0,63}$"
"""What inputs that expressions use can be called."""
_SECRETS: Final = "^[a-z0-9][a-z0-9._-]{0,199}$"
_REFERENCE: Final = r"[^\s@{}]{1,200}(@[A-Za-z0-9][A-Za-z0-9._-]{0,63})?$"


def parameters(required: tuple[str, ...] = (), /, **fields: Field) -> Field:
    """The parameters of a node: nothing beside these."""
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


def one_of(schema: Field, *names: str) -> Field:
    """The same, with exactly one of some fields given."""
    return {**schema, "oneOf": [{"required": [name]} for name in names]}


def text(
    title: str,
    description: str = "",
    *,
    most: int = bounds.MAX_TEXT,
    least: int = 0,
    pattern: str | None = None,
    default: str | None = None,
    marks: Field | None = None,
) -> Field:
    """A text; `marks`: keywords of ours."""
    plain = _field(title, description, type="string", minLength=least, maxLength=most)
    return {**plain, **_given(pattern=pattern, default=default), **(marks or {})}


def template(title: str, description: str = "") -> Field:
    """Text with `{{name}}`; each name becomes an input."""
    return text(title, description, marks={"x-template": True})


def cel(title: str, description: str = "", *, names: str = "inputs") -> Field:
    """An expression in CEL over what the parameter `names` declares."""
    return text(title, description, most=bounds.MAX_EXPRESSION, least=1, marks={"x-cel": names})


def jmespath(title: str, description: str = "") -> Field:
    """An expression in JMESPath."""
    return text(title, description, most=bounds.MAX_EXPRESSION, least=1, marks={"x-jmespath": True})


def whole(
    title: str, about: str = "", *, least: int, most: int, default: int | None = None, missing: Code | None = None
) -> Field:
    """A whole number; `missing`: the code of the problem where it is left out."""
    plain = _field(title, about, type="integer", minimum=least, maximum=most)
    return {**plain, **_given(default=default), **({"x-missing": missing} if missing else {})}


def number(title: str, description: str = "", *, least: float, most: float) -> Field:
    """A number."""
    return _field(title, description, type="number", minimum=least, maximum=most)


def yes_no(title: str, description: str = "", *, default: bool = False) -> Field:
    """True or false."""
    return _field(title, description, type="boolean", default=default)


def choice(title: str, *values: str, default: str | None = None) -> Field:
    """One of some words."""
    return {**_field(title, "", enum=list(values)), **_given(default=default)}


def many(of: Field, title: str, description: str = "", *, most: int, least: int = 0) -> Field:
    """A list."""
    return _field(title, description, type="array", items=of, minItems=least, maxItems=most)


def by_name(of: Field, title: str, description: str = "", *, most: int = 50, least: int = 0) -> Field:
    """Things by names that ports can have."""
    return _field(
        title,
        description,
        type="object",
        propertyNames={"pattern": NAMES},
        additionalProperties=of,
        minProperties=least,
        maxProperties=most,
    )


def headers(title: str, of: Field) -> Field:
    """HTTP headers."""
    names = {"pattern": "^[A-Za-z][A-Za-z0-9-]{0,63}$"}
    return _field(title, "", type="object", propertyNames=names, additionalProperties=of, maxProperties=50)


def typed(title: str = "Type") -> Field:
    """A type of a port."""
    return text(title, most=4_000, least=1, marks={"x-type": True})


def inputs(description: str = "What the expression may use, with its types.", *, least: int = 0) -> Field:
    """Inputs that the node has, with their types."""
    return by_name(typed(), "Inputs", description, least=least)


def schema(title: str, description: str = "") -> Field:
    """A JSON schema of an object."""
    return _field(title, description, type="object", maxProperties=100, **{"x-schema": True})


def reference(kind: str, title: str, description: str = "") -> Field:
    """`{"$ref": "kind:id@alias"}`."""
    pattern = {"type": "string", "maxLength": 300, "pattern": f"^{kind}:{_REFERENCE}"}
    return _field(title, description, **_only("$ref", pattern), **{"x-ref": kind})


def secret(title: str, description: str = "") -> Field:
    """`{"$secret": name}`."""
    return _field(title, description, **_only("$secret", {"type": "string", "pattern": _SECRETS}), **{"x-secret": True})


def either(title: str, *fields: Field) -> Field:
    """One of several kinds of values."""
    return _field(title, "", anyOf=list(fields))


def _only(key: str, value: Field) -> Mapping[str, Any]:
    return {"type": "object", "properties": {key: value}, "required": [key], "additionalProperties": False}


def _field(title: str, description: str, **more: Any) -> Field:
    said = {"title": title, "description": description} if description else {"title": title}
    return {**said, **more}


def _given(**more: Any) -> Field:
    return {key: value for key, value in more.items() if value is not None}
