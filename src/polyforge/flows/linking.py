"""Whether links lead from outputs that exist to inputs that take them, with the type of everything worked out."""

from collections.abc import Mapping, Sequence
from typing import cast

from polyforge.flows.coercions import coercion_applies, coercion_for
from polyforge.flows.document import Document, Given, Group, Input
from polyforge.flows.nodetypes import Port, Ports
from polyforge.flows.porttypes import (
    ANY,
    BOOL,
    JSON,
    NUMBER,
    TEXT,
    PortType,
    assignable,
    list_of,
    literal_fits,
)  # fmt: skip
from polyforge.flows.problems import Code, Problem, pointer
from polyforge.flows.structure import TOP, Edge, Scope, Structure

ITEM = "item"
INDEX = "index"
ROUNDS = "rounds"
Typed = Mapping[str, PortType | None]
"""Ports and their types; None where the type is not known because something else is wrong."""
_ANY_LIST = list_of(ANY)


class Linking:
    """Goes through the parts in their order, so that the types of what comes before are known."""

    def __init__(self, document: Document, structure: Structure, ports: Mapping[str, Ports]) -> None:
        self._document = document
        self._structure = structure
        self._ports = ports
        self._outputs = dict[str, Typed | None]()
        self._inner = dict[str, Typed]()
        self.problems = list[Problem]()
        self._walk(TOP)

    def _walk(self, scope: Scope) -> None:
        for part in self._structure.parts.get(scope, ()):
            edges = self._structure.into[part]
            if part in self._document.nodes:
                self._node(part, edges)
                continue
            group = self._document.groups[part]
            self._group(part, group, edges)
            self._walk((*scope, part))
            self._outputs[part] = self._leaving(part, group, edges)

    def source_type(self, edge: Edge) -> PortType | None:
        """The type of what comes through an edge, before any conversion; None where it is not known."""
        outputs = self._visible(edge)
        return None if outputs is None else outputs.get(edge.port)

    def _node(self, name: str, edges: tuple[Edge, ...]) -> None:
        node, ports = self._document.nodes[name], self._ports.get(name)
        arriving = {edge.into: self._arriving(edge, ports) for edge in edges}
        self._outputs[name] = None if ports is None else self._types_of(ports, node.inputs, arriving)
        if ports is None:
            return
        for port, given in node.inputs.items():
            if port not in ports.inputs:
                self._add("unknown_input", f"it has no input {port!r}", _known(ports.inputs, "inputs"), name, port)
            elif isinstance(given, Given) and not literal_fits(given.value, ports.inputs[port].type):
                message = f"what is written down is no {ports.inputs[port].type}"
                self._add("bad_literal", message, "write a value of that type, or link the input", name, port)
        for port, each in ports.inputs.items():
            if each.required and port not in node.inputs:
                hint = f"link it to an output, or write down a {each.type}"
                self._add("missing_input", f"the input {port!r} gets nothing", hint, name, port)

    def _arriving(self, edge: Edge, ports: Ports | None) -> PortType | None:
        """Check one edge into a node; the type that it brings."""
        wanted = ports.inputs.get(edge.into) if ports is not None and edge.kind == "input" else None
        return self._check(edge, None if wanted is None else wanted.type)

    def _types_of(self, ports: Ports, inputs: Mapping[str, Input], arriving: Typed) -> Typed:
        return {name: self._output_type(port, inputs, arriving) for name, port in ports.outputs.items()}

    def _output_type(self, port: Port, inputs: Mapping[str, Input], arriving: Typed) -> PortType | None:
        if port.follows is None:
            return port.type
        given = inputs.get(port.follows)
        if isinstance(given, Given):
            return _literal_type(given.value)
        return arriving.get(port.follows, ANY) if given is not None else ANY

    def _group(self, name: str, group: Group, edges: tuple[Edge, ...]) -> None:
        arriving = {
            (edge.kind, edge.into): self._check_entry(edge)
            for edge in edges
            if edge.kind in ("over", "start", "control")
        }
        inner: dict[str, PortType | None] = {INDEX: NUMBER}
        if group.kind == "foreach":
            inner[ITEM] = self._item(name, group, arriving.get(("over", "over")))
        for variable, given in group.start.items():
            literal = _literal_type(given.value) if isinstance(given, Given) else None
            inner[variable] = literal or arriving.get(("start", variable))
        self._inner[name] = inner

    def _check_entry(self, edge: Edge) -> PortType | None:
        return self._check(edge, _ANY_LIST if edge.kind == "over" else None)

    def _item(self, name: str, group: Group, arriving: PortType | None) -> PortType | None:
        if isinstance(group.over, Given):
            found = _literal_type(group.over.value)
            if found.item is None:
                hint = "write a list, or link it"
                self._add("bad_literal", "what it goes over is no list", hint, name, "over", "over")
            return found.item
        return None if arriving is None else (arriving.item or ANY)

    def _leaving(self, name: str, group: Group, edges: tuple[Edge, ...]) -> Typed:
        """Check what a loop takes out of its nodes; what leaves it, with its types."""
        inner, collected = self._inner[name], dict[str, PortType | None]()
        for edge in edges:
            if edge.kind == "collect":
                found = self._check(edge, None)
                collected[edge.into] = None if found is None else list_of(found)
            elif edge.kind == "carry" and edge.into in group.start:
                self._check(edge, inner.get(edge.into))
        if group.kind == "while":
            return {**{variable: inner.get(variable) for variable in group.start}, ROUNDS: NUMBER}
        return collected

    def _check(self, edge: Edge, wanted: PortType | None) -> PortType | None:
        """Note what is wrong with an edge; the type that arrives, None where it is not known."""
        if not self._reaches(edge):
            return None
        given = self.source_type(edge)
        if given is None:
            return None
        if wanted is None:
            return given if edge.coerce is None else self._unasked(edge)
        return self._fitting(edge, given, wanted)

    def _fitting(self, edge: Edge, given: PortType, wanted: PortType) -> PortType | None:
        if edge.coerce is not None:
            if coercion_applies(edge.coerce, given, wanted):
                return list_of(given) if edge.coerce == "to_list" else wanted
            message = f"{edge.coerce[:40]!r} does not lead from {given} to {wanted}"
            hint = "leave it out" if assignable(given, wanted) else _way(coercion_for(given, wanted))
            return self._wrong("wrong_coercion", message, hint, edge)
        if assignable(given, wanted):
            return given
        message = f"{edge.source}.{edge.port} is {given}, and this takes {wanted}"
        way = coercion_for(given, wanted) if edge.kind != "carry" else None
        if way is None:
            return self._wrong("type_mismatch", message, "put a transform between, or link another output", edge)
        return self._wrong("coercion_needed", message, _way(way), edge)

    def _unasked(self, edge: Edge) -> None:
        return self._wrong("wrong_coercion", "this takes every type as it is", 'leave "coerce" out', edge)

    def _reaches(self, edge: Edge) -> bool:
        """Whether the source of an edge is there, has that output, and may be seen from where the edge takes it."""
        document = self._document
        if edge.source not in document.nodes and edge.source not in document.groups:
            hint = "link another node, or take the link out"
            self._wrong("unknown_node", f"there is no node {edge.source!r}", hint, edge)
            return False
        if not visible(self._structure, edge):
            inside = self._structure.scope(edge.source)[-1]
            message = f"{edge.source} is inside the loop {inside}"
            self._wrong("link_into_group", message, f"let {inside} collect it, and link {inside}", edge)
            return False
        outputs = self._visible(edge)
        if outputs is not None and edge.port not in outputs:
            message = f"{edge.source} has no output {edge.port!r}"
            self._wrong("unknown_port", message, _known(outputs, "outputs"), edge)
            return False
        return True

    def _visible(self, edge: Edge) -> Typed | None:
        """The outputs of an edge's source, as they are seen from where the edge takes one; None: not known."""
        inside = edge.source in self._structure.within(edge)
        return self._inner.get(edge.source) if inside else self._outputs.get(edge.source)

    def _wrong(self, code: Code, message: str, hint: str, edge: Edge) -> None:
        self._add(code, message, hint, edge.target, edge.into or None, edge.kind)

    def _add(self, code: Code, message: str, hint: str, part: str, port: str | None, kind: str = "input") -> None:
        places: dict[str, tuple[str, ...]] = {"input": ("in", port or ""), "over": ("over",), "control": ()}
        param = pointer(*places.get(kind, (kind, port or ""))) or None
        self.problems.append(Problem(code, message, hint, node=part, port=port, param=param))


def visible(structure: Structure, edge: Edge) -> bool:
    """Whether a part may be seen from where an edge takes its output: beside it, around it, or as its own loop."""
    around: Scope = structure.within(edge)
    scope = structure.scope(edge.source)
    return edge.source in around or around[: len(scope)] == scope


def _literal_type(value: object) -> PortType:
    """The narrowest type of a value that is written down; lists of different things, and objects, are just JSON."""
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, list):
        return list_of(_common_type(cast("list[object]", value)))
    return TEXT if isinstance(value, str) else NUMBER if isinstance(value, int | float) else JSON


def _common_type(values: Sequence[object]) -> PortType:
    kinds = {_literal_type(each) for each in values}
    return kinds.pop() if len(kinds) == 1 else JSON


def _known(names: Mapping[str, object], what: str) -> str:
    shown = ", ".join(list(names)[:20])
    return f"its {what} are {shown}" if names else f"it has no {what}"


def _way(coercion: str | None) -> str:
    return "link another output" if coercion is None else f'write "coerce": "{coercion}" on the link'
