"""Several ways become one."""

from polyforge.flows import fields
from polyforge.flows.document import Interface
from polyforge.flows.nodetypes import NodeType, Params, Port, Ports
from polyforge.flows.porttypes import parse_type


def _ports(params: Params, interface: Interface) -> Ports:
    del interface
    kind = parse_type(params.get("type", "any"))
    return Ports({name: Port(kind, "", required=False) for name in params["names"]}, {"value": Port(kind, "Value")})


NODE = NodeType(
    type="control.merge",
    v=1,
    title="Merge",
    description="Goes on with the first of its inputs, in their order, that was not skipped.",
    category="control",
    params=fields.parameters(
        ("names",),
        names={
            **fields.many(fields.text("Name", most=64, pattern=fields.NAMES), "Inputs", least=2, most=50),
            "uniqueItems": True,
        },
        type=fields.typed("Type of the inputs"),
    ),
    ports=_ports,
    deterministic=True,
    join="any",
)
