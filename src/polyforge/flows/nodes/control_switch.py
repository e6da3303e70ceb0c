"""One of several ways."""

import asyncio

from polyforge.flows import fields
from polyforge.flows.document import Interface
from polyforge.flows.evaluating import cel_holds
from polyforge.flows.nodetypes import NodeType, Params, Ports, declared_inputs, port
from polyforge.flows.running.contract import NodeCall, Outputs

_OTHERWISE = "otherwise"


def _ports(params: Params, interface: Interface) -> Ports:
    del interface
    names = [case["name"] for case in params["cases"]]
    if len({*names, _OTHERWISE}) <= len(names):
        raise ValueError(f"every case needs a name of its own, and none is `{_OTHERWISE}`")
    inputs = {"value": port("any", "What goes on", required=False), **declared_inputs(params)}
    return Ports(inputs, {name: port("any", name, follows="value") for name in (*names, _OTHERWISE)})


_CASE = fields.parameters(
    ("name", "when"),
    name=fields.text("Name", "What the output is called.", most=64, pattern=fields.NAMES),
    when=fields.cel("Condition", "CEL that is true or false."),
)

NODE = NodeType(
    type="control.switch",
    v=1,
    title="Switch",
    description="Goes the way of the first case that holds, or `otherwise`; what is on the others is skipped.",
    category="control",
    params=fields.parameters(
        ("cases",), cases=fields.many(_CASE, "Cases", "In this order.", least=1, most=50), inputs=fields.inputs()
    ),
    ports=_ports,
    deterministic=True,
    exclusive=True,
)


async def run(call: NodeCall) -> Outputs:
    """Go the way of the first case that holds."""
    for case in call.params["cases"]:
        if await asyncio.to_thread(cel_holds, case["when"], call.inputs):
            return {case["name"]: call.inputs.get("value")}
    return {_OTHERWISE: call.inputs.get("value")}
