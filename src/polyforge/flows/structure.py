"""How the parts of a flow hang together: the loop each is in, the links, and an order in which things can run.

A node and a loop are both called a part here. Parts in a loop run within it; so a link into a loop makes the whole loop
wait, and an order is needed only among the parts that stand side by side.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from heapq import heapify, heappop, heappush
from typing import Final, Literal

import msgspec

from polyforge.flows import bounds
from polyforge.flows.document import Document, Group, Input, Link, Place
from polyforge.flows.problems import Problem, pointer

Scope = tuple[str, ...]
"""The loops around something, the outermost first."""
TOP: Final[Scope] = ()
EdgeKind = Literal["input", "control", "over", "start", "collect", "carry"]
_MOST_CYCLES: Final = 10


class Edge(msgspec.Struct, frozen=True):
    """A link or a control edge. `into`: the input, variable or name; empty for a control edge."""

    kind: EdgeKind
    source: str
    port: str
    target: str
    into: str = ""
    coerce: str | None = None


class Structure:
    """A flow with what follows from how it is linked."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems = list[Problem]()
        self._parents = self._parents_of()
        self.edges = tuple(self._edges())

    def scope(self, part: str) -> Scope:
        """The loops around a part."""
        return self._scopes[part]

    def within(self, edge: Edge) -> Scope:
        """The scope in which an edge takes its value: what a loop collects is taken inside it."""
        around = self._scopes[edge.target]
        return (*around, edge.target) if edge.kind in ("collect", "carry") else around

    @cached_property
    def into(self) -> Mapping[str, tuple[Edge, ...]]:
        """The edges into each part."""
        found: dict[str, list[Edge]] = {part: [] for part in self._parents}
        for edge in self.edges:
            found[edge.target].append(edge)
        return {part: tuple(edges) for part, edges in found.items()}

    @cached_property
    def parts(self) -> Mapping[Scope, tuple[str, ...]]:
        """The parts that stand side by side in each scope, in an order in which they can run.

        The order depends on ids only, never on how the file was written. Parts in a cycle come last.
        """
        return self._ordered[0]

    @cached_property
    def cycles(self) -> tuple[tuple[str, ...], ...]:
        """Parts that wait for one another, each cycle from its first part on."""
        return self._ordered[1]

    @cached_property
    def order(self) -> tuple[str, ...]:
        """All parts, each behind what it waits for; a loop before what is in it."""
        return tuple(self._flattened(TOP))

    def _flattened(self, scope: Scope) -> Iterator[str]:
        for part in self.parts.get(scope, ()):
            yield part
            if part in self.document.groups:
                yield from self._flattened((*scope, part))

    @cached_property
    def following(self) -> Mapping[str, tuple[str, ...]]:
        """The parts that directly wait for each part, those in other scopes included."""
        found: dict[str, dict[str, None]] = {part: {} for part in self._parents}
        for edge in self.edges:
            if edge.source in found:
                found[edge.source][edge.target] = None
        for name, group in self.document.groups.items():
            found[name].update(dict.fromkeys(node for node in group.nodes if node in found))
        return {part: tuple(targets) for part, targets in found.items()}

    def dependents(self, part: str) -> tuple[str, ...]:
        """What waits for a part, directly or not, as many as are told."""
        seen, waiting = {part: None}, [part]
        while waiting and len(seen) <= bounds.MAX_DEPENDENTS:
            for each in self.following.get(waiting.pop(0), ()):
                if each not in seen:
                    seen[each] = None
                    waiting.append(each)
        return tuple(seen)[1 : bounds.MAX_DEPENDENTS + 1]

    @cached_property
    def _scopes(self) -> Mapping[str, Scope]:
        return {part: self._scope_of(part) for part in self._parents}

    def _scope_of(self, part: str) -> Scope:
        scope = list[str]()
        parent = self._parents[part]
        while parent is not None:
            scope.append(parent)
            parent = self._parents[parent]
        return tuple(reversed(scope))

    def _parents_of(self) -> dict[str, str | None]:
        """The loop around each part; what cannot be is noted and left at the top."""
        nodes, groups = self.document.nodes, self.document.groups
        parents: dict[str, str | None] = dict.fromkeys((*nodes, *groups))
        for name, group in groups.items():
            if name in nodes:
                self._note("bad_id", name, "a group has the id of a node", "give it another id")
            for node in group.nodes:
                if node not in nodes:
                    self._note("unknown_node", name, f"there is no node {node!r} to be in it", "take it out", "nodes")
                elif parents[node] is not None:
                    hint = "put it into one; nest loops with `parent`"
                    self._note("bad_group", node, f"it is in {parents[node]} and in {name}", hint)
                elif name not in nodes:
                    parents[node] = name
        for name, group in groups.items():
            if group.parent is not None and self._may_be_in(name, group.parent, parents):
                parents[name] = group.parent
        return parents

    def _may_be_in(self, name: str, parent: str, parents: Mapping[str, str | None]) -> bool:
        if parent not in self.document.groups or parent in self.document.nodes:
            self._note("bad_group", name, f"there is no group {parent!r} around it", "name a group", "parent")
            return False
        height, above = 1, parent
        while above is not None:
            if above == name:
                self._note("bad_group", name, "it is around itself", "choose another parent", "parent")
                return False
            height, above = height + 1, parents[above]
        if height + self._depth_below(name, parents) > bounds.MAX_GROUP_DEPTH:
            hint = f"nest at most {bounds.MAX_GROUP_DEPTH}"
            self._note("bad_group", name, "loops are nested too deep", hint, "parent")
            return False
        return True

    def _depth_below(self, name: str, parents: Mapping[str, str | None]) -> int:
        """How deep groups are nested in one already."""
        level, depth = {name}, -1
        while level:
            level = {each for each in self.document.groups if parents[each] in level}
            depth += 1
        return depth

    def _note(
        self, code: Literal["bad_id", "bad_group", "unknown_node"], part: str, message: str, hint: str, *path: str
    ) -> None:
        self.problems.append(Problem(code, message, hint, node=part, param=pointer(*path) or None))

    def _edges(self) -> Iterator[Edge]:
        for name, node in self.document.nodes.items():
            yield from _links("input", name, node.inputs)
        for name, group in self.document.groups.items():
            if name not in self.document.nodes:
                yield from _group_edges(name, group)
        for control in self.document.control:
            if control.target in self._parents:
                yield Edge("control", *control.source, control.target)
            else:
                message = f"a control edge leads to {control.target!r}, which is not there"
                self.problems.append(
                    Problem("unknown_node", message, "take it out, or lead it to a node", param="/control")
                )

    @cached_property
    def _ordered(self) -> tuple[dict[Scope, tuple[str, ...]], tuple[tuple[str, ...], ...]]:
        beside: dict[Scope, dict[str, set[str]]] = {TOP: {}}
        for part, scope in self._scopes.items():
            beside.setdefault(scope, {})[part] = set()
        for edge in self.edges:
            if edge.source in self._parents:
                self._wait(edge, beside)
        ordered, cycles = dict[Scope, tuple[str, ...]](), list[tuple[str, ...]]()
        for scope, waits in beside.items():
            ordered[scope], found = _sorted(waits)
            cycles += found
        return ordered, tuple(cycles)

    def _wait(self, edge: Edge, beside: Mapping[Scope, dict[str, set[str]]]) -> None:
        """Let the part that holds the target wait for the part beside it that holds the source."""
        source, target = (*self._scopes[edge.source], edge.source), (*self.within(edge), edge.target)
        if edge.kind in ("collect", "carry"):
            target = self.within(edge)
        level = 0
        while level < min(len(source), len(target)) and source[level] == target[level]:
            level += 1
        if level < min(len(source), len(target)):
            beside[source[:level]][target[level]].add(source[level])
        elif edge.source == edge.target and edge.kind not in ("collect", "carry"):
            beside[source[:-1]][edge.target].add(edge.source)


def _links(kind: EdgeKind, target: str, inputs: Mapping[str, Input]) -> Iterator[Edge]:
    for into, given in inputs.items():
        if isinstance(given, Link):
            yield Edge(kind, *given.source, target, into, given.coerce)


def _group_edges(name: str, group: Group) -> Iterator[Edge]:
    if group.over is not None:
        yield from _links("over", name, {"over": group.over})
    yield from _links("start", name, group.start)
    yield from _places("collect", name, group.collect)
    yield from _places("carry", name, group.carry)


def _places(kind: EdgeKind, target: str, places: Mapping[str, Place]) -> Iterator[Edge]:
    for into, (source, port) in places.items():
        yield Edge(kind, source, port, target, into)


def _sorted(waits: Mapping[str, set[str]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The parts in an order, ties by id, those in cycles last; and the cycles."""
    following: dict[str, list[str]] = {part: [] for part in waits}
    for part, sources in waits.items():
        for source in sources:
            following[source].append(part)
    left = {part: len(sources) for part, sources in waits.items()}
    ready, order = [part for part, count in left.items() if not count], list[str]()
    heapify(ready)
    while ready:
        part = heappop(ready)
        order.append(part)
        for each in following[part]:
            left[each] -= 1
            if not left[each]:
                heappush(ready, each)
    stuck = {part: waits[part] for part in sorted(waits.keys() - set(order))}
    return (*order, *stuck), _cycles(stuck)


def _cycles(stuck: Mapping[str, set[str]]) -> list[tuple[str, ...]]:
    """Cycles among parts that all wait for one another or for a cycle, no part in two of them."""
    left, found = dict.fromkeys(stuck), list[tuple[str, ...]]()
    while left and len(found) < _MOST_CYCLES:
        walk, at = dict[str, int](), next(iter(left), None)
        while at is not None and at not in walk:
            walk[at] = len(walk)
            at = min((each for each in stuck[at] if each in left), default=None)
        if at is not None:
            found.append(_from_first([part for part, place in walk.items() if place >= walk[at]]))
        for part in walk:
            del left[part]
    return found


def _from_first(backwards: Sequence[str]) -> tuple[str, ...]:
    """A cycle that was walked against its links, along them from its first part on."""
    along = list(reversed(backwards))
    first = along.index(min(along))
    return tuple(along[first:] + along[:first])
