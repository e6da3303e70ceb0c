"""What a run takes over from an earlier one: what neither changed nor comes after something that did."""

from collections.abc import Collection, Iterable, Mapping

from polyforge.flows.canonical import same
from polyforge.flows.document import Document, Json, written_group, written_node
from polyforge.flows.nodetypes import INPUT
from polyforge.flows.running.frames import Done
from polyforge.flows.structure import Structure


def stale(
    before: Document,
    after: Document,
    inputs_before: Mapping[str, Json],
    inputs_after: Mapping[str, Json],
    targets: Collection[str],
) -> frozenset[str]:
    """The nodes and loops that have to run again: the targets, what was changed, and what comes after either."""
    structure = Structure(after)
    changed = {*targets, *_changed_nodes(before, after), *_changed_groups(before, after)}
    changed |= {edge.target for edge in after.control if edge not in before.control}
    changed |= {edge.target for edge in before.control if edge not in after.control}
    for name, node in after.nodes.items():
        if node.type == INPUT and _differs(str(node.params["name"]), before, after, inputs_before, inputs_after):
            changed.add(name)
    return _with_following(structure, changed)


def taken_over(results: Mapping[str, Done], again: Collection[str]) -> dict[str, Done]:
    """Of results by the names of their steps those whose nodes do not run again."""
    return {name: done for name, done in results.items() if _node_of(name) not in again}


def _node_of(step: str) -> str:
    """The node of the flow itself that a step belongs to."""
    return step.partition("/")[0].partition("[")[0].partition("~")[0]


def _changed_nodes(before: Document, after: Document) -> Iterable[str]:
    for name, node in after.nodes.items():
        old = before.nodes.get(name)
        if old is None or not same({**written_node(old), "title": None}, {**written_node(node), "title": None}):
            yield name


def _changed_groups(before: Document, after: Document) -> Iterable[str]:
    for name, group in after.groups.items():
        old = before.groups.get(name)
        if old is None or not same({**written_group(old), "title": None}, {**written_group(group), "title": None}):
            yield name


def _differs(
    name: str,
    before: Document,
    after: Document,
    inputs_before: Mapping[str, Json],
    inputs_after: Mapping[str, Json],
) -> bool:
    if before.interface.inputs.get(name) != after.interface.inputs.get(name):
        return True
    if (name in inputs_before) != (name in inputs_after):
        return True
    return name in inputs_after and not same(inputs_before[name], inputs_after[name])


def _with_following(structure: Structure, parts: Collection[str]) -> frozenset[str]:
    """The parts, all that wait for them, and all that is in loops of which something is among them."""
    found, waiting = set[str](), [part for part in parts if part in structure.following]
    groups = structure.document.groups
    while waiting:
        part = waiting.pop()
        if part in found:
            continue
        found.add(part)
        waiting += structure.following[part]
        waiting += structure.scope(part)
        waiting += [name for name, group in groups.items() if group.parent == part]
    return frozenset(found)
