"""What a flow needs to run: capabilities, secrets, resources and types of nodes, read from its nodes."""

from collections.abc import Iterator

from polyforge.flows.document import Document, Node, Requires
from polyforge.flows.nodetypes import NodeType, NodeTypes
from polyforge.flows.problems import Problem
from polyforge.flows.urls import host_of


def requirements(document: Document, types: NodeTypes) -> Requires:
    """What the nodes of a flow need. Of unknown types nothing can be told but that they are needed."""
    known = [(node, types.get(node.type, node.v)) for node in document.nodes.values()]
    able = [(node, kind) for node, kind in known if kind is not None and not types.rule(kind).faults(node.params)]
    return Requires(
        capabilities=_sorted(each for node, kind in able for each in _capabilities(node, kind, types)),
        secrets=_sorted(
            value["$secret"] for node, kind in able for _, value in types.rule(kind).values(node.params, "x-secret")
        ),
        references=_sorted(
            value["$ref"] for node, kind in able for _, value in types.rule(kind).values(node.params, "x-ref")
        ),
        nodes=_sorted(f"{node.type}@{node.v}" for node in document.nodes.values()),
    )


def undeclared(document: Document, types: NodeTypes) -> Iterator[Problem]:
    """A warning for each kind of requirement of which the flow's own list lacks some; none where it has no list."""
    if document.requires == Requires():
        return
    found = requirements(document, types)
    for field in Requires.__struct_fields__:
        lacking = sorted(set(getattr(found, field)) - set(getattr(document.requires, field)))
        if lacking:
            message = f"what the flow says that it requires lacks {', '.join(lacking[:10])}"
            hint = "add it, or leave out `requires` as a whole"
            yield Problem("undeclared_requirement", message, hint, param=f"/requires/{field}", severity="warning")


def _capabilities(node: Node, kind: NodeType, types: NodeTypes) -> Iterator[str]:
    for capability in kind.capabilities:
        if capability != "net":
            yield capability
    for _, written in types.rule(kind).values(node.params, "x-url"):
        yield f"net:{host_of(written)}"


def _sorted(found: Iterator[str]) -> tuple[str, ...]:
    return tuple(sorted(set(found)))
