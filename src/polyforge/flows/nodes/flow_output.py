"""What comes out of the flow."""

from polyforge.flows import fields
from polyforge.flows.document import Interface
from polyforge.flows.nodetypes import OUTPUT, NodeType, Params, Port, Ports
from polyforge.flows.porttypes import ANY, parse_type


def _ports(params: Params, interface: Interface) -> Ports:
    promised = interface.outputs.get(params["name"])
    return Ports({"value": Port(parse_type(promised.type) if promised else ANY, "Value")}, {})


NODE = NodeType(
    type=OUTPUT,
    v=1,
    title="Output",
    description="An output of the flow. Where it is skipped, the run ends without that output.",
    category="interface",
    params=fields.parameters(("name",), name=fields.text("Name", "Which output of the flow.", most=64, least=1)),
    ports=_ports,
    deterministic=True,
    top_level=True,
)
