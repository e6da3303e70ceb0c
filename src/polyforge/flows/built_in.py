"""The types of nodes that come with the package: whatever lies in `nodes/`, so that a new one is one new file."""

import importlib
import pkgutil
from functools import cache

from polyforge.flows import nodes
from polyforge.flows.nodetypes import NodeType, NodeTypes


@cache
def built_in() -> NodeTypes:
    """All of them."""
    names = sorted(module.name for module in pkgutil.iter_modules(nodes.__path__))
    found = [importlib.import_module(f"{nodes.__name__}.{name}").NODE for name in names]
    assert all(isinstance(each, NodeType) for each in found)
    return NodeTypes(found)
