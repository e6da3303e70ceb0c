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
MAX_VERSIONS = 50
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
    pinned: Pinned = {}
    waiting: list[tuple[FlowVersion, tuple[str, ...]]] = [(version, (version.flow_id,))]
    while waiting:
        current, around = waiting.pop()
        if current.version in pinned and not pinned[current.version]:
            continue
        found = pinned.setdefault(current.version, {})
        for node, reference in _calls(current.document):
            target = await _target(versions, caller, node, reference)
            if target.flow_id in around:
                raise Invalid(f"node {node}: the flow {target.flow_name} would call itself; take that out", param=node)
            if len(around) >= MAX_DEPTH:
                raise Invalid(f"node {node}: flows may be nested {MAX_DEPTH} deep; bring some together", param=node)
            found[reference] = (target.flow_id, target.version)
            waiting.append((target, (*around, target.flow_id)))
            if len(pinned) + len(waiting) > MAX_VERSIONS:
                raise Invalid(f"a run may have {MAX_VERSIONS} sub-flows at most; bring some together", param=node)
    whole = msgspec.json.encode([version.version, pinned], order="deterministic")
    return Pins(pinned, hashlib.sha256(whole).hexdigest())


def _calls(document: Document) -> Iterator[tuple[str, str]]:
    for name, node in sorted(document.nodes.items()):
        if node.type == CALL:
            yield name, node.params["flow"]["$ref"]


async def _target(versions: FlowVersions, caller: Caller, node: str, reference: str) -> FlowVersion:
    try:
        return await versions.resolve(caller, reference.removeprefix("flow:"))
    except NotFound as error:
        raise Invalid(f"node {node}: {error.message}", param=node) from error
