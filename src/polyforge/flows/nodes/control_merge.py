"""Several ways become one."""

from polyforge.flows import fields
from polyforge.flows.document import Interface
from polyforge.flows.nodetypes import NodeType, Params, Port, Ports
from polyforge.flows.porttypes import parse_type
from polyforge.flows.running.contract import NodeCall, Outputs


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


async def run(call: NodeCall) -> Outputs:
    """Take the first that there is."""
    there = [name for name in call.params["names"] if name in call.inputs]
    return {"value": call.inputs[there[0]]} if there else {}
