"""One way or the other."""

from polyforge.flows import fields
from polyforge.flows.document import Interface
from polyforge.flows.nodetypes import NodeType, Params, Ports, declared_inputs, port


def _ports(params: Params, interface: Interface) -> Ports:
    del interface
    inputs = {"value": port("any", "What goes on", required=False), **declared_inputs(params)}
    outputs = {"then": port("any", "Where it holds", follows="value"), "else": port("any", "Else", follows="value")}
    return Ports(inputs, outputs)


NODE = NodeType(
    type="control.branch",
    v=1,
    title="Branch",
    description="Goes one of two ways; what is on the other one is skipped.",
    category="control",
    params=fields.parameters(
        ("when",), when=fields.cel("Condition", "CEL that is true or false."), inputs=fields.inputs()
    ),
    ports=_ports,
    deterministic=True,
    exclusive=True,
)
