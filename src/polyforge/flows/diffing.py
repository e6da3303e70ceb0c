"""What changed between two flows, in the terms of flows: nodes, parameters, prompts, links, the interface."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import msgspec

from polyforge.flows.canonical import canonical_json, same
from polyforge.flows.document import Document, Json, written
from polyforge.flows.patching import Operation, Words, patch, word_changes


class LinkChange(msgspec.Struct, frozen=True):
    """An input that comes from elsewhere now, as it was and is written; None where it was not or is not there."""

    port: str
    before: Json
    after: Json


class Change(msgspec.Struct, frozen=True):
    """What changed in one node or group. `texts`: by JSON pointer, how texts of several words changed."""

    id: str
    fields: tuple[Operation, ...] = ()
    texts: Mapping[str, tuple[Words, ...]] = {}
    links: tuple[LinkChange, ...] = ()


class Changes(msgspec.Struct, frozen=True):
    """What came, went and changed, by id."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[Change, ...] = ()


class Differences(msgspec.Struct, frozen=True):
    """Everything between two flows. `about`: the name, the description, the licence and what it requires."""

    nodes: Changes
    groups: Changes
    interface: tuple[Operation, ...]
    control_added: tuple[Json, ...]
    control_removed: tuple[Json, ...]
    about: tuple[Operation, ...]
    layout: bool
    """Whether the editor's own notes differ, which makes no other version."""

    @property
    def same_version(self) -> bool:
        """Whether nothing that counts differs."""
        nothing = Changes()
        rest = (self.interface, self.control_added, self.control_removed, self.about)
        return self.nodes == nothing and self.groups == nothing and not any(rest)


_ABOUT = ("name", "description", "licence", "requires")


def differences(before: Document, after: Document) -> Differences:
    """What changed from one flow to the other."""
    old, new = written(before), written(after)
    gone, come = _by_bytes(old.get("control", [])), _by_bytes(new.get("control", []))
    return Differences(
        nodes=_changes(old["nodes"], new["nodes"], "in"),
        groups=_changes(old.get("groups", {}), new.get("groups", {}), "start"),
        interface=patch(old["interface"], new["interface"]),
        control_added=tuple(edge for key, edge in come.items() if key not in gone),
        control_removed=tuple(edge for key, edge in gone.items() if key not in come),
        about=patch(_only(old), _only(new)),
        layout=not same(old.get("ui", {}), new.get("ui", {})),
    )


def _by_bytes(values: Sequence[Json]) -> dict[bytes, Json]:
    return {canonical_json(value): value for value in values}


def _only(whole: Mapping[str, Json]) -> dict[str, Json]:
    return {key: whole[key] for key in _ABOUT if key in whole}


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], links: str) -> Changes:
    both = sorted(old.keys() & new.keys())
    return Changes(
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(_change(name, old[name], new[name], links) for name in both if not same(old[name], new[name])),
    )


def _change(name: str, old: Mapping[str, Any], new: Mapping[str, Any], links: str) -> Change:
    """What changed in one part, whose inputs are under `links`."""
    before = {key: value for key, value in old.items() if key != links}
    after = {key: value for key, value in new.items() if key != links}
    fields = patch(before, after)
    texts = {each.path: words for each in fields if (words := _words(before, each)) is not None}
    return Change(name, fields, texts, tuple(_link_changes(old.get(links, {}), new.get(links, {}))))


def _link_changes(old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[LinkChange]:
    for port in sorted(old.keys() | new.keys()):
        if port not in old or port not in new or not same(old[port], new[port]):
            yield LinkChange(port, old.get(port), new.get(port))


def _words(before: Json, change: Operation) -> tuple[Words, ...] | None:
    """How a text changed, where it is one of several words; one word says it all by itself."""
    if change.op != "replace" or not isinstance(change.value, str):
        return None
    old = _at(before, change.path)
    if not isinstance(old, str) or max(len(old.split()), len(change.value.split())) <= 1:
        return None
    return word_changes(old, change.value)


def _at(value: Json, path: str) -> Json:
    for key in path.split("/")[1:]:
        plain = key.replace("~1", "/").replace("~0", "~")
        value = cast("list[Json]", value)[int(plain)] if isinstance(value, list) else value[plain]
    return value
