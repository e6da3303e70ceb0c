"""The types of nodes that come with the package: whatever lies in `nodes/`, so that a new one is one new file."""

import importlib
import pkgutil
from functools import cache
from types import ModuleType
from typing import Final

import msgspec

from polyforge.flows import nodes
from polyforge.flows.nodetypes import NodeType, NodeTypes
from polyforge.flows.running.contract import NodeRun, Runners

CODE: Final = "code"
"""The capability of nodes that run code, which an operator has to allow."""


@cache
def built_in(*, code: bool = False) -> NodeTypes:
    """All of them; with `code` those included that run code, which are known and unavailable without it."""
    found = [_node_of(module) for module in _modules()]
    return NodeTypes(_allowed(kind) if code else kind for kind in found)


@cache
def runners() -> Runners:
    """What runs a node, by type and version; types that cannot run, or that the runner itself is, have none."""
    found: dict[tuple[str, int], NodeRun] = {}
    for module in _modules():
        if (run := getattr(module, "run", None)) is not None:
            kind = _node_of(module)
            found[kind.type, kind.v] = run
    return found


def _modules() -> list[ModuleType]:
    names = sorted(module.name for module in pkgutil.iter_modules(nodes.__path__))
    return [importlib.import_module(f"{nodes.__name__}.{name}") for name in names]


def _node_of(module: ModuleType) -> NodeType:
    kind = module.NODE
    assert isinstance(kind, NodeType)
    return kind


def _allowed(kind: NodeType) -> NodeType:
    return msgspec.structs.replace(kind, unavailable=None) if CODE in kind.capabilities else kind
