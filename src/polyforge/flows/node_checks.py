"""What can be said of each node by itself: whether its type is known, its parameters fit, its policy makes sense."""

from collections.abc import Iterator, Mapping

from polyforge.flows.document import Document, Node
from polyforge.flows.nodetypes import ERROR_PORT, ERROR_TYPE, INPUT, OUTPUT, NodeType, NodeTypes, Port, Ports
from polyforge.flows.params import Fault
from polyforge.flows.porttypes import literal_fits
from polyforge.flows.problems import Problem, pointer
from polyforge.flows.urls import host_of, is_private


class NodeChecks:
    """Looks at every node once. `ports` has the ports of those whose parameters fit; what others have is not known."""

    def __init__(self, document: Document, types: NodeTypes) -> None:
        self._document = document
        self._types = types
        self.problems = list[Problem]()
        self.known: dict[str, NodeType] = {}
        self.ports: dict[str, Ports] = {}
        for name, node in document.nodes.items():
            if kind := self._type(name, node):
                self._node(name, node, kind)

    def _type(self, name: str, node: Node) -> NodeType | None:
        kind = self._types.get(node.type, node.v)
        if kind is None:
            self.problems.append(_unknown(name, node, self._types.newest(node.type)))
            return None
        if kind.group is not None:
            message = f"a loop of kind {kind.group!r} is a group around nodes, and no node"
            self.problems.append(Problem("misplaced_node", message, "make it one of `groups`", node=name))
            return None
        if kind.unavailable is not None:
            hint = "take it out, or run the flow where it is available"
            self.problems.append(Problem("node_unavailable", f"{kind.title}: {kind.unavailable}", hint, node=name))
        self.known[name] = kind
        return kind

    def _node(self, name: str, node: Node, kind: NodeType) -> None:
        faults = self._types.rule(kind).faults(node.params)
        ports = None if faults else self._ports(name, node, kind, faults)
        self.problems += [fault_problem(name, fault) for fault in faults]
        if ports is not None:
            self.ports[name] = ports
            self.problems += _policy_problems(name, node, kind, ports)
            self.problems += _interface_problems(name, node, self._document)
            self.problems += self._private(name, node, kind)

    def _ports(self, name: str, node: Node, kind: NodeType, faults: list[Fault]) -> Ports | None:
        """The ports, where they can be told; what keeps them from it goes to `faults`."""
        try:
            ports = kind.ports(node.params, self._document.interface)
        except ValueError as error:
            faults.append(Fault("bad_param", (), str(error)[:300], "change the parameters"))
            return None
        self.problems += [
            fault_problem(name, fault)
            for fault in self._types.rule(kind).expression_faults(node.params, tuple(ports.inputs))
        ]
        if node.policy.on_error != "branch":
            return ports
        return Ports(ports.inputs, {**ports.outputs, ERROR_PORT: Port(ERROR_TYPE, "What went wrong")})

    def _private(self, name: str, node: Node, kind: NodeType) -> Iterator[Problem]:
        for _, written in self._types.rule(kind).values(node.params, "x-url"):
            if is_private(host := host_of(written)):
                hint = "look whether `egress.allow` in polyforge.yaml names it"
                message = f"{host} is in a private network; it is called only where the operator allows that"
                yield Problem("private_address", message, hint, node=name, severity="warning")


def fault_problem(name: str, fault: Fault) -> Problem:
    """The problem for a fault in the parameters of a node."""
    return Problem(fault.code, fault.message, fault.hint, node=name, param=pointer("params", *fault.keys))


def _unknown(name: str, node: Node, newest: NodeType | None) -> Problem:
    if newest is None:
        hint = "install what brings it, or take the node out"
        return Problem(
            "unknown_node_type", f"there is no type of node {node.type!r} here", hint, node=name, param="/type"
        )
    message = f"{node.type} has no version {node.v} here; the newest is {newest.v}"
    hint = "bring it to that version" if node.v < newest.v else "update the installation"
    return Problem("unknown_version", message, hint, node=name, param="/v")


def _policy_problems(name: str, node: Node, kind: NodeType, ports: Ports) -> Iterator[Problem]:
    policy = node.policy
    if policy.cache == "auto" and kind.effect != "none":
        message = "what it does to the world outside cannot come from a cache"
        yield Problem("bad_policy", message, 'set "cache" to "off"', node=name, param="/policy/cache")
    if policy.on_error == "default":
        yield from _default_problems(name, policy.default, ports.outputs)
    elif policy.default:
        message = "outputs for errors are given, and `on_error` does not use them"
        hint = 'set "on_error" to "default", or leave "default" out'
        yield Problem("bad_policy", message, hint, node=name, param="/policy/default")


def _default_problems(name: str, default: Mapping[str, object], outputs: Mapping[str, Port]) -> Iterator[Problem]:
    for port in sorted(outputs.keys() ^ default.keys()):
        message = "it has no such output" if port in default else "nothing is given for it where the node fails"
        hint = "give a value for each output, and for nothing else"
        yield Problem("bad_policy", message, hint, node=name, port=port, param="/policy/default")
    for port in sorted(outputs.keys() & default.keys()):
        if not literal_fits(default[port], outputs[port].type):
            message = f"the value for errors is no {outputs[port].type}"
            param = pointer("policy", "default", port)
            yield Problem("bad_policy", message, "give one of that type", node=name, port=port, param=param)


def _interface_problems(name: str, node: Node, document: Document) -> Iterator[Problem]:
    sides = {INPUT: document.interface.inputs, OUTPUT: document.interface.outputs}
    side = sides.get(node.type)
    if side is not None and node.params["name"] not in side:
        message = f"the flow declares no {'input' if node.type == INPUT else 'output'} {node.params['name'][:64]!r}"
        hint = "declare it under `interface`, or name another one"
        yield Problem("unknown_interface", message, hint, node=name, param="/params/name")
