"""Whether a flow can run: everything that is wrong with it, each thing once and where it begins."""

from collections.abc import Iterator

import msgspec
from msgspec import UNSET

from polyforge.flows import bounds
from polyforge.flows.document import Document
from polyforge.flows.leaks import leaks_in
from polyforge.flows.linking import Linking
from polyforge.flows.loops import loop_problems
from polyforge.flows.node_checks import NodeChecks
from polyforge.flows.nodetypes import INPUT, OUTPUT, NodeType, NodeTypes, Ports
from polyforge.flows.porttypes import literal_fits, parse_type
from polyforge.flows.problems import Problem, errors_in, pointer, told
from polyforge.flows.reaching import Reaching
from polyforge.flows.requirements import undeclared
from polyforge.flows.structure import Structure


class Checked(msgspec.Struct, frozen=True):
    """A flow with what was found. `known` and `ports` are of the nodes whose type, and whose parameters, are right."""

    document: Document
    structure: Structure
    known: dict[str, NodeType]
    ports: dict[str, Ports]
    reaching: Reaching
    problems: tuple[Problem, ...]

    @property
    def can_run(self) -> bool:
        """Whether nothing keeps it from running."""
        return not errors_in(self.problems)


def validate(document: Document, types: NodeTypes) -> tuple[Problem, ...]:
    """What is wrong with a flow, errors first."""
    return check(document, types).problems


def check(document: Document, types: NodeTypes) -> Checked:
    """A flow looked at from all sides."""
    structure = Structure(document)
    if _expressions(document, types) > bounds.MAX_EXPRESSIONS:
        message = f"its expressions have more than {bounds.MAX_EXPRESSIONS} characters"
        problem = Problem("too_large", message, "split the flow, or write shorter ones", param="/nodes")
        return Checked(document, structure, {}, {}, Reaching(document, structure, {}), (problem,))
    nodes = NodeChecks(document, types)
    linking = Linking(document, structure, nodes.ports)
    reaching = Reaching(document, structure, nodes.known)
    found = [
        *structure.problems,
        *_cycle_problems(structure),
        *nodes.problems,
        *loop_problems(document),
        *linking.problems,
        *reaching.problems,
        *_misplaced(structure, nodes),
        *_interface_problems(document),
        *_not_told(leaks_in(document), nodes.problems),
        *_unused(structure, nodes),
        *undeclared(document, types),
    ]
    problems = tuple(_with_dependents(problem, structure) for problem in told(found))
    return Checked(document, structure, nodes.known, nodes.ports, reaching, problems)


def _expressions(document: Document, types: NodeTypes) -> int:
    """Characters in all expressions; what they cost is known before the first is read."""
    found = sum(len(group.when or "") for group in document.groups.values())
    for node in document.nodes.values():
        if (kind := types.get(node.type, node.v)) is not None:
            found += types.rule(kind).expressions(node.params)
    return found


def _with_dependents(problem: Problem, structure: Structure) -> Problem:
    if problem.severity == "warning" or problem.node is None or problem.node not in structure.into:
        return problem
    return msgspec.structs.replace(problem, dependents=structure.dependents(problem.node))


def _not_told(leaks: list[Problem], told_already: list[Problem]) -> Iterator[Problem]:
    """Keys in a flow, but for those that stand where their node wants a reference, which was said of that node."""
    known = {(each.node, each.param) for each in told_already if each.code == "literal_secret"}
    return (leak for leak in leaks if (leak.node, leak.param) not in known)


def _cycle_problems(structure: Structure) -> Iterator[Problem]:
    for cycle in structure.cycles:
        shown = " → ".join((*cycle[:10], *(("…",) if len(cycle) > len(cycle[:10]) else ()), cycle[0]))
        hint = "take one of these links out, or make it a loop of kind `while`"
        yield Problem("cycle", f"these wait for one another: {shown}", hint, node=cycle[0])


def _misplaced(structure: Structure, nodes: NodeChecks) -> Iterator[Problem]:
    for name, kind in nodes.known.items():
        if kind.top_level and (scope := structure.scope(name)):
            message = f"{kind.title} belongs to the flow as a whole, and is in the loop {scope[-1]}"
            yield Problem("misplaced_node", message, "take it out of the loop", node=name)


def _interface_problems(document: Document) -> Iterator[Problem]:
    taken = {str(node.params.get("name")) for node in document.nodes.values() if node.type == INPUT}
    for name in sorted(document.interface.inputs.keys() - taken):
        param = pointer("interface", "inputs", name)
        yield Problem(
            "unused_input", f"nothing takes the input {name!r}", "add a node for it", param=param, severity="warning"
        )
    for name, declared in sorted(document.interface.inputs.items()):
        if declared.default is not UNSET and not literal_fits(declared.default, parse_type(declared.type)):
            param = pointer("interface", "inputs", name, "default")
            yield Problem("bad_literal", f"the default is no {declared.type}", "write one of that type", param=param)
    given = dict[str, str]()
    for node, each in sorted(document.nodes.items()):
        if each.type == OUTPUT and (name := str(each.params.get("name"))) in document.interface.outputs:
            first = given.setdefault(name, node)
            if first != node:
                hint = "merge what both give, and take one of the nodes out"
                yield Problem("duplicate_output", f"{first} gives the output {name!r} already", hint, node=node)
    for name in sorted(document.interface.outputs.keys() - given.keys()):
        param = pointer("interface", "outputs", name)
        yield Problem(
            "unreachable_output", f"no node gives the output {name!r}", "add an output node for it", param=param
        )


def _unused(structure: Structure, nodes: NodeChecks) -> Iterator[Problem]:
    """Nodes that only make something, and nobody takes it."""
    sources = {edge.source for edge in structure.edges}
    for name, kind in nodes.known.items():
        if name not in sources and kind.effect == "none" and not kind.top_level and kind.unavailable is None:
            hint = "link an output of it, or take it out"
            yield Problem("unused_node", "nothing takes what it makes", hint, node=name, severity="warning")
