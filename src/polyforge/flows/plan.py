"""A flow compiled: its parts in an order in which they can run, with where each takes its inputs from.

Pure data. Whoever runs it asks `decide` about each part and keeps results under `step_key`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import msgspec

from polyforge.flows.canonical import version_id
from polyforge.flows.document import Given, Group, Interface, Join, Json, Node, OnError
from polyforge.flows.nodetypes import OUTPUT
from polyforge.flows.problems import refuse
from polyforge.flows.structure import TOP, Edge, Scope
from polyforge.flows.validating import Checked

Path = tuple[int, ...]
"""Which round of each loop around something, the outermost first."""
State = Literal["open", "live", "dead"]
"""Of a wire: nothing is known yet; it brought something; it never will."""
Decision = Literal["wait", "run", "skip"]


class Value(msgspec.Struct, frozen=True):
    """An input that is written down."""

    value: Json


class Wire(msgspec.Struct, frozen=True):
    """An input, or a signal, from an output. `depth`: how many loops are around where that output is made.

    A part that is linked to what it cannot do without (`required`) is skipped where that does not come, whatever its
    join says.
    """

    source: str
    port: str
    depth: int
    coerce: str | None = None
    required: bool = False


Argument = Value | Wire


class Step(msgspec.Struct, frozen=True):
    """One node. It is run once for each round of the loops around it."""

    id: str
    type: str
    v: int
    params: Mapping[str, Json]
    inputs: Mapping[str, Argument]
    after: tuple[Wire, ...]
    join: Join
    timeout_s: int | None
    retries: int
    cache: Literal["off", "auto"]
    on_error: OnError
    default: Mapping[str, Json]
    scope: Scope


class Loop(msgspec.Struct, frozen=True):
    """One loop. `carry` and `collect` are taken inside it at the end of a round, but for what was skipped there."""

    id: str
    kind: Literal["foreach", "while"]
    over: Argument | None
    start: Mapping[str, Argument]
    carry: Mapping[str, Wire]
    collect: Mapping[str, Wire]
    when: str | None
    max_iterations: int
    parallel: int
    on_error: Literal["fail", "leave_out"]
    after: tuple[Wire, ...]
    body: tuple["Step | Loop", ...]
    scope: Scope


class Plan(msgspec.Struct, frozen=True):
    """What is run for one version of a flow. `outputs`: which node gives which output."""

    version: str
    interface: Interface
    body: tuple[Step | Loop, ...]
    outputs: Mapping[str, str]


def compile_plan(checked: Checked) -> Plan:
    """The plan of a flow; Invalid where something keeps it from running."""
    refuse(checked.problems)
    document = checked.document
    outputs = {node.params["name"]: name for name, node in sorted(document.nodes.items()) if node.type == OUTPUT}
    return Plan(version_id(document), document.interface, _body(checked, TOP), outputs)


def decide(part: Step | Loop, state: Callable[[Wire], State]) -> Decision:
    """Whether a part runs now, never, or perhaps later, by how what it is linked to stands."""
    states = [(wire, state(wire)) for wire in wires_of(part)]
    if not states:
        return "run"
    if any(found == "dead" for wire, found in states if wire.required):
        return "skip"
    found = {each for _, each in states}
    join = part.join if isinstance(part, Step) else "all"
    if join == "all":
        return "skip" if "dead" in found else "wait" if "open" in found else "run"
    if join == "first" and "live" in found and all(each == "live" for wire, each in states if wire.required):
        return "run"
    return "wait" if "open" in found else "run" if "live" in found else "skip"


def wires_of(part: Step | Loop) -> Iterator[Wire]:
    """What a part waits for."""
    if isinstance(part, Step):
        yield from (each for each in part.inputs.values() if isinstance(each, Wire))
    else:
        entries = (part.over, *part.start.values())
        yield from (each for each in entries if isinstance(each, Wire))
    yield from part.after


def round_of(wire: Wire, path: Path) -> Path:
    """In which round the output of a wire is made that a part in the round `path` takes."""
    return path[: wire.depth]


def step_key(part: str, path: Path) -> str:
    """What the result of a part in a round is kept under."""
    return f"{part}[{','.join(map(str, path))}]" if path else part


def steps_in(plan: Plan) -> Iterator[Step]:
    """Every step, in order, those in loops included."""
    waiting = list(reversed(plan.body))
    while waiting:
        part = waiting.pop()
        if isinstance(part, Step):
            yield part
        else:
            waiting += reversed(part.body)


def _body(checked: Checked, scope: Scope) -> tuple[Step | Loop, ...]:
    document = checked.document
    return tuple(
        _step(checked, part, document.nodes[part])
        if part in document.nodes
        else _loop(checked, part, document.groups[part])
        for part in checked.structure.parts.get(scope, ())
    )


def _step(checked: Checked, name: str, node: Node) -> Step:
    kind, ports = checked.known[name], checked.ports[name]
    wires = {edge.into: edge for edge in checked.structure.into[name] if edge.kind == "input"}
    inputs: dict[str, Argument] = {}
    for port, given in node.inputs.items():
        if isinstance(given, Given):
            inputs[port] = Value(given.value)
        else:
            inputs[port] = _wire(checked, wires[port], required=ports.inputs[port].required)
    policy = node.policy
    return Step(
        name, node.type, node.v, node.params, inputs, _after(checked, name), policy.join or kind.join,
        policy.timeout_s or kind.timeout_s, policy.retries, policy.cache, policy.on_error, policy.default,
        checked.structure.scope(name),
    )  # fmt: skip


def _loop(checked: Checked, name: str, group: Group) -> Loop:
    edges = {(edge.kind, edge.into): _wire(checked, edge, required=True) for edge in checked.structure.into[name]}
    start: dict[str, Argument] = {
        variable: Value(given.value) if isinstance(given, Given) else edges["start", variable]
        for variable, given in group.start.items()
    }
    over = Value(group.over.value) if isinstance(group.over, Given) else edges.get(("over", "over"))
    scope = checked.structure.scope(name)
    assert group.max_iterations is not None  # `refuse` saw to it
    return Loop(
        name, group.kind, over, start, {into: edges["carry", into] for into in group.carry},
        {into: edges["collect", into] for into in group.collect}, group.when, group.max_iterations, group.parallel,
        group.on_error, _after(checked, name), _body(checked, (*scope, name)), scope,
    )  # fmt: skip


def _after(checked: Checked, name: str) -> tuple[Wire, ...]:
    edges = [edge for edge in checked.structure.into[name] if edge.kind == "control"]
    return tuple(_wire(checked, edge, required=False) for edge in edges)


def _wire(checked: Checked, edge: Edge, *, required: bool) -> Wire:
    structure = checked.structure
    inside = edge.source in structure.within(edge)
    depth = len(structure.scope(edge.source)) + inside
    return Wire(edge.source, edge.port, depth, edge.coerce, required)
