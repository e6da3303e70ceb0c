"""One way or the other."""

import asyncio

from polyforge.flows import fields
from polyforge.flows.document import Interface
from polyforge.flows.evaluating import cel_holds
from polyforge.flows.nodetypes import NodeType, Params, Ports, declared_inputs, port
from polyforge.flows.running.contract import NodeCall, Outputs


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


async def run(call: NodeCall) -> Outputs:
    """Go one of the ways."""
    holds = await asyncio.to_thread(cel_holds, call.params["when"], call.inputs)
    return {"then" if holds else "else": call.inputs.get("value")}
