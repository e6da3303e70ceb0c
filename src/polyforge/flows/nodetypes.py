"""Types of nodes, as data: what they are called, take, give and need. How a node runs is told elsewhere.

So checking a flow needs no vendor's library, and the console can show every type, those included that cannot run here.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from polyforge.flows.document import Interface, Join, Json
from polyforge.flows.params import ParamsRule
from polyforge.flows.porttypes import ANY, PortType, parse_type

Params = Mapping[str, Json]
Category = Literal[
    "interface", "models", "text", "knowledge", "media", "data", "control", "loops", "people", "triggers"
]
Effect = Literal["none", "repeatable", "once"]
"""What a node does to the world outside: nothing, what may be done twice, or what must not."""


class Port(msgspec.Struct, frozen=True):
    """An input or an output. `follows` names the input whose type an output takes over."""

    type: PortType = ANY
    title: str = ""
    required: bool = True
    follows: str | None = None


class Ports(msgspec.Struct, frozen=True):
    """What a node takes and gives."""

    inputs: Mapping[str, Port] = {}
    outputs: Mapping[str, Port] = {}


INPUT: Final = "flow.input"
OUTPUT: Final = "flow.output"
"""The types of the nodes that stand for what goes into a flow and comes out."""
PortsOf = Callable[[Params, Interface], Ports]
"""The ports that follow from parameters that fit their schema; ValueError says what else is wrong with those."""


class NodeType(msgspec.Struct, frozen=True):
    """One type of node in one version.

    `params` is a JSON schema; what its `x-` keywords mean is in `params.py`. `exclusive`: of its outputs one happens.
    `timeout_s`: of one attempt; None where a parameter says how long it waits. `group`: it stands for a kind of loop,
    and is no node itself. `migrate`: from which older versions parameters can be brought to this one, and how.
    """

    type: str
    v: int
    title: str
    description: str
    category: Category
    params: Mapping[str, Any]
    ports: PortsOf
    capabilities: tuple[str, ...] = ()
    deterministic: bool = False
    effect: Effect = "none"
    exclusive: bool = False
    top_level: bool = False
    join: Join = "all"
    timeout_s: int | None = 60
    group: Literal["foreach", "while"] | None = None
    unavailable: str | None = None
    migrate: Mapping[int, Callable[[Params], Params]] = {}

    @property
    def label(self) -> str:
        """`type@version`."""
        return f"{self.type}@{self.v}"


class NodeTypes:
    """The types of nodes that an installation knows, with the rules for their parameters, made when first asked for."""

    def __init__(self, known: Iterable[NodeType]) -> None:
        self._by_label: dict[tuple[str, int], NodeType] = {}
        self._newest: dict[str, NodeType] = {}
        self._rules: dict[tuple[str, int], ParamsRule] = {}
        for each in known:
            if self._by_label.setdefault((each.type, each.v), each) is not each:
                raise ValueError(f"there are two types of nodes {each.label}")
            if each.type not in self._newest or self._newest[each.type].v < each.v:
                self._newest[each.type] = each

    def get(self, name: str, v: int) -> NodeType | None:
        """A type in a version."""
        return self._by_label.get((name, v))

    def rule(self, of: NodeType) -> ParamsRule:
        """The rule for the parameters of a type."""
        label = (of.type, of.v)
        if label not in self._rules:
            self._rules[label] = ParamsRule(of.params)
        return self._rules[label]

    def newest(self, name: str) -> NodeType | None:
        """A type in its newest version."""
        return self._newest.get(name)

    def all(self) -> tuple[NodeType, ...]:
        """Every type in every version, in the order of their names."""
        return tuple(self._by_label[label] for label in sorted(self._by_label))


ERROR_PORT: Final = "error"
"""The output that a node has beside its own where its policy leads errors to a branch."""
ERROR_TYPE: Final = parse_type("record{code: text, message: text}")


def port(written: str, title: str, *, required: bool = True, follows: str | None = None) -> Port:
    """A port, its type as a flow would write it."""
    return Port(parse_type(written), title, required, follows)


def fixed(inputs: Mapping[str, Port], outputs: Mapping[str, Port]) -> PortsOf:
    """The same ports whatever the parameters are."""
    ports = Ports(inputs, outputs)
    return lambda params, interface: ports


def with_holes(ports: Ports, names: Iterable[str]) -> Ports:
    """Ports with an input of text for every name that templates take; ValueError for a name that is taken."""
    holes = dict.fromkeys(names)
    if taken := sorted(holes.keys() & ports.inputs.keys()):
        raise ValueError(f"{taken[0]!r} is an input of its own here; use another name in the template")
    return Ports({**ports.inputs, **dict.fromkeys(holes, Port(parse_type("text"), ""))}, ports.outputs)


def declared_inputs(params: Params) -> dict[str, Port]:
    """The inputs that a parameter `inputs` names with their types."""
    named: Mapping[str, str] = params.get("inputs", {})
    return {name: Port(parse_type(written)) for name, written in named.items()}
