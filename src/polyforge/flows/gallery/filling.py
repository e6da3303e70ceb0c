"""A template with the names of an installation in the place of its own."""

from collections.abc import Mapping
from typing import Any, Final, cast

from msgspec.structs import replace

from polyforge.flows.document import Document, Json
from polyforge.flows.gallery.records import Chosen, Needs, Template
from polyforge.kernel.errors import Invalid

_KINDS: Final = {"model": "models", "guardrail": "guardrails"}


def filled(template: Template, chosen: Chosen) -> Document:
    """The flow with what was chosen; Invalid for a name that the template does not have."""
    _check(template.needs, chosen)
    nodes = {
        name: replace(node, params=cast("Mapping[str, Json]", _with(node.params, chosen)))
        for name, node in template.document.nodes.items()
    }
    return replace(template.document, nodes=nodes)


def _check(needs: Needs, chosen: Chosen) -> None:
    for field in Chosen.__struct_fields__:
        known: tuple[str, ...] = getattr(needs, field)
        if unknown := sorted(set(getattr(chosen, field)) - set(known)):
            has = ", ".join(known) or "none"
            raise Invalid(f"the template has no {unknown[0]!r} among its {field}; it has {has}", param=field)


def _with(value: Any, chosen: Chosen) -> Any:
    if isinstance(value, list):
        return [_with(each, chosen) for each in cast("list[Any]", value)]
    if not isinstance(value, Mapping):
        return value
    named = cast("Mapping[str, Any]", value)
    if set(named) == {"$secret"}:
        return {"$secret": chosen.secrets.get(named["$secret"], named["$secret"])}
    if set(named) == {"$ref"} and isinstance(named["$ref"], str):
        return {"$ref": _reference(named["$ref"], chosen)}
    return {key: _with(each, chosen) for key, each in named.items()}


def _reference(written: str, chosen: Chosen) -> str:
    kind, _, name = written.partition(":")
    if kind not in _KINDS:
        return written
    instead: Mapping[str, str] = getattr(chosen, _KINDS[kind])
    return f"{kind}:{instead.get(name, name)}"
