"""A flow as a Python script that people read and change: run, it builds the same version again."""

import builtins
import keyword
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from polyforge.flows.canonical import version_id
from polyforge.flows.document import Document, Given, Group, Input, Json, Link, Node, Place

_WIDTH: Final = 110
_INDENT: Final = "    "
_DEEPEST: Final = 8
"""Loops inside one another that are written as blocks; Python has a limit of its own."""
_LONG: Final = 60
_NEVER: Final = frozenset({"flow", "Flow", *keyword.kwlist, *keyword.softkwlist, *dir(builtins)})
_HEAD: Final = '''"""Version {version} of a flow, as a script.

Building it runs nothing. `flow.hash()` is the id of the version;
run the script to get its file, for `polyforge flow import`.
"""

from polyforge.flows.sdk import Flow
'''
_FOOT: Final = """
if __name__ == "__main__":
    print(flow.to_json())
"""


class _Code(msgspec.Struct, frozen=True):
    """Python that stands for itself among values."""

    text: str


def to_python(document: Document) -> str:
    """The script; the layout of the editor is not in it, as it is no part of the version."""
    lines = _Script(document).lines()
    return _HEAD.format(version=version_id(document)) + "\n" + "\n".join(lines) + "\n" + _FOOT


class _Script:
    """Writes one document."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._parents = _parents(document.groups)
        self._homes = _homes(document, self._parents)
        self._inside = _inside(self._homes, self._parents)
        self._variables = _variables([*document.nodes, *document.groups])
        self._used = set(_named(document))
        self._defined = set[str]()

    def lines(self) -> list[str]:
        """All statements, with empty lines between the parts."""
        document = self._document
        head = [*self._flow(), *self._interface(), ""]
        body = list(self._scope(None, 0))
        control = [_call("flow.after", [edge.target, self._reference(edge.source)], {}, 0) for edge in document.control]
        return [*head, *body, *([""] if control else []), *control]

    def _flow(self) -> Iterator[str]:
        document = self._document
        requires = {name: list(listed) for name, listed in _listed(document.requires) if listed}
        licence = None if document.licence is None else msgspec.to_builtins(document.licence)
        named = {"description": document.description, "licence": licence, "requires": requires or None}
        yield _call("flow = Flow", [document.name], _given(named), 0)

    def _interface(self) -> Iterator[str]:
        for name, each in self._document.interface.inputs.items():
            named = _given({"title": each.title, "description": each.description})
            named |= {} if each.required else {"required": False}
            named |= {} if each.default is msgspec.UNSET else {"default": each.default}
            yield _call("flow.takes", [name, each.type], named, 0)
        for name, each in self._document.interface.outputs.items():
            named = _given({"title": each.title, "description": each.description})
            yield _call("flow.gives", [name, each.type], named, 0)

    def _scope(self, scope: str | None, depth: int) -> Iterator[str]:
        """What stands directly in a loop, or in none, each after what it takes."""
        document = self._document
        items = self._inside.get(scope, [])
        needs = {item: set[str]() for item in items}
        for item in items:
            for source in self._sources(item):
                lifted = self._lifted(source, scope)
                if lifted is not None and lifted != item:
                    needs[item].add(lifted)
        for item in _ordered(items, needs):
            if item in document.nodes and self._homes.get(item) == scope:
                yield self._node(item, document.nodes[item], depth)
            else:
                yield from self._group(item, document.groups[item], depth)

    def _sources(self, item: str) -> Iterator[str]:
        """From where the parts of a node or loop take something."""
        if (node := self._document.nodes.get(item)) is not None:
            yield from (each.source[0] for each in node.inputs.values() if isinstance(each, Link))
        if (group := self._document.groups.get(item)) is None:
            return
        heads = [*([] if group.over is None else [group.over]), *group.start.values()]
        yield from (each.source[0] for each in heads if isinstance(each, Link))
        for name in self._inside.get(item, []):
            yield from self._sources(name)

    def _lifted(self, name: str, scope: str | None) -> str | None:
        """What stands in a scope and holds (or is) `name`; None for what is elsewhere."""
        at: str | None = name
        for _ in range(_DEEPEST + 2):
            if at is None:
                return None
            home = self._homes[at] if at in self._homes else self._parents.get(at, "")
            if home == scope:
                return at if at in self._homes or at in self._parents else None
            at = home or None
        return None

    def _node(self, name: str, node: Node, depth: int) -> str:
        inputs = {port: self._value(each) for port, each in node.inputs.items()}
        named: dict[str, Any] = {} if node.v == 1 else {"v": node.v}
        named |= _given({"title": node.title})
        policy = msgspec.to_builtins(node.policy)
        positional: list[Any] = [name, node.type]
        if node.params or inputs:
            positional.append(dict(node.params))
        if inputs:
            positional.append(inputs)
        return self._assigned(name, "flow.add", positional, {**named, **policy}, depth)

    def _group(self, name: str, group: Group, depth: int) -> Iterator[str]:
        members = {each for each in self._inside.get(name, ()) if each in self._homes}
        nested = self._parents[name] is not None
        named: dict[str, Any] = {
            "over": None if group.over is None else self._value(group.over),
            "when": group.when,
            "start": {key: self._value(each) for key, each in group.start.items()} or None,
            "max_iterations": group.max_iterations,
            "parallel": None if group.parallel == 1 else group.parallel,
            "on_error": None if group.on_error == "fail" else group.on_error,
            "title": group.title,
            "nodes": [node for node in group.nodes if node not in members] or None,
            "parent": None if nested else group.parent,
        }
        yield self._assigned(name, "flow.loop", [name, group.kind], _given(named), depth, always=True)
        handle = self._variables[name]
        inside = list(self._scope(name, depth + 1))
        if inside:
            yield _INDENT * depth + f"with {handle}:"
            yield from inside
        for method, places in (("collect", group.collect), ("carry", group.carry)):
            if places:
                given = {key: self._reference(place) for key, place in places.items()}
                yield _call(f"{handle}.{method}", [given], {}, depth)

    def _assigned(
        self, name: str, method: str, positional: list[Any], named: dict[str, Any], depth: int, *, always: bool = False
    ) -> str:
        called = _call(method, positional, named, depth)
        if always or name in self._used:
            place = len(_INDENT) * depth
            called = f"{called[:place]}{self._variables[name]} = {called[place:]}"
            self._defined.add(name)
        return called

    def _value(self, given: Input) -> Any:
        if isinstance(given, Given):
            return given.value
        reference = self._reference(given.source)
        return reference if given.coerce is None else _Code(f"{reference.text}.converted({_text(given.coerce)})")

    def _reference(self, place: Place) -> _Code:
        source, port = place
        if source in self._defined:
            return _Code(f"{self._variables[source]}[{_text(port)}]")
        return _Code(f"flow.at({_text(source)}, {_text(port)})")


def _parents(groups: Mapping[str, Group]) -> dict[str, str | None]:
    """The loop in whose block each loop is written; None for the outermost, and for what cannot be nested so."""
    found = dict[str, str | None]()
    for name, group in groups.items():
        seen, at = [name], group.parent
        while at is not None and at in groups and at not in seen and len(seen) <= _DEEPEST:
            seen.append(at)
            at = groups[at].parent
        found[name] = group.parent if at is None else None
    return found


def _homes(document: Document, parents: Mapping[str, str | None]) -> dict[str, str | None]:
    """The loop in whose block each node is written: the first that names it."""
    found: dict[str, str | None] = dict.fromkeys(document.nodes)
    for name in sorted(parents):
        for node in document.groups[name].nodes:
            if node in found and found[node] is None:
                found[node] = name
    return found


def _inside(homes: Mapping[str, str | None], parents: Mapping[str, str | None]) -> dict[str | None, list[str]]:
    """What stands directly in each loop, and in none."""
    found = dict[str | None, list[str]]()
    for name, place in (*homes.items(), *parents.items()):
        found.setdefault(place, []).append(name)
    return found


def _variables(ids: Iterable[str]) -> dict[str, str]:
    """A name of Python for each id."""
    found, taken = dict[str, str](), set(_NEVER)
    for id_ in ids:
        name = id_.replace("-", "_")
        while name in taken:
            name += "_"
        found[id_] = name
        taken.add(name)
    return found


def _named(document: Document) -> Iterator[str]:
    """Every node whose output something names."""
    for node in document.nodes.values():
        yield from (each.source[0] for each in node.inputs.values() if isinstance(each, Link))
    for group in document.groups.values():
        heads = [*([] if group.over is None else [group.over]), *group.start.values()]
        yield from (each.source[0] for each in heads if isinstance(each, Link))
        yield from (place[0] for place in (*group.collect.values(), *group.carry.values()))
    yield from (edge.source[0] for edge in document.control)


def _ordered(items: Sequence[str], needs: Mapping[str, set[str]]) -> list[str]:
    """Each after what it needs, else in the order given; in a circle somebody has to be first."""
    placed, seen = list[str](), set[str]()
    for first in items:
        waiting = [(first, iter(sorted(needs[first])))] if first not in seen else []
        seen.add(first)
        while waiting:
            item, rest = waiting[-1]
            following = next((each for each in rest if each not in seen), None)
            if following is None:
                placed.append(item)
                waiting.pop()
            else:
                seen.add(following)
                waiting.append((following, iter(sorted(needs[following]))))
    return placed


def _call(function: str, positional: Sequence[Any], named: Mapping[str, Any], depth: int) -> str:
    """A call in one line, or with a line for each argument."""
    indent = _INDENT * depth
    arguments = [("", value) for value in positional] + [(f"{name}=", value) for name, value in named.items()]
    flat = _flat_all(arguments, _WIDTH - len(indent) - len(function) - 2)
    if flat is not None:
        return f"{indent}{function}({flat})"
    inner = "".join(f"{indent}{_INDENT}{name}{_shown(value, depth + 1, len(name))},\n" for name, value in arguments)
    return f"{indent}{function}(\n{inner}{indent})"


def _shown(value: Any, depth: int, taken: int) -> str:
    """A value, in one line where it fits."""
    room = _WIDTH - len(_INDENT) * depth - taken - 1
    flat = _flat(value, room)
    if flat is not None:
        return flat
    inner, end = _INDENT * (depth + 1), _INDENT * depth
    if isinstance(value, Mapping):
        entries = [(f"{_text(str(key))}: ", each) for key, each in cast("Mapping[Any, Any]", value).items()]
        lines = "".join(f"{inner}{key}{_shown(each, depth + 1, len(key))},\n" for key, each in entries)
        return "{\n" + lines + end + "}"
    if isinstance(value, list | tuple):
        lines = "".join(f"{inner}{_shown(each, depth + 1, 0)},\n" for each in cast("Sequence[Any]", value))
        return "[\n" + lines + end + "]"
    if isinstance(value, str) and "\n" in value[:-1]:
        lines = "".join(f"{inner}{_text(line)}\n" for line in value.splitlines(keepends=True))
        return "(\n" + lines + end + ")"
    return _scalar(value)


def _flat(value: Any, room: int) -> str | None:
    """A value in one line of at most `room` characters; None where it is longer, and it is not read to its end."""
    if room < 0:
        return None
    if isinstance(value, Mapping):
        entries = [(f"{_text(str(key))}: ", each) for key, each in cast("Mapping[Any, Any]", value).items()]
        inner = _flat_all(entries, room - 2)
        return None if inner is None else "{" + inner + "}"
    if isinstance(value, list | tuple):
        inner = _flat_all([("", each) for each in cast("Sequence[Any]", value)], room - 2)
        return None if inner is None else f"[{inner}]"
    if isinstance(value, str) and (len(value) > room or ("\n" in value[:-1] and len(value) > _LONG)):
        return None
    text = _scalar(value)
    return text if len(text) <= room else None


def _flat_all(entries: Sequence[tuple[str, Any]], room: int) -> str | None:
    parts, left = list[str](), room
    for name, value in entries:
        flat = _flat(value, left - len(name))
        if flat is None:
            return None
        parts.append(name + flat)
        left -= len(parts[-1]) + 2
    return ", ".join(parts)


def _scalar(value: Any) -> str:
    if isinstance(value, _Code):
        return value.text
    return _text(value) if isinstance(value, str) else repr(value)


def _text(value: str) -> str:
    """A text as Python writes it, in double quotes where those are free; what cannot be seen is escaped."""
    written = repr(value)
    return f'"{written[1:-1]}"' if written[0] == "'" and '"' not in value else written


def _given(fields: Mapping[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in fields.items() if value is not None}


def _listed(requires: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    return zip(requires.__struct_fields__, msgspec.structs.astuple(requires), strict=True)
