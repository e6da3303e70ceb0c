"""Two changed copies of a flow made one again: three ways, node by node, with what cannot be decided as conflicts."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from polyforge.flows.canonical import canonical_json, same
from polyforge.flows.document import Document, Json, Requires, written
from polyforge.flows.problems import Problem
from polyforge.flows.reading import load
from polyforge.flows.structure import Structure

Section = Literal["nodes", "groups", "inputs", "outputs", "about"]
_ABOUT: Final = ("name", "description", "licence")
_ABSENT: Final = msgspec.UNSET


class Conflict(msgspec.Struct, frozen=True, omit_defaults=True):
    """What both sides changed in different ways. The merged flow has what is `ours`.

    `link_to_removed`: one side took a part out that the other links to; `id` is the part with the link.
    """

    kind: Literal["both_changed", "changed_and_removed", "link_to_removed"]
    section: Section
    id: str
    base: Json = _ABSENT
    ours: Json = _ABSENT
    theirs: Json = _ABSENT
    removed: str | None = None


class Merged(msgspec.Struct, frozen=True):
    """The merged flow, None where it would be none any more (`problems`), and what somebody has to decide."""

    document: Document | None
    conflicts: tuple[Conflict, ...]
    problems: tuple[Problem, ...] = ()


def merge(base: Document, ours: Document, theirs: Document) -> Merged:
    """The flow with the changes of both sides."""
    merging = _Merging(written(base), written(ours), written(theirs))
    reading = load(merging.whole())
    if reading.document is None:
        return Merged(None, tuple(merging.conflicts), reading.problems)
    lost = _lost_links(reading.document, (ours, theirs))
    return Merged(reading.document, (*merging.conflicts, *lost), reading.problems)


class _Merging:
    """Goes through the sections of three written flows."""

    def __init__(self, base: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any]) -> None:
        self._sides = (base, ours, theirs)
        self.conflicts = list[Conflict]()

    def whole(self) -> dict[str, Json]:
        """The merged flow as it is written."""
        base, ours, theirs = self._sides
        interfaces = [side["interface"] for side in self._sides]
        about = self._section("about", *({key: side[key] for key in _ABOUT if key in side} for side in self._sides))
        return {
            "schema": base["schema"],
            **about,
            "interface": {
                "inputs": self._section("inputs", *(each.get("inputs", {}) for each in interfaces)),
                "outputs": self._section("outputs", *(each.get("outputs", {}) for each in interfaces)),
            },
            "nodes": self._section("nodes", base["nodes"], ours["nodes"], theirs["nodes"]),
            "groups": self._section("groups", *(side.get("groups", {}) for side in self._sides)),
            "control": _set_of(*(side.get("control", []) for side in self._sides)),
            "requires": {
                field: _set_of(*(side.get("requires", {}).get(field, []) for side in self._sides))
                for field in Requires.__struct_fields__
            },
            "ui": _layout(*(side.get("ui", {}) for side in self._sides)),
        }

    def _section(
        self, section: Section, base: Mapping[str, Json], ours: Mapping[str, Json], theirs: Mapping[str, Json]
    ) -> dict[str, Json]:
        merged = dict[str, Json]()
        for name in sorted(base.keys() | ours.keys() | theirs.keys()):
            three = [side.get(name, _ABSENT) for side in (base, ours, theirs)]
            chosen = _chosen(*three)
            if chosen is None:
                gone = _ABSENT in three[1:]
                kind = "changed_and_removed" if gone else "both_changed"
                self.conflicts.append(Conflict(kind, section, name, *three))
                chosen = (three[1],)
            if chosen[0] is not _ABSENT:
                merged[name] = chosen[0]
        return merged


def _chosen(base: Json, ours: Json, theirs: Json) -> tuple[Json] | None:
    """What three sides agree on; None where both changed it in different ways."""
    if _alike(ours, theirs) or _alike(theirs, base):
        return (ours,)
    return (theirs,) if _alike(ours, base) else None


def _alike(one: Json, other: Json) -> bool:
    if one is _ABSENT or other is _ABSENT:
        return one is other
    return same(one, other)


def _set_of(base: list[Json], ours: list[Json], theirs: list[Json]) -> list[Json]:
    """Lists whose order means nothing: what either side added, without what either side took out."""
    before, mine, yours = ({canonical_json(each): each for each in side} for side in (base, ours, theirs))
    every = {**before, **mine, **yours}
    return [each for key, each in sorted(every.items()) if (key in mine and key in yours) or (key not in before)]


def _layout(base: Mapping[str, Json], ours: Mapping[str, Json], theirs: Mapping[str, Json]) -> dict[str, Json]:
    """Where things are on the screen; nobody is asked about that."""
    merged = dict[str, Json]()
    for name in base.keys() | ours.keys() | theirs.keys():
        three = [side.get(name, _ABSENT) for side in (base, ours, theirs)]
        chosen = _chosen(*three) or (three[1],)
        if chosen[0] is not _ABSENT:
            merged[name] = chosen[0]
    return merged


def _lost_links(merged: Document, sides: tuple[Document, Document]) -> Iterator[Conflict]:
    """Links to parts that only one side still has."""
    there = {*merged.nodes, *merged.groups}
    removed = {name for side in sides for name in (*side.nodes, *side.groups)} - there
    wanted = {(edge.target, edge.source) for edge in Structure(merged).edges}
    wanted |= {(name, node) for name, group in merged.groups.items() for node in group.nodes}
    wanted |= {(edge.target, edge.target) for edge in merged.control}
    for name, target in sorted(wanted):
        if target in removed:
            section = "groups" if name in merged.groups else "nodes"
            yield Conflict("link_to_removed", section, name, removed=target)
