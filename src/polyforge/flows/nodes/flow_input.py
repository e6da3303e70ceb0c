"""What goes into the flow."""

from polyforge.flows import fields
from polyforge.flows.document import Interface
from polyforge.flows.nodetypes import INPUT, NodeType, Params, Port, Ports
from polyforge.flows.porttypes import ANY, parse_type


def _ports(params: Params, interface: Interface) -> Ports:
    declared = interface.inputs.get(params["name"])
    return Ports({}, {"value": Port(parse_type(declared.type) if declared else ANY, "Value")})


NODE = NodeType(
    type=INPUT,
    v=1,
    title="Input",
    description="An input of the flow. One that is not given and has no default is skipped, with what needs it.",
    category="interface",
    params=fields.parameters(("name",), name=fields.text("Name", "Which input of the flow.", most=64, least=1)),
    ports=_ports,
    deterministic=True,
    top_level=True,
)
