"""Which versions a run takes part in: those of its sub-flows are looked up when it is made, and stay."""

import hashlib
from collections.abc import Iterator

import msgspec

from polyforge.flows.document import Document
from polyforge.flows.running.contract import FlowVersion, FlowVersions
from polyforge.kernel.errors import Invalid, NotFound
from polyforge.tenancy.callers import Caller

MAX_DEPTH = 5
"""Flows inside one another."""
MAX_SUB_FLOWS = 50
"""That take part in one run."""
CALL = "flow.call"
Pinned = dict[str, dict[str, tuple[str, str]]]


class Pins(msgspec.Struct, frozen=True):
    """What references to flows mean for one run."""

    pinned: Pinned
    plan: str
    """SHA-256 of the version with those of its sub-flows."""


async def pin(versions: FlowVersions, caller: Caller, version: FlowVersion) -> Pins:
    """Look up the sub-flows of a version, and theirs. Invalid for flows that call themselves, or too many."""
    walk = _Walk(versions, caller)
    await walk.visit(version, (version.flow_id,))
    whole = msgspec.json.encode([version.version, walk.pinned], order="deterministic")
    return Pins(walk.pinned, hashlib.sha256(whole).hexdigest())


class _Inside(msgspec.Struct, frozen=True):
    """A version with what it calls: all flows of it, and how deep they are nested."""

    flows: frozenset[str]
    depth: int


class _Walk:
    """Looks up each reference, and goes through each version, once, however many nodes call it."""

    def __init__(self, versions: FlowVersions, caller: Caller) -> None:
        self.pinned: Pinned = {}
        self._versions = versions
        self._caller = caller
        self._known: dict[str, FlowVersion] = {}
        self._visited: dict[tuple[str, str], _Inside] = {}

    async def visit(self, version: FlowVersion, around: tuple[str, ...]) -> _Inside:
        """Go through a version that is called within the flows `around`, itself the last of them."""
        flows, depth = {version.flow_id}, 1
        found = self.pinned.setdefault(version.version, {})
        for node, reference in _calls(version.document):
            target = await self._target(node, reference)
            inside = self._visited.get((target.flow_id, target.version))
            if target.flow_id in around or (inside is not None and not inside.flows.isdisjoint(around)):
                raise Invalid(f"node {node}: the flow {target.flow_name} would call itself; take that out", param=node)
            if len(around) + (1 if inside is None else inside.depth) > MAX_DEPTH:
                raise Invalid(f"node {node}: flows may be nested {MAX_DEPTH} deep; bring some together", param=node)
            found[reference] = (target.flow_id, target.version)
            if inside is None:
                if len(self.pinned) > MAX_SUB_FLOWS:
                    raise Invalid(f"a run may have {MAX_SUB_FLOWS} sub-flows at most; bring some together", param=node)
                inside = await self.visit(target, (*around, target.flow_id))
            flows |= inside.flows
            depth = max(depth, 1 + inside.depth)
        known = self._visited[version.flow_id, version.version] = _Inside(frozenset(flows), depth)
        return known

    async def _target(self, node: str, reference: str) -> FlowVersion:
        if reference not in self._known:
            try:
                found = await self._versions.resolve(self._caller, reference.removeprefix("flow:"))
            except NotFound as error:
                raise Invalid(f"node {node}: {error.message}", param=node) from error
            self._known[reference] = found
        return self._known[reference]


def _calls(document: Document) -> Iterator[tuple[str, str]]:
    for name, node in sorted(document.nodes.items()):
        if node.type == CALL:
            yield name, node.params["flow"]["$ref"]
