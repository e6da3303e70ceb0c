"""Nodes of older versions brought to the newest version of their type, when somebody asks for it, each one listed."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import msgspec

from polyforge.flows.document import Document, Node
from polyforge.flows.json_reading import fault_in
from polyforge.flows.nodetypes import NodeType, NodeTypes
from polyforge.flows.problems import Problem


class Migration(msgspec.Struct, frozen=True):
    """A node that is of another version now."""

    node: str
    type: str
    before: int
    after: int


class Migrated(msgspec.Struct, frozen=True):
    """The flow with its nodes brought forward, what was done, and what could not be."""

    document: Document
    migrations: tuple[Migration, ...] = ()
    problems: tuple[Problem, ...] = ()


def migrate(document: Document, types: NodeTypes) -> Migrated:
    """The flow with every node in the newest version of its type that it can be brought to."""
    nodes, done, problems = dict(document.nodes), list[Migration](), list[Problem]()
    for name, node in document.nodes.items():
        newest = types.newest(node.type)
        if newest is None or newest.v <= node.v:
            continue
        try:
            nodes[name] = _brought(node, newest)
        except ValueError as error:
            problems.append(_failed(name, node, newest, str(error)[:300]))
            continue
        done.append(Migration(name, node.type, node.v, newest.v))
    return Migrated(msgspec.structs.replace(document, nodes=nodes), tuple(done), tuple(problems))


def _brought(node: Node, newest: NodeType) -> Node:
    change = newest.migrate.get(node.v)
    if change is None:
        raise ValueError("there is no way from the one to the other")
    # What is changed must not be what somebody else still holds.
    params: Mapping[str, Any] = dict(change(deepcopy(dict(node.params))))
    if fault_in(params) is not None:
        raise ValueError("its parameters could not be kept any more")
    return msgspec.structs.replace(node, v=newest.v, params=params)


def _failed(name: str, node: Node, newest: NodeType, why: str) -> Problem:
    message = f"it cannot be brought from {node.type}@{node.v} to {newest.label}: {why}"
    return Problem(
        "migration_failed", message, "make a new node of that type and link it instead", node=name, param="/v"
    )
